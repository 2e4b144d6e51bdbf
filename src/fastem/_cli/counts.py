"""Counts the words of documents: in memory, or in a file without a name if they are many.

A text is read once. What words the corpus has, and which are left out, is known at the end: until
then a word is its number in the order of appearance, and what is read back is renumbered.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from functools import partial
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from fastem._cli import reading
from fastem._cli.temporary import TemporaryArrays
from fastem._engine.blocks import Blocks

__all__ = ["Counts", "StoredCounts", "as_csr", "columns_of", "tokens_of"]

_ENTRIES = 1 << 20  # of a piece: 8 MB


class _Piece(NamedTuple):
    """Some documents."""

    lengths: np.ndarray  # (n,) int32: how many different words each has
    entries: Any  # (ids, counts), or where in the file they begin


class Counts:
    """Counts of words, as documents come; `folder` is where there is room for many."""

    def __init__(self, folder: Any = None) -> None:
        self.folder = folder
        self.ids: dict[str, int] = defaultdict()
        self.ids.default_factory = self.ids.__len__  # type: ignore[attr-defined]
        self.n_documents, self.n_bytes = 0, 0
        self.n_documents_with = np.zeros(0)  # each word
        self.n_times = np.zeros(0)
        self.pieces: list[_Piece] = []
        self.file: Any = None
        self._begin()

    def _begin(self):
        self.lengths, self.some_ids, self.some_counts = array("i"), array("i"), array("f")

    def add(self, tokens) -> None:
        """Count the words of a document."""
        own: dict[int, int] = {}
        for token in tokens:
            word = self.ids[token]
            own[word] = own.get(word, 0) + 1
        self.lengths.append(len(own))
        self.some_ids.extend(own)
        self.some_counts.extend(own.values())
        self.n_documents += 1
        if len(self.some_ids) >= _ENTRIES:
            self._flush()

    def _flush(self):
        """Put the last documents beside those before, which go to a file once they are many."""
        lengths, ids = np.array(self.lengths, np.int32), np.array(self.some_ids, np.int32)
        counts, n = np.array(self.some_counts, np.float32), len(self.ids)
        self._begin()
        more = n - len(self.n_times)
        self.n_documents_with = np.pad(self.n_documents_with, (0, more))
        self.n_times = np.pad(self.n_times, (0, more))
        self.n_documents_with += np.bincount(ids, minlength=n)
        self.n_times += np.bincount(ids, counts, minlength=n)
        self.pieces.append(_Piece(lengths, (ids, counts)))
        self.n_bytes += ids.nbytes + counts.nbytes
        if self.file is None and self.n_bytes > reading.LARGE:
            self.file = TemporaryArrays(self.folder)
        if self.file is not None:
            self.pieces = [self._written(piece) for piece in self.pieces]

    def _written(self, piece):
        if not isinstance(piece.entries, tuple):
            return piece
        return piece._replace(entries=self.file.write(piece.entries))

    def finished(self, min_df, max_df, max_words) -> tuple[Any, list[str]]:
        """Return the counts, and their words in order, as scikit-learn's CountVectorizer has them.

        The counts are a CSR array, or StoredCounts. Raises ValueError if no word is left.
        """
        self._flush()
        if not self.ids:
            raise ValueError("empty vocabulary")
        words = sorted(self.ids)
        place = np.array([self.ids[word] for word in words])
        low, high = (
            df if isinstance(df, Integral) else df * self.n_documents for df in (min_df, max_df)
        )
        if high < low:
            raise ValueError("max_df corresponds to fewer documents than min_df")
        frequency = self.n_documents_with[place]
        stay = np.flatnonzero((frequency >= low) & (frequency <= high))
        if max_words is not None and len(stay) > max_words:
            times = self.n_times[place[stay]].astype(np.float32)
            stay = np.sort(stay[(-times).argsort()[:max_words]])
        if len(stay) == 0:
            raise ValueError("after pruning, no terms remain")
        columns = np.full(len(words), -1, np.int32)
        columns[place[stay]] = np.arange(len(stay))
        stored = StoredCounts(self.pieces, self.file, columns, len(stay))
        vocabulary = [words[i] for i in stay]
        return (stored.csr() if self.file is None else stored), vocabulary


class StoredCounts:
    """Counts of words in a file, of which a piece at a time is in memory.

    Parameters
    ----------
    pieces : list of _Piece
    file : _File or None
    columns : ndarray of int32
        The column of each word; -1: it is left out.
    n_words : int

    Attributes
    ----------
    shape : (n_documents, n_words)
    tokens : ndarray of shape (n_documents,)
        Number of words of each document.
    """

    def __init__(self, pieces, file, columns, n_words):
        self.pieces, self.file, self.columns = pieces, file, columns
        self.shape = sum(len(piece.lengths) for piece in pieces), n_words
        self.tokens = np.concatenate(
            [np.asarray(X.sum(axis=1, dtype=np.float64)).ravel() for X in self.each()]
        )

    def each(self, among=None):
        """Yield CSR arrays of documents, those where `among`, (n_documents,), is true, or all."""
        done = 0
        for piece in self.pieces:
            X, n = self._read(piece), len(piece.lengths)
            yield X if among is None else X[np.flatnonzero(among[done : done + n])]
            done += n

    def blocks(self, among=None):
        """Return documents as an estimator fits to them."""
        return Blocks(partial(self.each, among))

    def csr(self, among=None):
        """Return documents in memory."""
        return sp.csr_array(sp.vstack(list(self.each(among)), format="csr"))

    def with_columns(self, known):
        """Return the counts of some words alone, in this order."""
        number = np.full(self.shape[1] + 1, -1, np.int32)  # the last one is what is left out
        number[known] = np.arange(len(known))
        return StoredCounts(self.pieces, self.file, number[self.columns], len(known))

    def _read(self, piece):
        ids, counts = piece.entries if isinstance(piece.entries, tuple) else self._fetched(piece)
        column = self.columns[ids]
        stay = column >= 0
        ends = np.concatenate([[0], np.cumsum(piece.lengths)])
        ends = np.concatenate([[0], np.cumsum(stay)])[ends]  # of those that stay
        shape = len(piece.lengths), self.shape[1]
        X = sp.csr_array((counts[stay], column[stay], ends.astype(np.int32)), shape=shape)
        X.sort_indices()
        return X

    def _fetched(self, piece):
        n = int(piece.lengths.sum())
        content = self.file.read(piece.entries, 8 * n)
        return np.frombuffer(content, np.int32, n), np.frombuffer(content, np.float32, n, 4 * n)


# ---- of either kind ------------------------------------------------------------------------------


def tokens_of(X):
    """Return the number of words of each document."""
    if isinstance(X, StoredCounts):
        return X.tokens
    return np.asarray(X.sum(axis=1, dtype=np.float64)).ravel()


def columns_of(X, known):
    """Return the counts of some words alone."""
    return X.with_columns(known) if isinstance(X, StoredCounts) else sp.csr_array(X[:, known])


def as_csr(X):
    """Return counts in memory."""
    return X.csr() if isinstance(X, StoredCounts) else X
