"""Reads what ``topics`` is given: texts, matrices of counts and their words, the words' vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.sparse as sp

from fastem._cli import CommandError, count, docstrings, one_line, readable
from fastem._cli.counts import columns_of, tokens_of
from fastem._cli.sources import lines_of, load_array
from fastem._cli.texts import Corpus, Texts, count_words, open_texts
from fastem._engine.sparse import canonical_csr

#: Larger counts would change if they were converted to int64 and back.
_LARGEST = 1e15
#: Most rows and columns of a matrix: each has a name, and each column a number for each topic.
_MOST = 100_000_000, 10_000_000
#: Words in more than this part of the documents are left out. Docstrings share the names of their
#: sections and types, "returns" and "array", which would lead most topics.
_MAX_DF, _MAX_DF_DOCSTRINGS = 0.5, 0.1


def read_corpus(args, progress=None, folder=None):
    """Return the corpus's name, the corpus, and the words' vectors as a parameter, if any.

    It is a text file, a folder of them, a table's column of texts, or a sparse matrix (.npz).
    `folder` is where there is room for a temporary file.
    """
    if args.max_df is None:
        args.max_df = _MAX_DF_DOCSTRINGS if args.input is None else _MAX_DF
    if args.input is None:
        if args.column is not None or args.vocab is not None:
            option = "--column" if args.column is not None else "--vocab"
            raise CommandError(f"{option} names columns of a file: give one")
        title = docstrings.describe()
        corpus = count_words(title, Texts(docstrings.documents()), args, progress, folder)
    else:
        path = title = Path(args.input)
        if not path.exists():
            raise CommandError(f"{path}: no such file")
        matrix = path.suffix.lower() == ".npz" and not path.is_dir()
        if args.vocab is not None and not matrix:
            raise CommandError(f"--vocab names the columns of a .npz matrix, and {path} is none")
        with readable(path):
            corpus = _read_matrix(path, args.vocab) if matrix else count_words(
                path, open_texts(path, args.column, args.encoding), args, progress, folder
            )  # fmt: skip
    if args.vectors is None:
        return str(title), corpus, {}
    corpus, vectors = with_vectors(corpus, Path(args.vectors))
    return str(title), corpus, {"vectors": vectors}


def _read_matrix(path, vocab):
    """Read a matrix, documents × words, that scipy.sparse.save_npz wrote, and its words."""
    try:
        X = sp.load_npz(path)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # SciPy's reader trusts the file: damaged ones raise anything
        raise CommandError(
            f"{path}: is not a matrix that scipy.sparse.save_npz wrote ({one_line(error)})"
        ) from error
    if X.dtype.kind not in "fiub":
        raise CommandError(f"{path}: holds {X.dtype}; convert it to real numbers")
    if X.ndim != 2:
        raise CommandError(f"{path}: has shape {X.shape}; make it documents × words")
    for n, most, what in zip(X.shape, _MOST, ("rows", "columns"), strict=True):
        if n > most:
            raise CommandError(
                f"{path}: has {n:,} {what}, more than {most:,}; leave out those without counts"
            )
    try:
        X = sp.csr_array(canonical_csr(X))
    except ValueError as error:
        raise CommandError(f"{path}: {one_line(error)}") from error
    wrong = ~((X.data >= 0) & (X.data <= _LARGEST))
    if wrong.any():
        place = int(wrong.argmax())
        row = int(np.searchsorted(X.indptr, place, side="right")) - 1
        raise CommandError(
            f"{path}, row {row + 1}, column {X.indices[place] + 1}: {X.data[place]:.10g} is not a "
            "count"
        )
    if not X.data.any():
        raise CommandError(f"{path}: has no count above 0")
    words, notes = _words(path, vocab, X.shape[1])
    names = [str(i) for i in range(1, X.shape[0] + 1)]
    return Corpus(X.astype(np.float32), words, names, notes)


def _words(path, vocab, n_words):
    """Return the names of a matrix's columns, and a note where they are made up."""
    file = path.with_name("vocab.txt") if vocab is None else Path(vocab)
    columns = [f"w{j}" for j in range(n_words)]
    if vocab is None and not file.exists():
        return columns, ("no vocab.txt beside it: words are named by their column, from w0",)
    if not file.is_file():
        raise CommandError(f"{file}: no such file")
    words = [line.strip() for line in lines_of(file)]
    if len(words) == n_words:
        return words, () if vocab else (f"words from {file}",)
    problem = f"has {count(len(words), 'line')} where {path} has {count(n_words, 'column')}"
    if vocab is None:  # perhaps they belong to another corpus: no reason to refuse the matrix
        return columns, (f"{file} {problem}: words are named by their column, from w0",)
    raise CommandError(f"{file}: {problem}; give a word a line, in the order of the columns")


# ---- the words' vectors -------------------------------------------------------------------------


def with_vectors(corpus, path):
    """Return the corpus without the words that have no vector, and the vectors of the others.

    The file is a .npy array, a row for each word of vocab.txt beside it, or else for each column of
    the corpus; or text, a word and its numbers a line, with or without word2vec's first line of two
    numbers (.gz too).
    """
    path = Path(path)
    if not path.is_file():
        raise CommandError(f"{path}: no such file")
    read = _vectors_of_array if path.suffix.lower() == ".npy" else _vectors_of_text
    with readable(path):
        pairs = read(path, corpus.vocabulary)
        found = {word: row for word, row in pairs if np.isfinite(row).all()}
    known = [j for j, word in enumerate(corpus.vocabulary) if word in found]
    words = [corpus.vocabulary[j] for j in known]
    X = columns_of(corpus.X, known)
    if not tokens_of(X).any():
        raise CommandError(f"{path}: has a vector for none of the corpus's words")
    note = f"{len(known):,} of {len(corpus.vocabulary):,} words have a vector; no other is used"
    vectors = np.array([found[word] for word in words], dtype=np.float32)
    return corpus._replace(X=X, vocabulary=words, notes=(*corpus.notes, note)), vectors


def _vectors_of_array(path, vocabulary):
    """Return pairs of a word and its vector."""
    array = load_array(path)
    if array.ndim != 2 or array.dtype.kind != "f":
        what = f"{array.dtype} of shape {array.shape}"
        raise CommandError(f"{path}: holds {what}; make it a real vector for each word")
    beside = path.with_name("vocab.txt")
    words = " ".join(lines_of(beside)).split() if beside.is_file() else vocabulary
    if len(words) != len(array):
        raise CommandError(
            f"{path}: has {len(array):,} rows for {len(words):,} words; put the words of its rows "
            "in vocab.txt beside it, one a line"
        )
    wanted = set(vocabulary)
    return ((word, row) for word, row in zip(words, array, strict=True) if word in wanted)


def _vectors_of_text(path, vocabulary):
    """Yield pairs of a word and its vector; of several, the first."""
    wanted, length = set(vocabulary), None
    for number, line in enumerate(lines_of(path, errors="replace"), 1):
        word, *numbers = line.rstrip().split(" ")
        if word not in wanted or (number == 1 and len(numbers) == 1):
            continue
        wanted.remove(word)
        try:
            vector = np.array(numbers, dtype=np.float32)
        except ValueError as error:
            raise CommandError(f"{path}, line {number}: is not a word and numbers") from error
        length = length or len(vector)
        if len(vector) != length or not length:
            has = f"has {len(vector)} numbers where other words have {length}"
            raise CommandError(f"{path}, line {number}: {has}")
        yield word, vector
