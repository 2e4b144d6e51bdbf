"""Options of the commands, and the types of their values: text becomes a value, or says why not."""

import argparse
import re

from fastem._cli.models import MODELS, names_of

_MOST_NUMBERS = 1000  # that -k may list


def names(text):
    """Parse A,B,C into a list of names."""
    return [name.strip() for name in text.split(",")]


def component_numbers(text):
    """Parse 8, or 2,4,8, or 2-12, into a sorted list of numbers from 1."""
    numbers: set[int] = set()
    try:
        for part in text.split(","):
            first, dash, last = part.partition("-")
            begin, end = int(first), int(last if dash else first)
            if begin < 1 or end < begin or end - begin >= _MOST_NUMBERS:
                raise ValueError
            numbers.update(range(begin, end + 1))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number from 1, nor 2,4,8 nor 2-12"
        ) from error
    return sorted(numbers)


def number(kind, lowest, below=float("inf"), *, above=None):
    """Return a function that parses a number of this type between bounds."""

    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not lowest <= value < below or value == above:
            upper = "" if below == float("inf") else f" and < {below}"
            sign = ">" if above == lowest else ">="
            raise argparse.ArgumentTypeError(f"{text!r} is not a number {sign} {lowest}{upper}")
        return value

    return parse


def pattern(text):
    """Return a regular expression."""
    try:
        return re.compile(text).pattern
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from error


def threads(text):
    """Parse a number of threads: positive, or negative to count back from all."""
    value = int(text) if re.fullmatch(r"-?\d{1,9}", text) else 0
    if value == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number, nor -1 for all")
    return value


_READING = (
    ("--drop-missing", {"action": "store_true", "help": "leave out rows with a missing value"}),
    ("--encoding", {"default": "utf-8", "metavar": "NAME", "help": "of text (%(default)s)"}),
    ("--decimal", {"choices": (".", ","), "default": ".",
                   "help": "what stands before decimals in text (%(default)s)"}),
)  # fmt: skip
_WRITING = (
    ("-o --output-dir", {"metavar": "DIR", "help": "where to write (default: beside the input)"}),
    ("-f --force", {"action": "store_true", "help": "replace existing files"}),
)
_FITTING = (
    ("--n-jobs", {"type": threads, "metavar": "N", "help": "threads (default: one a core)"}),
    ("--compare", {"action": "store_true", "help": "time another program's fit as well"}),
    ("--report", {"metavar": "FILE.html", "help": "also write what is printed, with pictures, as "
                  "one page (needs matplotlib)"}),
)  # fmt: skip


def _numbers(*rows):
    """Return options that are a number: each row has name, type, lowest, default and meaning."""
    return [
        (name, {"type": number(kind, lowest), "default": default, "metavar": "N",
                "help": f"{meaning} (default: %(default)s)"})
        for name, kind, lowest, default, meaning in rows
    ]  # fmt: skip


CLUSTER = [
    ("file", {"metavar": "FILE", "help": "table, one sample a row"}),
    ("--model", {"choices": names_of("cluster"), "default": "mixture", "help": "what to fit: a "
                 "mixture of Gaussians, by maximum likelihood or Bayesian (which drops components "
                 "that it does not need); k-means; a mixture for yes or no, for counts, for "
                 "categories; a hidden Markov model of rows in order (default: %(default)s)"}),
    ("-k --components", {"type": component_numbers, "default": [8], "metavar": "K",
                         "help": "number of components; several, as 2,4,8 or 2-12, are compared "
                         "and the best is kept (default: 8)"}),
    ("--criterion", {"choices": sorted({c for name in names_of("cluster")
                                        for c in MODELS[name].criteria}),
                     "help": "what several are compared by (default: bic; kmeans: silhouette)"}),
    ("--covariance --covariance-type", {
        "dest": "covariance_type", "default": "full",
        "choices": ("full", "tied", "diag", "spherical", "all"),
        "help": "shape of Gaussian components; all: compared, too (default: %(default)s)"}),
    ("--columns", {"type": names, "metavar": "A,B,2-5",
                   "help": "columns to use, by name or number from 1"}),
    ("--exclude", {"type": names, "default": [], "metavar": "A,B", "help": "columns to leave out"}),
    ("--standardize", {"action": "store_true", "help": "give all columns mean 0 and variance 1 "
                       "first; results are printed in the file's units"}),
    *_READING,
    *_numbers(
        ("--max-iter", int, 1, 100, "iterations at most"),
        ("--tol", float, 0, 1e-3, "stop when the bound changes, or centers move, by less"),
        ("--reg-covar", float, 0, 1e-6, "added to every variance; hmm: the least variance"),
        ("--n-init", int, 1, 1, "starts, of which the best is kept"),
        ("--seed", int, 0, 0, "seed of the random starts"),
    ),
    *_FITTING,
    *_WRITING,
]  # fmt: skip

TOPICS = [
    ("input", {"metavar": "INPUT", "nargs": "?", "help": "documents; see below"}),
    ("-k --components", {"type": component_numbers, "default": [20], "metavar": "K",
                         "help": "number of topics; several, as 5,10,20 or 10-15, are compared "
                         "and the best is kept (default: 20)"}),
    ("--criterion", {"choices": ("held_out", "coherence"), "default": "held_out",
                     "help": "what several are compared by (default: %(default)s)"}),
    ("--model", {"choices": names_of("topics"), "default": "plsa", "help": "probabilistic latent "
                 "semantic analysis; latent Dirichlet allocation, with priors; topics that are "
                 "Gaussians over the words' vectors (default: %(default)s)"}),
    ("--vectors", {"metavar": "FILE", "help": "gaussian-lda: the words' vectors, a word and its "
                   "numbers a line (GloVe, word2vec), or .npy with vocab.txt beside it"}),
    ("--algorithm", {"choices": ("batch", "incremental", "cvb0", "stochastic"), "help": "M-step "
                     "after all documents, or after some; lda: the topic of every word, expected "
                     "or, for short documents, drawn (default: batch; lda: cvb0)"}),
    ("--max-iter", {"type": number(int, 1), "metavar": "N",
                    "help": "iterations at most (default: 200; lda: 50)"}),
    *_numbers(
        ("--tol", float, 0, 1e-4, "plsa: stop when the bound changes by less"),
        ("--doc-topic-prior", float, 0, 0.1, "pseudo-count of each topic of a document"),
        ("--topic-word-prior", float, 0, 0.01, "pseudo-count of each word of a topic"),
        ("--words", int, 1, 10, "words to print of each topic"),
        ("--seed", int, 0, 0, "seed of the random start and of what is held out"),
        ("--min-df", int, 1, 2, "text: leave out words in fewer documents"),
        ("--max-words", int, 1, 20_000, "text: keep this many words, the most frequent"),
    ),
    ("--max-df", {"type": number(float, 0, 1.0000001, above=0), "metavar": "P", "help": "text: "
                  "leave out words in more than this part of the documents (default: 0.5; "
                  "docstrings: 0.1)"}),
    ("--column", {"metavar": "NAME", "help": "a table's column of texts, by name or number"}),
    ("--encoding", {"default": "utf-8", "metavar": "NAME", "help": "of text (%(default)s)"}),
    ("--stop-words", {"default": "english", "metavar": "WORDS", "help": "text: words to leave "
                      "out: english, none, a file with a word a line, or a language's code, as de "
                      "(needs fastem[stopwords]) (default: %(default)s)"}),
    ("--token-pattern", {"type": pattern, "metavar": "REGEX",
                         "help": "text: what a word is (default: three letters or more)"}),
    ("--tokenizer", {"metavar": "PACKAGE:FUNCTION", "help": "text: a function that takes a text "
                     "and returns its words, as jieba:lcut"}),
    ("--vocab", {"metavar": "FILE", "help": ".npz: the words, one a line (default: vocab.txt "
                 "beside it, or else w0, w1, ...)"}),
    ("--held-out", {"type": number(float, 0, 1), "default": 0.1, "metavar": "P", "help": "part of "
                    "the documents kept from the fit, to measure it on (default: %(default)s)"}),
    *_FITTING,
    *_WRITING,
]  # fmt: skip

PREDICT = [
    ("model", {"metavar": "MODEL", "help": "NAME.MODEL.skops, as cluster wrote it"}),
    ("file", {"metavar": "FILE", "help": "table with the columns that the model was fitted to"}),
    ("--append", {"action": "store_true",
                  "help": "write the table itself, with the labels as further columns"}),
    *_READING,
    *_WRITING,
]  # fmt: skip

DEMO = [
    *_numbers(("--seed", int, 0, 0, "of the starts")),
    _FITTING[0],
]


def add_command(subparsers, name, options, summary, description, epilog=None):
    """Add a command's parser, with options from a list above, and return it."""
    parser = subparsers.add_parser(
        name,
        help=summary,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for flags, settings in options:
        parser.add_argument(*flags.split(), **settings)
    return parser
