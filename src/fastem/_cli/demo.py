"""``python -m fastem``: what the library does, on handwritten digits and docstrings: no download.

The 1,797 images of the UCI digits come with scikit-learn. Their ten classes are known, so one can
see whether the components and the topics, which EM found without them, mean anything. The
docstrings come with Python and the packages that this one needs.
"""

from fastem._cli.options import DEMO, TOPICS, add_command

#: Dimensions kept of the 64 pixels, some of which never vary and would make covariances singular.
N_DIMENSIONS = 20
#: Numbers of components whose BIC is compared.
COMPONENTS = (2, 4, 6, 8, 9, 10, 11, 12, 16)
N_INIT = 5
#: Pixels of a patch's side, and how many topics of patches and words there are.
SIDE, N_STROKES, N_TOPICS = 4, 10, 20


def add_parser(subparsers):
    """Add the parser of this subcommand."""
    return add_command(
        subparsers, "demo", DEMO,
        "find digits in images and topics in docstrings (this runs without a command, too)",
        "Fit Gaussian mixtures and topics of patches to scikit-learn's handwritten digits, and "
        "topics of words to the docstrings of installed packages; show what they found.",
    )  # fmt: skip


def main(args):
    """Fit, and print what was found."""
    from fastem import __version__
    from fastem._cli import count
    from fastem._cli.screen import Screen
    from fastem._engine.threads import effective_n_jobs
    from fastem._engine.versions import versions

    screen = Screen()
    here = f"{count(effective_n_jobs(args.n_jobs), 'thread')}, {versions()['instruction set']}"
    screen.print(f"fastem {__version__}  {here}", "bold")
    _show_mixture(screen, args)
    _show_strokes(screen, args)
    for model in ("plsa", "lda"):
        _show_topics(screen, args, model)
    screen.heading("Your own data")
    screen.print("  python -m fastem cluster FILE.csv -k 2-12")
    screen.print("  python -m fastem topics FILE.txt -k 20")


def _show_mixture(screen, args):
    """Choose a mixture of all images, and show the mean of each component and what it holds."""
    import warnings

    import numpy as np
    from sklearn.datasets import load_digits
    from sklearn.decomposition import PCA
    from sklearn.metrics import adjusted_rand_score

    from fastem import GaussianMixture, select
    from fastem._cli import compare
    from fastem._cli.cluster_report import bound_lines, selection_section
    from fastem._cli.fitting import Fitting
    from fastem._cli.screen import bar

    digits = load_digits()
    pca = PCA(N_DIMENSIONS, random_state=0)
    X = pca.fit_transform(digits.data)
    kept = pca.explained_variance_ratio_.sum()
    screen.heading("The data")
    screen.print(f"  {len(X):,} handwritten digits of 8 × 8 pixels (sklearn.datasets.load_digits),")
    screen.print(f"  as {N_DIMENSIONS} principal components, {kept:.0%} of the variance.")
    screen.print("  The fits are not told which digit an image shows.")
    with Fitting() as fitting, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of an edge, which the report tells
        mixture = GaussianMixture(n_init=N_INIT, random_state=args.seed, n_jobs=args.n_jobs)
        selection = select.mixture(X, COMPONENTS, "full", share_starts=False, estimator=mixture)
    best = selection.best_estimator_
    selection_section(screen, selection)
    screen.heading("The bound", f"mean log-likelihood of an image, K = {best.n_components}")
    bound_lines(screen, best, best.lower_bounds_, fitting)
    labels = best.predict(X)
    held = np.zeros((best.n_components, 10), dtype=int)
    np.add.at(held, (labels, digits.target), 1)
    # Ordered by the digit that each of them mostly holds, which is easier to read.
    order = sorted(range(len(held)), key=lambda k: (held[k].argmax(), -best.weights_[k]))
    screen.heading("The components", "the mean image of each, and the digits in it")
    means = pca.inverse_transform(best.means_).reshape(-1, 8, 8)
    _draw(screen, [means[k] for k in order], [chr(65 + n) for n in range(len(order))])
    rows = [["", "share", "", "images", "digits"]]
    for n, k in enumerate(order):
        found = [d for d in np.argsort(-held[k], kind="stable")[:4] if held[k, d]]
        share = best.weights_[k]
        rows.append([
            chr(65 + n), f"{share:.1%}", bar(share / best.weights_.max(), 12), str(held[k].sum()),
            ", ".join(f"{held[k, d]} × {d}" for d in found),
        ])  # fmt: skip
    screen.table(rows, left=[2, 4])
    agreement = adjusted_rand_score(digits.target, labels)
    screen.print(
        f"  agreement with the true digits: {agreement:.2f} (adjusted Rand index, 1 is all)"
    )
    compare.show(screen, compare.of_table(X, best))


def _show_strokes(screen, args):
    """Fit topics to images as bags of their patches, and draw the mean patch of each."""
    import numpy as np
    from sklearn.datasets import load_digits

    from fastem import GaussianLDA
    from fastem._cli.fitting import Fitting

    images, classes = load_digits(return_X_y=True)
    windows = np.lib.stride_tricks.sliding_window_view(
        images.reshape(-1, 8, 8), (SIDE, SIDE), axis=(1, 2)
    )
    n_patches = windows[0, :, :, 0, 0].size
    screen.heading("Topics of images", f"each a bag of its {n_patches} patches of {SIDE} × {SIDE}")
    model = GaussianLDA(
        N_STROKES, doc_topic_prior="auto", max_iter=60, random_state=args.seed, n_jobs=args.n_jobs
    )
    lengths = np.full(len(images), n_patches)
    with Fitting():
        shares = model.fit_transform(windows.reshape(-1, SIDE * SIDE), lengths=lengths)
    of_digit = np.array([shares[classes == digit].mean(axis=0) for digit in range(10)])
    order = np.argsort(-shares.mean(axis=0))
    most = [np.sort(np.argsort(-of_digit[:, topic])[:2]) for topic in order]
    notes = [f"{shares[:, k].mean():.0%}: {d[0]}, {d[1]}" for k, d in zip(order, most, strict=True)]
    _draw(screen, [model.means_[k].reshape(SIDE, SIDE) for k in order], notes)
    screen.print("  below each its share, and the two digits that have most of it")


def _show_topics(screen, args, model):
    """Show the topics of docstrings, with the defaults of the command that does it at length."""
    import argparse

    from fastem._cli import topic_fits
    from fastem._cli.fitting import Fitting

    parser = add_command(argparse.ArgumentParser().add_subparsers(), "topics", TOPICS, "", "")
    given = ["--model", model, "--seed", str(args.seed), "--words", "7", "-k", str(N_TOPICS)]
    options = parser.parse_args(given)
    options.n_jobs = args.n_jobs
    settings = topic_fits.settings_of(options)
    screen.heading("Topics of words", f"--model {model}")
    with Fitting("reading docstrings") as fitting:
        title, corpus, _ = topic_fits.read(options, fitting.show)
        fits = topic_fits.fit_all(title, corpus.X, options, settings, fitting)
    topic_fits.show_corpus(screen, title, corpus)
    topic_fits.show(screen, fits[0], corpus.vocabulary, options, fitting, brief=True)


def _draw(screen, images, notes):
    """Print small grey images in rows, a note below each."""
    import numpy as np

    wide = max(2, 12 // images[0].shape[1])  # characters of a pixel
    width = wide * images[0].shape[1]
    room = (screen.width + 1) // (width + 3)
    ramp = np.array(list(" .:-=+*#%@"))
    for begin in range(0, len(images), room):
        levels = [np.clip(one / one.max(), 0, 1) * 9 for one in images[begin : begin + room]]
        for rows in zip(*(ramp[one.round().astype(int)] for one in levels), strict=True):
            screen.print("  " + "   ".join("".join(np.repeat(row, wide)) for row in rows))
        shown = notes[begin : begin + room]
        screen.print("  " + "   ".join(note.center(width) for note in shown))
        screen.print()
