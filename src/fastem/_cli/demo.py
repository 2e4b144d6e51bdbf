"""``python -m fastem``: what the library does, on handwritten digits and docstrings: no download.

The 1,797 images of the UCI digits come with scikit-learn. Their ten classes are known, so one can
see whether the components and the topics, which EM found without them, mean anything. The
docstrings come with Python and the packages that this one needs.
"""

import argparse
import sys
import warnings

from fastem._cli import topics
from fastem._cli.options import at_least, threads

#: Dimensions kept of the 64 pixels, some of which never vary and would make covariances singular.
N_DIMENSIONS = 20
#: Numbers of components whose BIC is compared.
COMPONENTS = (2, 4, 6, 8, 9, 10, 11, 12, 16)
N_INIT = 5
#: Names of the components in pictures and table.
LETTERS = "ABCDEFGHIJKLMNOP"
#: EM iterations to time, on the digits and on the many patches of them.
N_ITER, N_ITER_PATCHES = 20, 5
#: Seconds for each of the two timings.
TIMING_BUDGET = 1.0
#: Words to print of each topic.
N_WORDS = 5


def add_parser(subparsers):
    """Add the parser of this subcommand."""
    parser = subparsers.add_parser(
        "demo",
        help="find digits in images and topics in docstrings (this runs without a command, too)",
        description="Fit Gaussian mixtures and topics of patches to scikit-learn's handwritten "
        "digits, and topics of words to the docstrings of installed packages; show what they "
        "found, and how long it took beside plain NumPy.",
    )
    parser.add_argument(
        "--seed",
        type=at_least(int, 0),
        default=0,
        metavar="N",
        help="of the starts (default: %(default)s)",
    )
    parser.add_argument("--n-jobs", type=threads, metavar="N", help="threads (default: one a core)")
    return parser


def main(args):
    """Fit, and print what was found."""
    from time import perf_counter

    from fastem import GaussianMixture, __version__, select
    from fastem._cli import demo_patches, report
    from fastem._cli.cluster_models import Found
    from fastem._cli.screen import Screen
    from fastem._cli.table import count
    from fastem._cli.timing import compare
    from fastem._engine.threads import effective_n_jobs
    from fastem._engine.versions import versions

    screen = Screen()
    here = f"{count(effective_n_jobs(args.n_jobs), 'thread')}, {versions()['instruction set']}"
    screen.print(f"{screen.bold('fastem ' + __version__)}  {screen.dim(here)}")
    X, pca, classes = _load(screen)
    start = perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of an edge, which the report tells
        selection = select.mixture(
            X, COMPONENTS, "full", share_starts=False, progress=sys.stderr.isatty(),
            estimator=GaussianMixture(n_init=N_INIT, random_state=args.seed, n_jobs=args.n_jobs),
        )  # fmt: skip
    best = selection.best_estimator_
    report.selection_section(screen, selection)
    report.bound_section(screen, best, Found(best, selection, perf_counter() - start), len(X))
    _show_components(screen, best, best.predict(X), pca, classes)
    timings, _ = compare(X, best, n_iter=N_ITER, budget=TIMING_BUDGET)
    report.timing_section(screen, timings, best.n_components, X.shape, N_ITER)
    _time_patches(screen, args)
    demo_patches.show(screen, args)
    _show_topics(screen, args)
    screen.heading("Your own data")
    screen.print("  python -m fastem cluster FILE.csv -k 8")
    screen.print("  python -m fastem topics FILE.txt -k 20")


def _show_topics(screen, args):
    """Show the topics of docstrings, with the defaults of the command that does it at length."""
    parser = topics.add_parser(argparse.ArgumentParser().add_subparsers())
    for model in ("plsa", "lda"):
        given = ["--model", model, "--seed", str(args.seed), "--words", str(N_WORDS)]
        options = parser.parse_args(given)
        options.n_jobs = args.n_jobs
        screen.print()
        topics.study(screen, options, brief=True)


def _time_patches(screen, args):
    """Time a larger fit: to the patches of 3 × 3 pixels of all images, blank ones left out."""
    import numpy as np
    from sklearn.datasets import load_digits

    from fastem import GaussianMixture
    from fastem._cli import report
    from fastem._cli.timing import compare

    windows = np.lib.stride_tricks.sliding_window_view(load_digits().images, (3, 3), axis=(1, 2))
    patches = windows.reshape(-1, 9)
    patches = patches[np.ptp(patches, axis=1) > 0]
    mixture = GaussianMixture(
        16,
        reg_covar=1 / 12,  # the variance that rounding to whole grey levels adds
        init_params="k-means++",
        random_state=args.seed,
        n_jobs=args.n_jobs,
    )
    timings, _ = compare(patches, mixture, n_iter=N_ITER_PATCHES, budget=TIMING_BUDGET)
    screen.print()
    screen.print("  The same on every patch of 3 × 3 pixels in the images:")
    report.timing_rows(screen, timings, mixture.n_components, patches.shape, N_ITER_PATCHES)


def _load(screen):
    """Load the digits and say what they are; return their coordinates, the PCA, the classes."""
    from sklearn.datasets import load_digits
    from sklearn.decomposition import PCA

    digits = load_digits()
    pca = PCA(N_DIMENSIONS, random_state=0)
    X = pca.fit_transform(digits.data)
    kept = pca.explained_variance_ratio_.sum()
    screen.heading("The data")
    screen.print(f"  {len(X):,} handwritten digits of 8 × 8 pixels (sklearn.datasets.load_digits),")
    screen.print(f"  as {N_DIMENSIONS} principal components, {kept:.0%} of the variance.")
    screen.print("  The fits are not told which digit an image shows.")
    return X, pca, digits.target


def _show_components(screen, mixture, labels, pca, classes):
    """Draw the mean of each component, and count which digits it holds."""
    import numpy as np
    from sklearn.metrics import adjusted_rand_score

    from fastem._cli.pictures import WIDTH, draw, side_by_side
    from fastem._cli.screen import bar

    agreement = adjusted_rand_score(classes, labels)
    table = np.zeros((mixture.n_components, 10), dtype=int)
    np.add.at(table, (labels, classes), 1)
    # Ordered by the digit that each of them mostly holds, which is easier to read.
    order = sorted(range(len(table)), key=lambda k: (table[k].argmax(), -mixture.weights_[k]))
    screen.heading("The components", "the mean image of each")
    images = pca.inverse_transform(mixture.means_).reshape(-1, 8, 8)
    drawings = [
        [*draw(screen, images[k]), letter.center(WIDTH)]
        for k, letter in zip(order, LETTERS, strict=False)
    ]
    for line in side_by_side(screen, drawings):
        screen.print(line)
    screen.heading("Their sizes", "and the digits in them")
    largest = mixture.weights_.max()
    for k, letter in zip(order, LETTERS, strict=False):
        digits = [d for d in np.argsort(-table[k], kind="stable") if table[k, d]]
        held = ", ".join(f"{table[k, d]} × {d}" for d in digits[:3])
        rest = table[k, digits[3:]].sum()
        share, size = mixture.weights_[k], table[k].sum()
        screen.print(
            f"  {letter} {share:>6.1%} {bar(share / largest, 20):<20} {size:>4} images: {held}"
            + (f", {rest} more" if rest else "")
        )
    screen.print(
        f"  agreement with the true digits: {agreement:.2f} (adjusted Rand index, 1 is all)"
    )
