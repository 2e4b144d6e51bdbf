"""``python -m fastem topics [INPUT]``: a topic model of the user's documents.

Three files are written beside INPUT, or in ``--output-dir``; topic 0 is the largest in all of them:

- ``NAME.topics.json``: the topics as words with weights, how good they are, how they came about;
- ``NAME.model.npz``: ``components``, p(word|topic), and ``vocabulary``, the words of its columns;
  of Gaussian topics also ``means`` and ``covariances``, the diagonals;
- ``NAME.documents.csv``: for each document, in order, its topic probabilities.

The model is fitted to nine tenths of the documents and measured on the last tenth, and is not
fitted again to all: what is written is what was measured. The table has all documents.

In the library the priors default to 0, here they do not: a word that only held-out documents have
would be impossible, and so would the words of a topic that the other half of a document did not
show; one such word makes a perplexity infinite. Of the values that were tried on docstrings and
political blogs, the defaults were about the best.
"""

from fastem._cli.options import TOPICS, add_command

_EPILOG = """\
INPUT:         a text file, a document a line (.txt .md ...; also .gz); a folder, a document a file;
               a table with a column of texts (--column; .csv .tsv .jsonl .parquet .xlsx);
               a matrix of counts, documents x words, saved by scipy.sparse.save_npz (.npz);
               none: the docstrings of Python, NumPy, SciPy and scikit-learn
files written: NAME.topics.json   words of each topic, perplexity, the bound of every iteration
               NAME.model.npz     p(word | topic) and the vocabulary
               NAME.documents.csv p(topic | document)
               (without INPUT only if --output-dir is given)
               --report FILE.html  what is printed, with pictures, as one page

examples:
  python -m fastem topics
  python -m fastem topics news.txt -k 50 --stop-words none -o results
  python -m fastem topics reviews.csv --column text -k 5,10,20,50
  python -m fastem topics haiku.txt --tokenizer jieba:lcut --stop-words stop.txt
  python -m fastem topics news.txt --model gaussian-lda --vectors glove.6B.50d.txt
  python -m fastem topics counts.npz --vocab words.txt --algorithm incremental
  python -m fastem topics abstracts.txt --model lda --algorithm stochastic -k 100
"""


def add_parser(subparsers):
    """Add the parser of this subcommand."""
    return add_command(
        subparsers, "topics", TOPICS,
        "find the topics of your own texts, or of the docstrings on this machine",
        "Fit a topic model to documents.", _EPILOG,
    )  # fmt: skip


def main(args):
    """Read, fit, report, write."""
    from fastem._cli import compare, outputs, sections, topic_fits
    from fastem._cli.corpora import read_corpus
    from fastem._cli.fitting import Fitting
    from fastem._cli.page import check_report, page
    from fastem._cli.screen import Screen

    settings, paths, screen = topic_fits.settings_of(args), [], Screen()
    if args.input is not None or args.output_dir is not None:
        endings = "topics.json", "model.npz", "documents.csv"
        paths = outputs.output_paths(args.input or "docstrings", args.output_dir, *endings)
        outputs.check_outputs(paths, args.force)
    check_report(args)
    with Fitting("reading", keeps=False) as reading:
        title, corpus, vectors = read_corpus(args, reading.show)
    topic_fits.show_corpus(screen, title, corpus)
    with Fitting() as fitting:
        fit, selection = topic_fits.fit_all(title, corpus, args, settings | vectors, fitting)
    if selection is not None:
        sections.selection_section(screen, selection)
    topic_fits.show(screen, fit, args, fitting)
    if args.compare:
        compare.show(screen, corpus.X, fit.model)
    files = _files(paths, title, corpus, fit, selection) if paths else {}
    if args.report is not None:
        pictures = topic_fits.pictures(selection, fit, corpus.vocabulary, args.words)
        files[args.report] = page(title, screen, pictures)
    if files:
        outputs.write_all(files)
        screen.written(files)
    return 130 if fitting.interrupted else 0


def _files(paths, title, corpus, fit, selection):
    """Return what the three files hold."""
    import numpy as np

    from fastem import __version__
    from fastem._cli.outputs import csv_of, to_json, to_npz

    model, X = fit.model, corpus.X
    settings = {name: value for name, value in model.get_params().items() if name != "vectors"}
    choice = {}
    if selection is not None:
        choice = {"criterion": selection.criterion, "candidates": selection.table}
    content = choice | {
        "fastem": __version__, "corpus": title, "model": type(model).__name__,
        "n_documents": X.shape[0], "n_words": X.shape[1], "n_tokens": float(X.sum(dtype=float)),
        "settings": settings, "converged": bool(getattr(model, "converged_", False)),
        "n_iter": int(model.n_iter_), "lower_bound": float(model.lower_bound_), **fit.found,
        "vocabulary": corpus.vocabulary,
        "lower_bounds": [float(bound) for bound in model.lower_bounds_],
    }  # fmt: skip
    arrays = {"components": fit.topic_word, "vocabulary": np.array(corpus.vocabulary)}
    for name in ("means", "covariances"):
        if hasattr(model, f"{name}_"):
            arrays[name] = getattr(model, f"{name}_")[fit.order]
    header = ["document", "words", "topic", *(f"topic_{k}" for k in range(len(fit.order)))]
    n_tokens = np.asarray(X.sum(axis=1, dtype=np.float64)).ravel()
    columns = [n_tokens, fit.doc_topic.argmax(axis=1), *fit.doc_topic.T]
    table = csv_of(header, corpus.names, columns)
    return dict(zip(paths, (to_json(content), to_npz(**arrays), table), strict=True))
