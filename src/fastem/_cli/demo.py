"""``python -m fastem``: what the library does, on handwritten digits and docstrings: no download.

The 1,797 images of the UCI digits come with scikit-learn. Their ten classes are known, so one can
see whether the components and the topics, which EM found without them, mean anything. The
docstrings come with Python and the packages that this one needs.
"""

import string

import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score, confusion_matrix

from fastem import GaussianLDA, GaussianMixture, __version__, select
from fastem._cli import count, topics
from fastem._cli.fitting import Fitting, show_comparison
from fastem._cli.options import build_parser
from fastem._cli.screen import Screen, bound_section, selection_section
from fastem._engine.threads import effective_n_jobs
from fastem._engine.versions import versions

#: Dimensions kept of the 64 pixels, some of which never vary and would make covariances singular.
N_DIMENSIONS = 20
#: Numbers of components whose BIC is compared.
COMPONENTS = (2, 4, 6, 8, 9, 10, 11, 12, 16)
N_INIT = 5
#: Pixels of a patch's side, and how many topics of patches and words there are.
SIDE, N_STROKES, N_TOPICS = 4, 10, 20


def main(args):
    """Fit, and print what was found."""
    screen = Screen()
    here = f"{count(effective_n_jobs(args.n_jobs), 'thread')}, {versions()['instruction set']}"
    screen.print(f"fastem {__version__}  {here}", "bold")
    _show_mixture(screen, args)
    _show_strokes(screen, args)
    for model in ("plsa", "lda"):
        screen.heading("Topics of words", f"python -m fastem topics -k {N_TOPICS} --model {model}")
        given = ["-k", str(N_TOPICS), "--model", model, "--words", "5", "--seed", str(args.seed)]
        options = build_parser().parse_args(["topics", *given])
        options.n_jobs = args.n_jobs
        topics.main(options)
    screen.heading("Your own data")
    screen.print("  python -m fastem cluster FILE.csv -k 2-12")
    screen.print("  python -m fastem topics FILE.txt -k 20")


def _show_mixture(screen, args):
    """Choose a mixture of all images, and show the mean of each component and what it holds."""
    images, digits = load_digits(return_X_y=True)
    pca = PCA(N_DIMENSIONS, random_state=0)
    X = pca.fit_transform(images)
    kept = pca.explained_variance_ratio_.sum()
    screen.heading("The data", "sklearn.datasets.load_digits")
    screen.print(f"  {len(X):,} handwritten digits of 8 × 8 pixels, as {N_DIMENSIONS} principal")
    screen.print(f"  components, {kept:.0%} of the variance; which digit each shows is not told")
    with Fitting() as fitting:
        mixture = GaussianMixture(n_init=N_INIT, random_state=args.seed, n_jobs=args.n_jobs)
        selection = select.mixture(X, COMPONENTS, "full", share_starts=False, estimator=mixture)
    best = selection.best_estimator_
    selection_section(screen, selection)
    what = f"mean log-likelihood of an image, K = {best.n_components}"
    bound_section(screen, best, fitting, what)
    labels = best.predict(X)
    held = confusion_matrix(labels, digits, labels=range(max(10, best.n_components)))[:, :10]
    # Ordered by the digit that each of them mostly holds, which is easier to read.
    order = sorted(range(best.n_components), key=lambda k: (held[k].argmax(), -best.weights_[k]))
    screen.heading("The components", "the mean image of each, and the digits in it")
    means, names = pca.inverse_transform(best.means_).reshape(-1, 8, 8), string.ascii_uppercase
    _draw(screen, means[order], names)
    rows = [["", "share", "images", "digits"]]
    for name, k in zip(names, order, strict=False):
        most = [d for d in np.argsort(-held[k], kind="stable")[:4] if held[k, d]]
        inside = ", ".join(f"{held[k, d]} × {d}" for d in most)
        rows.append([name, f"{best.weights_[k]:.1%}", str(held[k].sum()), inside])
    screen.table(rows, left=[3])
    score = adjusted_rand_score(digits, labels)
    screen.print(f"  agreement with the true digits: {score:.2f} (adjusted Rand index, 1 is all)")
    show_comparison(screen, X, best)


def _show_strokes(screen, args):
    """Fit topics to images as bags of their patches, and draw the mean patch of each."""
    images, digits = load_digits(return_X_y=True)
    windows = np.lib.stride_tricks.sliding_window_view(
        images.reshape(-1, 8, 8), (SIDE, SIDE), axis=(1, 2)
    ).reshape(len(images), -1, SIDE * SIDE)
    lengths = np.full(len(images), windows.shape[1])
    screen.heading("Topics of images", f"each a bag of its {lengths[0]} patches of {SIDE} × {SIDE}")
    model = GaussianLDA(
        N_STROKES, doc_topic_prior="auto", max_iter=60, random_state=args.seed, n_jobs=args.n_jobs
    )
    with Fitting():
        shares = model.fit_transform(windows.reshape(-1, SIDE * SIDE), lengths=lengths)
    of_digit = np.array([shares[digits == digit].mean(axis=0) for digit in range(10)])
    order = np.argsort(-shares.mean(axis=0))
    most = np.sort(np.argsort(-of_digit, axis=0)[:2], axis=0)[:, order].T
    notes = [
        f"{p:.0%}: {a}, {b}" for p, (a, b) in zip(shares.mean(axis=0)[order], most, strict=True)
    ]
    _draw(screen, model.means_[order].reshape(-1, SIDE, SIDE), notes)
    screen.print("  below each its share, and the two digits that have most of it")


def _draw(screen, images, notes):
    """Print small grey images in rows, a note below each."""
    wide = max(2, 12 // images.shape[2])  # characters of a pixel
    width = wide * images.shape[2]
    room = (screen.width + 1) // (width + 3)
    for begin in range(0, len(images), room):
        some = images[begin : begin + room]
        levels = (some / some.max(axis=(1, 2), keepdims=True)).clip(0, 1) * 9
        for rows in levels.round().astype(int).transpose(1, 0, 2):
            dots = ["".join(" .:-=+*#%@"[level] * wide for level in row) for row in rows]
            screen.print("  " + "   ".join(dots))
        shown = [note.center(width) for note in notes[begin : begin + len(some)]]
        screen.print("  " + "   ".join(shown))
        screen.print()
