"""Options of the commands, and the types of their values: text becomes a value, or says why not."""

import argparse
import re
from typing import Any

from fastem._cli.models import COVARIANCE_TYPES, MODELS, names_of
from fastem._version import __version__

_MOST_NUMBERS = 1000  # that -k may list


def _value(convert, what):
    """Return a function that converts a text, or says that it is not what it must be."""

    def parse(text):
        try:
            return convert(text)
        except (LookupError, ValueError, re.error) as error:
            why = f" ({error})" if isinstance(error, re.error) else ""
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}{why}") from error

    return parse


def _check(value, right):
    """Return a value if it is right."""
    if not right:
        raise ValueError
    return value


def _several(text):
    """Return the sorted numbers of 8, or 2,4,8, or 2-12."""
    numbers: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        begin, end = int(first), int(last if dash else first)
        _check(text, 1 <= begin <= end < begin + _MOST_NUMBERS)
        numbers.update(range(begin, end + 1))
    return sorted(numbers)


def _from(kind, lowest):
    """Return the type of a number, `lowest` at least."""
    return _value(lambda text: _check(kind(text), lowest <= kind(text) < float("inf")),
                  f"a number >= {lowest}")  # fmt: skip


_names = _value(lambda text: [name.strip() for name in text.split(",")], "names")
_numbers = _value(_several, "a number from 1, nor 2,4,8 nor 2-12")
_threads = _value(lambda text: _check(int(text), 0 < abs(int(text)) < 10**9),
                  "a positive number, nor -1 for all")  # fmt: skip
_share = _value(lambda text: _check(float(text), 0 < float(text) <= 1), "a number > 0 and <= 1")
_part = _value(lambda text: _check(float(text), 0 <= float(text) < 1), "a number >= 0 and < 1")
_pattern = _value(lambda text: re.compile(text).pattern, "a regular expression")
_encoding = _value(lambda text: ("".encode(text), text)[1], "known, try utf-8 or cp1252")


def _option(flags, meaning, **settings):
    """Return what argparse is told of an option; a default is told to the user as well."""
    if settings.get("default") not in (None, []) and "default" not in meaning:
        meaning += " (default: %(default)s)"
    return flags.split(), settings | {"help": meaning}


def _number(flag, kind, lowest, default, meaning):
    """Return an option that is a number, `lowest` at least."""
    return _option(flag, meaning, type=_from(kind, lowest), default=default, metavar="N")


_DROP = _option("--drop-missing", "leave out rows with a missing value", action="store_true")
_ENCODING = _option("--encoding", "of text", type=_encoding, default="utf-8", metavar="NAME")
_DECIMAL = _option("--decimal", "what stands before decimals in text, . or ,", choices=(".", ","),
                   default=".", metavar="MARK")  # fmt: skip
_SEED = _number("--seed", int, 0, 0, "seed of what is random")
_N_JOBS = _option("--n-jobs", "threads (default: one a core)", type=_threads, metavar="N")
_COMPARE = _option("--compare", "time scikit-learn's estimator as well", action="store_true")
_REPORT = _option("--report", "also write what is printed, with pictures, as one page (needs "
                  "matplotlib)", metavar="FILE.html")  # fmt: skip
_OUTPUT = _option("-o --output-dir", "where to write (default: beside the input)", metavar="DIR")
_FORCE = _option("-f --force", "replace existing files", action="store_true")

CLUSTER = [
    _option("file", "table, one sample a row", metavar="FILE"),
    _option("--model", "what to fit: a mixture of Gaussians, by maximum likelihood or Bayesian "
            "(which drops components that it does not need); k-means; a mixture for yes or no, for "
            "counts, for categories; a hidden Markov model of rows in order",
            choices=names_of("cluster"), default="mixture"),
    _option("-k --components", "number of components; several, as 2,4,8 or 2-12, are compared and "
            "the best is kept (default: 8)", type=_numbers, default=[8], metavar="K"),
    _option("--criterion", "what several are compared by (default: bic; kmeans: silhouette)",
            choices=sorted({c for name in names_of("cluster") for c in MODELS[name].criteria})),
    _option("--covariance --covariance-type", "shape of Gaussian components; all: compared, too",
            dest="covariance_type", choices=(*COVARIANCE_TYPES, "all"), default="full"),
    _option("--columns", "columns to use, by name or number", type=_names, metavar="A,B,2-5"),
    _option("--exclude", "columns to leave out", type=_names, default=[], metavar="A,B"),
    _option("--standardize", "give all columns mean 0 and variance 1 first; results are printed in "
            "the file's units", action="store_true"),
    _DROP, _ENCODING, _DECIMAL,
    _number("--max-iter", int, 1, 100, "iterations at most"),
    _number("--tol", float, 0, 1e-3, "stop when the bound changes, or centers move, by less"),
    _number("--reg-covar", float, 0, 1e-6, "added to every variance; hmm: the least variance"),
    _number("--n-init", int, 1, 1, "starts, of which the best is kept"),
    _SEED, _N_JOBS, _COMPARE, _REPORT, _OUTPUT, _FORCE,
]  # fmt: skip

TOPICS = [
    _option("input", "documents; see below", metavar="INPUT", nargs="?"),
    _option("-k --components", "number of topics; several, as 5,10,20 or 10-15, are compared and "
            "the best is kept (default: 20)", type=_numbers, default=[20], metavar="K"),
    _option("--criterion", "what several are compared by", choices=("held_out", "coherence"),
            default="held_out"),
    _option("--model", "probabilistic latent semantic analysis; latent Dirichlet allocation, with "
            "priors; topics that are Gaussians over the words' vectors",
            choices=names_of("topics"), default="plsa"),
    _option("--vectors", "gaussian-lda: the words' vectors, a word and its numbers a line (GloVe, "
            "word2vec), or .npy with vocab.txt beside it", metavar="FILE"),
    _option("--algorithm", "M-step after all documents, or after some; lda: the topic of every "
            "word, expected or, for short documents, drawn (default: batch; lda: cvb0)",
            choices=("batch", "incremental", "cvb0", "stochastic")),
    _option("--max-iter", "iterations at most (default: 200; lda: 50)", type=_from(int, 1),
            metavar="N"),
    _number("--tol", float, 0, 1e-4, "plsa: stop when the bound changes by less"),
    _number("--doc-topic-prior", float, 0, 0.1, "pseudo-count of each topic of a document"),
    _number("--topic-word-prior", float, 0, 0.01, "pseudo-count of each word of a topic"),
    _number("--words", int, 1, 10, "words to print of each topic"),
    _number("--min-df", int, 1, 2, "text: leave out words in fewer documents"),
    _option("--max-df", "text: leave out words in more than this part of the documents (default: "
            "0.5; docstrings: 0.1)", type=_share, metavar="P"),
    _number("--max-words", int, 1, 20_000, "text: keep this many words, the most frequent"),
    _option("--column", "a table's column of texts, by name or number", metavar="NAME"),
    _ENCODING,
    _option("--stop-words", "text: words to leave out: english, none, a file with a word a line, "
            "or a language's code, as de (needs fastem[stopwords])", default="english",
            metavar="WORDS"),
    _option("--token-pattern", "text: what a word is (default: three letters or more)",
            type=_pattern, metavar="REGEX"),
    _option("--tokenizer", "text: a function that takes a text and returns its words, as "
            "jieba:lcut", metavar="PACKAGE:FUNCTION"),
    _option("--vocab", ".npz: the words, one a line (default: vocab.txt beside it, or else w0, w1, "
            "...)", metavar="FILE"),
    _option("--held-out", "part of the documents kept from the fit, to measure it on",
            type=_part, default=0.1, metavar="P"),
    _SEED, _N_JOBS, _COMPARE, _REPORT, _OUTPUT, _FORCE,
]  # fmt: skip

PREDICT = [
    _option("model", "NAME.MODEL.skops, as cluster wrote it", metavar="MODEL"),
    _option("file", "table with the columns that the model was fitted to", metavar="FILE"),
    _option("--append", "write the table itself, with the labels as further columns",
            action="store_true"),
    _DROP, _ENCODING, _DECIMAL, _OUTPUT, _FORCE,
]  # fmt: skip

DEMO = [_SEED, _N_JOBS]

RUN = [
    _option("--no-children", "leave Python processes that the program starts as they are",
            action="store_true"),
    _option("script", "a file, or a folder or zip", nargs="?", metavar="SCRIPT"),
    _option("-m", "a module instead of a file", dest="module", metavar="MODULE"),
]  # fmt: skip

#: Of each command what the list of commands says, what its own help says, options, and examples.
COMMANDS: dict[str, tuple[str, str, list[Any], str]] = {
    "demo": (
        "find digits in images and topics in docstrings (this runs without a command, too)",
        "Fit Gaussian mixtures and topics of patches to scikit-learn's handwritten digits, and "
        "topics of words to the docstrings of installed packages; show what they found.",
        DEMO, "",
    ),
    "cluster": (
        "find groups in your own table; write labels, parameters and the model",
        "Fit a mixture, k-means or a hidden Markov model to the rows of a file.", CLUSTER,
        """\
files read:    .csv .tsv .txt (header or none; also .gz), .npy, .parquet (needs pyarrow), .xlsx
               (needs pandas and openpyxl); - is text from standard input
files written: NAME.labels.csv   each row's name or number, label, and the label's probability
               NAME.MODEL.json   weights, means, covariances, the bound of every iteration
               NAME.MODEL.skops  the model, for: python -m fastem predict (needs skops)

examples:
  python -m fastem cluster iris.csv -k 1-9 --columns sepal_length,sepal_width
  python -m fastem cluster customers.csv -k 2-12 --covariance all --standardize --exclude id
  python -m fastem cluster points.npy -k 50 --model kmeans
  python -m fastem cluster answers.csv -k 2-6 --model categorical --drop-missing
""",
    ),
    "predict": (
        "find the components of new rows, by a model that cluster saved",
        "Find the components of new rows, by a model that cluster saved.", PREDICT,
        """\
examples:
  python -m fastem cluster customers.csv -k 2-12 --standardize
  python -m fastem predict customers.mixture.skops new.csv --append -o results
""",
    ),
    "topics": (
        "find the topics of your own texts, or of the docstrings on this machine",
        "Fit a topic model to documents.", TOPICS,
        """\
INPUT:         a text file, a document a line (.txt .md ...; also .gz); a folder, a document a file;
               a table with a column of texts (--column; .csv .tsv .jsonl .parquet .xlsx);
               a matrix of counts, documents x words, saved by scipy.sparse.save_npz (.npz);
               none: the docstrings of Python, NumPy, SciPy and scikit-learn
files written: NAME.topics.json   words of each topic, perplexity, the bound of every iteration
               NAME.model.npz     p(word | topic) and the vocabulary
               NAME.documents.csv p(topic | document)
               (without INPUT only if --output-dir is given)

examples:
  python -m fastem topics news.txt -k 50 --stop-words none -o results
  python -m fastem topics reviews.csv --column text -k 5,10,20,50
  python -m fastem topics haiku.txt --tokenizer jieba:lcut --stop-words stop.txt
  python -m fastem topics news.txt --model gaussian-lda --vectors glove.6B.50d.txt
  python -m fastem topics abstracts.txt --model lda --algorithm stochastic -k 100
""",
    ),
    "run": (
        "run a program that uses scikit-learn, with its mixtures, k-means and LDA by fastem",
        "Run a program as `python SCRIPT ARG ...` or `python -m MODULE ARG ...` does, after "
        "fastem.patch(): scikit-learn's GaussianMixture, KMeans and LatentDirichletAllocation run "
        "on fastem. What fastem cannot do the same stays scikit-learn's, and a line on stderr says "
        "so. FASTEM_VERBOSE=1 in the environment shows what was replaced. Python processes that "
        "the program starts are patched, too.", RUN, "",
    ),
}  # fmt: skip


class _Parser(argparse.ArgumentParser):
    """ArgumentParser whose errors are one line, like every other error of the command."""

    def error(self, message):
        self.exit(2, f"fastem: error: {message} (try '{self.prog} --help')\n")


def build_parser():
    """Return the parser of the whole command line; `command` is the module that does the work."""
    parser = _Parser(
        prog="python -m fastem",
        description="Latent-variable models fitted by expectation-maximization. "
        "Without a command: a Gaussian mixture and topic models, fitted to real data that need no "
        "download.",
    )
    parser.add_argument("--version", action="version", version=f"fastem {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", title="commands")
    for name, (summary, description, options, epilog) in COMMANDS.items():
        usage = "python -m fastem run [-h] [--no-children] (SCRIPT | -m MODULE) [ARG ...]"
        raw = argparse.RawDescriptionHelpFormatter if epilog else argparse.HelpFormatter
        command = subparsers.add_parser(
            name, help=summary, description=description, epilog=epilog,
            usage=usage if name == "run" else None, formatter_class=raw,
        )  # fmt: skip
        for flags, settings in options:
            command.add_argument(*flags, **settings)
        command.set_defaults(command=name)
    return parser
