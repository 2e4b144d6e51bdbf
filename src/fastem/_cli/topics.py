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

import argparse

from fastem._cli.options import (
    add_report,
    at_least,
    component_numbers,
    part,
    pattern,
    threads,
)

_EPILOG = """\
INPUT:         a text file, a document a line (.txt .md ...; also .gz); a folder, a document a file;
               a table with a column of texts (--column; .csv .tsv .jsonl .parquet);
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

#: Options that are a number: its type, lowest value, default and meaning.
_NUMBERS = (
    ("--tol", float, 0, 1e-4, "plsa: stop when the bound changes by less"),
    ("--doc-topic-prior", float, 0, 0.1, "pseudo-count of each topic of a document"),
    ("--topic-word-prior", float, 0, 0.01, "pseudo-count of each word of a topic"),
    ("--words", int, 1, 10, "words to print of each topic"),
    ("--seed", int, 0, 0, "seed of the random start and of what is held out"),
    ("--min-df", int, 1, 2, "text: leave out words in fewer documents"),
    ("--max-words", int, 1, 20_000, "text: keep this many words, the most frequent"),
)
#: Words in more than this part of the documents are left out. Docstrings share the names of their
#: sections and types, "returns" and "array", which would lead most topics.
_MAX_DF, _MAX_DF_DOCSTRINGS = 0.5, 0.1
#: Words of each topic in the file.
_WORDS = 50
#: Seconds for the timing.
TIMING_BUDGET = 2.0


def add_parser(subparsers):
    """Add the parser of this subcommand."""
    parser = subparsers.add_parser(
        "topics",
        help="find the topics of your own texts, or of the docstrings on this machine",
        description="Fit a topic model to documents.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("input", metavar="INPUT", nargs="?", help="documents; see below")
    add(
        "-k",
        "--components",
        type=component_numbers,
        default=[20],
        metavar="K",
        help="number of topics; of several, as 5,10,20 or 10-15, the one with the lowest "
        "perplexity is kept (default: 20)",
    )
    add(
        "--model",
        choices=("plsa", "lda", "gaussian-lda"),
        default="plsa",
        help="probabilistic latent semantic analysis; latent Dirichlet allocation, with priors; "
        "topics that are Gaussians over the words' vectors (default: %(default)s)",
    )
    add(
        "--vectors",
        metavar="FILE",
        help="gaussian-lda: the words' vectors, a word and its numbers a line (GloVe, word2vec), "
        "or .npy with vocab.txt beside it",
    )
    add(
        "--algorithm",
        choices=("batch", "incremental", "cvb0", "stochastic"),
        help="M-step after all documents, or after some; lda: the topic of every word, expected "
        "or, for short documents, drawn (default: batch; lda: cvb0)",
    )
    add(
        "--max-iter",
        type=at_least(int, 1),
        metavar="N",
        help="iterations at most (default: 200; lda: 50)",
    )
    for option, kind, lowest, default, meaning in _NUMBERS:
        text = f"{meaning} (default: %(default)s)"
        add(option, type=at_least(kind, lowest), default=default, metavar="N", help=text)
    add(
        "--max-df",
        type=part(zero=False),
        metavar="P",
        help="text: leave out words in more than this part of the documents "
        f"(default: {_MAX_DF}; docstrings: {_MAX_DF_DOCSTRINGS})",
    )
    add("--column", metavar="NAME", help="a table's column of texts, by name or by number from 1")
    add("--encoding", default="utf-8", metavar="NAME", help="of text (default: %(default)s)")
    add(
        "--stop-words",
        default="english",
        metavar="WORDS",
        help="text: words to leave out: english, none, or a file, a word a line "
        "(default: %(default)s)",
    )
    add(
        "--token-pattern",
        type=pattern,
        metavar="REGEX",
        help="text: what a word is (default: three letters or more)",
    )
    add(
        "--tokenizer",
        metavar="PACKAGE:FUNCTION",
        help="text: a function that takes a text and returns its words, as jieba:lcut",
    )
    add(
        "--vocab",
        metavar="FILE",
        help=".npz: the words, one a line (default: vocab.txt beside it, or else w0, w1, ...)",
    )
    add(
        "--held-out",
        type=part(zero=True),
        default=0.1,
        metavar="P",
        help="part of the documents kept from the fit, to measure it on (default: %(default)s)",
    )
    add("--n-jobs", type=threads, metavar="N", help="threads (default: one a core)")
    add("--compare", action="store_true", help="time plain NumPy as well")
    add("-o", "--output-dir", metavar="DIR", help="where to write (default: beside INPUT)")
    add_report(parser)
    add("-f", "--force", action="store_true", help="replace existing files")
    return parser


def main(args):
    """Read, fit, report, write."""
    from fastem._cli.outputs import check_outputs, write_all
    from fastem._cli.page import page, screen_for, topic_pictures

    paths = _paths(args)
    if paths:
        check_outputs(paths, args.force)
    screen = screen_for(args)
    title, corpus, fit = study(screen, args)
    files = _files(paths, title, corpus, fit) if paths else {}
    if args.report is not None:
        pictures = topic_pictures(fit, corpus.vocabulary, args.words)
        files[args.report] = page(title, screen, pictures)
    if files:
        write_all(files)
        screen.heading("Written")
        for path in files:
            screen.print(f"  {path}")


def study(screen, args, *, brief=False):
    """Read, fit and report; return the name of the corpus, the corpus and the fit."""
    from fastem._cli import CommandError, topic_report
    from fastem._cli.timing import COMPARED
    from fastem._cli.topic_fitting import MODELS, best_of, fit_topics

    kind = MODELS[args.model]
    algorithm = args.algorithm or kind.algorithms[0]
    if algorithm not in kind.algorithms:
        known = ", ".join(kind.algorithms)
        raise CommandError(f"--algorithm {algorithm} is not one of {args.model}'s: take {known}")

    title, corpus, settings = _read(args)
    topic_report.corpus_lines(screen, title, corpus)
    settings = {
        "model": args.model,
        "held_out": args.held_out,
        "max_iter": args.max_iter or kind.max_iter,
        "doc_topic_prior": args.doc_topic_prior,
        "random_state": args.seed,
        "n_jobs": args.n_jobs,
        **({} if kind.parameter is None else {kind.parameter: algorithm}),
        **kind.settings(args),
        **settings,
    }
    try:
        fits = [fit_topics(corpus.X, k, **settings) for k in args.components]
    except ValueError as error:
        raise CommandError(f"{title}: {error}") from error
    fit = best_of(fits, title)
    if len(fits) > 1:
        topic_report.choice_section(screen, fits, fit)
    topic_report.topics_section(screen, fit, corpus.vocabulary, args.words, brief=brief)
    if not brief:
        topic_report.fit_section(screen, fit)
    topic_report.quality_section(screen, fit, len(corpus.vocabulary))
    if args.compare or brief:
        if args.model not in COMPARED:
            raise CommandError(f"--compare is for --model {' and '.join(COMPARED)}; leave it out")
        compare, n_iter = COMPARED[args.model]
        timings, shape = compare(
            corpus.X,
            len(fit.order),
            n_iter=n_iter,
            seed=args.seed,
            n_jobs=args.n_jobs,
            budget=TIMING_BUDGET,
        )
        topic_report.timing_section(screen, timings, len(fit.order), shape, n_iter)
    return title, corpus, fit


def _read(args):
    """Return the name of the corpus, the corpus, and the settings that the model alone has."""
    from fastem._cli import CommandError
    from fastem._cli.word_vectors import with_vectors

    if (args.model == "gaussian-lda") != (args.vectors is not None):
        raise CommandError("--model gaussian-lda and --vectors FILE go together: give both")
    title, corpus = _read_corpus(args)
    if args.vectors is None:
        return title, corpus, {}
    corpus, vectors = with_vectors(corpus, args.vectors)
    return title, corpus, {"vectors": vectors}


def _read_corpus(args):
    """Return the name of the corpus and the corpus."""
    from fastem._cli import CommandError
    from fastem._cli.corpus import count_words, read_corpus
    from fastem._cli.docstrings import describe, read_docstrings

    max_df = args.max_df or (_MAX_DF_DOCSTRINGS if args.input is None else _MAX_DF)
    counting = {
        "stop_words": args.stop_words,
        "token_pattern": args.token_pattern,
        "tokenizer": args.tokenizer,
        "min_df": args.min_df,
        "max_df": max_df,
        "max_words": args.max_words,
    }
    if args.input is not None:
        source = {"vocab": args.vocab, "column": args.column, "encoding": args.encoding}
        return args.input, read_corpus(args.input, **source, **counting)
    if args.column is not None:
        raise CommandError("--column names a column of a table; give one")
    if args.vocab is not None:
        raise CommandError("--vocab names the columns of a .npz matrix; give one")
    title = describe()
    return title, count_words(title, read_docstrings(), **counting)


def _paths(args):
    """Return the files to write."""
    from pathlib import Path

    from fastem._cli.outputs import output_paths

    if args.input is None and args.output_dir is None:
        return []
    source = Path("docstrings" if args.input is None else args.input)
    if source.name in ("", ".."):  # a folder without a name, such as "."
        source = source.resolve()
    return output_paths(source, args.output_dir, "topics.json", "model.npz", "documents.csv")


def _files(paths, title, corpus, fit):
    """Return what the three files hold."""
    import numpy as np

    from fastem._cli.outputs import documents_csv, to_json, to_npz

    topics_path, model_path, documents_path = paths
    n_tokens = corpus.X.sum(axis=1, dtype=np.float64)
    arrays = {"components": fit.topic_word, "vocabulary": np.array(corpus.vocabulary)}
    if hasattr(fit.model, "means_"):
        arrays |= {
            "means": fit.model.means_[fit.order],
            "covariances": fit.model.covariances_[fit.order],
        }
    model = to_npz(**arrays)
    return {
        topics_path: to_json(_content(title, corpus, fit)),
        model_path: model,
        documents_path: documents_csv(corpus.names, n_tokens, fit.doc_topic),
    }


def _content(title, corpus, fit):
    """Return what the JSON file holds."""
    import numpy as np

    from fastem import __version__
    from fastem._cli.topic_fitting import finite, mean_coherence

    model, vocabulary = fit.model, corpus.vocabulary
    settings = model.get_params()
    settings.pop("vectors", None)  # not a setting to read
    weights = -np.sort(-fit.topic_word, axis=1)[:, :_WORDS]
    topics = [
        {
            "topic": k,
            "share": float(fit.shares[k]),
            "coherence": finite(fit.coherence[k]),
            "words": words,
            "weights": weights[k].tolist(),
        }
        for k, words in enumerate(fit.top_words(vocabulary, _WORDS))
    ]
    return {
        "fastem": __version__,
        "corpus": title,
        "model": type(model).__name__,
        "n_documents": corpus.X.shape[0],
        "n_words": len(vocabulary),
        "n_tokens": float(corpus.X.sum(dtype=float)),
        "settings": settings,
        "converged": bool(getattr(model, "converged_", False)),
        "n_iter": int(model.n_iter_),
        "lower_bound": float(model.lower_bound_),
        "n_documents_held_out": fit.n_held_out,
        "n_tokens_held_out": fit.n_scored,
        "perplexity": finite(fit.perplexity),
        "perplexity_of_frequencies": finite(fit.baseline),
        "coherence": mean_coherence(fit),
        "topics": topics,
        "vocabulary": vocabulary,
        "lower_bounds": [float(bound) for bound in model.lower_bounds_],
    }
