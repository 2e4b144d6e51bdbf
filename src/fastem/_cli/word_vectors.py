"""Reads the vectors of a corpus's words, or says in one line why that is impossible."""

import gzip
import zlib
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from tqdm import tqdm

from fastem._cli import CommandError, one_line


def with_vectors(corpus, path):
    """Return the corpus without the words that have no vector, and the vectors of the others.

    Parameters
    ----------
    corpus : Corpus
    path : str
        A .npy array, a row for each word of vocab.txt beside it, or else for each column of the
        corpus; or text, a word and its numbers a line, with or without word2vec's first line of
        two numbers (.gz too).

    Returns
    -------
    corpus : Corpus
    vectors : ndarray of shape (n_words, n_dimensions), float32
    """
    path = Path(path)
    if not path.is_file():
        raise CommandError(f"{path}: no such file")
    try:
        read = _read_array if path.suffix.lower() == ".npy" else _read_text
        found = read(path, corpus.vocabulary)
    except (OSError, EOFError, zlib.error) as error:
        raise CommandError(f"{path}: cannot be read ({one_line(error)})") from error
    known = [j for j, word in enumerate(corpus.vocabulary) if word in found]
    if not known:
        raise CommandError(f"{path}: has a vector for none of the corpus's words")
    vectors = np.array([found[corpus.vocabulary[j]] for j in known], dtype=np.float32)
    note = f"{len(known):,} of {len(corpus.vocabulary):,} words have a vector; no other is used"
    words = [corpus.vocabulary[j] for j in known]
    X = sp.csr_array(corpus.X[:, known])
    if not X.data.any():
        raise CommandError(f"{path}: no word with a vector occurs in the corpus")
    return corpus._replace(
        X=X, vocabulary=words, note=f"{corpus.note}; {note}".lstrip("; ")
    ), vectors


def _read_array(path, vocabulary):
    """Return the vectors of a .npy array by word."""
    try:
        array = np.load(path, mmap_mode="r")
    except (OSError, MemoryError):
        raise
    except Exception as error:  # NumPy parses the header as Python: a damaged one raises anything
        raise CommandError(f"{path}: is not an array that numpy.save wrote") from error
    if not isinstance(array, np.ndarray):
        raise CommandError(f"{path}: is an .npz archive; save one array with numpy.save")
    if array.ndim != 2 or array.dtype.kind != "f":
        raise CommandError(
            f"{path}: holds {array.dtype} of shape {array.shape}; make it a real vector for each "
            "word"
        )
    beside = path.with_name("vocab.txt")
    try:
        words = beside.read_text(encoding="utf-8").split() if beside.is_file() else vocabulary
    except UnicodeDecodeError as error:
        raise CommandError(f"{beside}: is not UTF-8 text; give a word a line") from error
    if len(words) != len(array):
        raise CommandError(
            f"{path}: has {len(array):,} rows for {len(words):,} words; put the words of its rows "
            "in vocab.txt beside it, one a line"
        )
    wanted = set(vocabulary)
    return {
        word: vector
        for word, vector in zip(words, array, strict=True)
        if word in wanted and np.isfinite(vector).all()
    }


def _read_text(path, vocabulary):
    """Return the vectors of a text file by word; only wanted lines are parsed."""
    wanted, length = set(vocabulary), None
    found: dict[str, np.ndarray] = {}
    opened = gzip.open if path.suffix.lower() == ".gz" else open
    with opened(path, "rt", encoding="utf-8", errors="replace") as lines:
        shown = tqdm(lines, "reading vectors", disable=None, leave=False, unit=" words")
        for number, line in enumerate(shown, 1):
            word, _, numbers = line.rstrip().partition(" ")
            if word not in wanted or (number == 1 and len(numbers.split()) == 1):
                continue
            try:
                vector = np.array(numbers.split(), dtype=np.float32)
            except ValueError as error:
                raise CommandError(f"{path}, line {number}: is not a word and numbers") from error
            length = length or len(vector)
            if len(vector) != length or not length:
                raise CommandError(
                    f"{path}, line {number}: has {len(vector)} numbers where other words have "
                    f"{length}"
                )
            if np.isfinite(vector).all():
                found.setdefault(word, vector)
    return found
