"""Topics of the words that occur alone: what the other words have is known without a row for each.

Of hashed words a million columns are usual, of which documents have some ten thousand; a pass
should cost no more than if the others were not there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from fastem._engine import arrays
from fastem._kernels import topics as kernel

__all__ = ["Vocabulary", "n_words_of", "occurring", "of_occurring"]

_MOST = 0.75  # share of the words that occur, above which all of them keep their rows


class Vocabulary(NamedTuple):
    """Which words the rows of topics belong to, where others occur in no document.

    The others have what the first topics give them, and after an M-step no counts.
    """

    n_words: int  # V: of all words
    word_id: np.ndarray  # (W,) int32: words of the rows, ascending
    others: np.ndarray | None = None  # (V - W, K) rows of the other words; None: they are 0

    @property
    def n_others(self):
        """Number of words without a row."""
        return self.n_words - len(self.word_id)

    def rows_of(self, topic_word):
        """Return the columns of (K, V) that have a row, (W, K), and the others', (V - W, K)."""
        there = self._there()
        return topic_word[:, self.word_id].T, topic_word[:, ~there].T

    def by_topic(self, rows, others, order):
        """Return (K, V) from rows (W, K) and what the others have, (V - W, K) or (K,).

        In memory topic by topic, 'C', or word by word, 'F'.
        """
        out = np.empty((rows.shape[1], self.n_words), rows.dtype, order=order)
        if others.ndim == 1:
            out[:] = others[:, None]
        else:
            out[:, ~self._there()] = others.T
        out[:, self.word_id] = rows.T
        return out

    def _there(self):
        there = np.zeros(self.n_words, bool)
        there[self.word_id] = True
        return there


def n_words_of(vocabulary, rows):
    """Return V, the number of all words; `rows` are topics' or counts'."""
    return len(rows) if vocabulary is None else vocabulary.n_words


def of_occurring(X, topic_word, n_threads, digamma=False):
    """Return documents of the words that occur, and their topics, (W, width).

    With `digamma` exp(digamma) of the topics, for which their rows need not be read again. Where
    most words occur, documents are as they are and topics those of all words.

    Parameters
    ----------
    X : csr_array of shape (D, V), canonical
    topic_word : ndarray of shape (K, V), float32 or float64
    n_threads : int
    """
    n_docs, n_words = X.shape
    if n_docs == 1:
        words = X.indices.astype(np.int32, copy=False)
    else:
        there = np.zeros(n_words, bool)
        there[X.indices] = True
        words = np.flatnonzero(there).astype(np.int32)
    if len(words) == 0:
        words = np.zeros(1, np.int32)
    if 2 * len(words) > n_words:
        words, some = np.arange(n_words, dtype=np.int32), X
    else:
        places = np.arange(X.nnz, dtype=np.int32)
        if n_docs > 1:
            column = np.empty(n_words, np.int32)
            column[words] = np.arange(len(words), dtype=np.int32)
            places = column[X.indices]
        some = sp.csr_array((X.data, places, X.indptr), shape=(n_docs, len(words)))
    rows = arrays.empty((len(words), kernel.width(len(topic_word), X.dtype)), X.dtype)
    kernel.rows_of_words(topic_word, words, rows, n_threads, digamma)
    return some, rows


def occurring(X):
    """Return X without the columns of words that never occur, and its Vocabulary.

    Where most words occur, it is X as it is, and None.

    Parameters
    ----------
    X : csr_array of shape (D, V), canonical
    """
    there = np.zeros(X.shape[1], bool)
    there[X.indices] = True
    word_id = np.flatnonzero(there).astype(np.int32)
    if len(word_id) == 0 or len(word_id) > _MOST * X.shape[1]:
        return X, None
    column = np.zeros(X.shape[1], np.int32)
    column[word_id] = np.arange(len(word_id), dtype=np.int32)
    some = sp.csr_array((X.data, column[X.indices], X.indptr), shape=(X.shape[0], len(word_id)))
    return some, Vocabulary(X.shape[1], word_id)
