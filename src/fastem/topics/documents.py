"""What topic models share: blocks of documents, sums by word, and what is read off topics."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted, check_non_negative

from fastem._base import check_fitted_array
from fastem._data.sources import scores
from fastem._engine import arrays
from fastem._engine.codec import savable
from fastem._engine.sparse import validate_sparse
from fastem._engine.statistics import AddsInPlace
from fastem._kernels import topics as kernel
from fastem._summary import Summary
from fastem._typing import MatrixLike
from fastem.topics.summary import coherence, summary, together
from fastem.topics.vocabulary import Vocabulary, n_words_of

__all__ = [
    "Documents",
    "TopicModel",
    "TopicSums",
    "Topics",
    "check_tokens",
    "check_total",
    "log_likelihood",
    "padded",
    "with_counts",
    "words_of",
]

_MOST_COUNTS = 2**31 - 1  # in one block, whose counts have int32 positions
_ROWS = 2048  # words that are taken at a time
_MOST_TOTAL = {np.float32: 1e15, np.float64: 1e100}  # of all counts, which are multiplied


class TopicSums(AddsInPlace):
    """Expected counts of words in topics: a statistic that adds.

    Parameters
    ----------
    values : ndarray of shape (W, width) or (V, width)
    word_id : ndarray of shape (W,), int32, or None
        The words that the rows belong to; None if they are all V words.
    n_words : int
        V.
    """

    __slots__ = ("n_words", "values", "word_id")

    def __init__(self, values, word_id, n_words):
        self.values, self.word_id, self.n_words = values, word_id, n_words

    def dense(self):
        """Return the sums of all words, (V, width); not a copy if they are stored so."""
        if self.word_id is None:
            return self.values
        values = arrays.zeros((self.n_words, self.values.shape[1]), self.values.dtype)
        values[self.word_id] = self.values
        return values

    def block(self, begin, end):
        """Return the sums of the words [begin, end), (end - begin, width)."""
        if self.word_id is None:
            return self.values[begin:end]
        rows = np.zeros((end - begin, self.values.shape[1]), self.values.dtype)
        first, last = np.searchsorted(self.word_id, (begin, end))
        rows[self.word_id[first:last] - begin] = self.values[first:last]
        return rows

    def copy(self):
        """Return sums of all words that may be changed without changing these."""
        values = self.dense()
        values = arrays.copy(values) if values is self.values else values
        return TopicSums(values, None, self.n_words)

    def add(self, other):
        """Add other sums to these, which are of all words, in place."""
        if other.word_id is None:
            self.values += other.values
        else:
            kernel.add_rows(self.values, other.word_id, other.values)

    def __add__(self, other):
        total = self.copy()
        total.add(other)
        return total

    def __sub__(self, other):
        return self + -1 * other

    def __mul__(self, factor):
        return TopicSums(self.values * self.values.dtype.type(factor), self.word_id, self.n_words)

    __rmul__ = __mul__


savable(TopicSums, lambda t: [t.values, t.word_id, t.n_words])


class Topics(NamedTuple):
    """Topics that need not be normalised: p(w|z) = (sums + prior) / totals."""

    sums: np.ndarray  # (V, width) expected counts of words in topics
    totals: np.ndarray  # (K,) float64
    prior: Any  # pseudo-count of a word in a topic: a number, or (V, width) of the sums' dtype
    beta: float = 1.0  # inverse temperature of the E-step that gave them
    progress: Any = None  # what LDA's next M-step goes on from
    vocabulary: Vocabulary | None = None  # the words of the rows; None: all V

    @property
    def scale(self):
        """1 / totals, (width,); 0 for a topic without any word, which no document has."""
        scale = np.zeros(self.sums.shape[1])
        np.divide(1, self.totals, out=scale[: len(self.totals)], where=self.totals > 0)
        return scale.astype(self.sums.dtype)

    @property
    def priors(self):
        """The priors that LDA learned with these topics, or None."""
        return None if self.progress is None else self.progress.priors

    @property
    def n_words(self):
        """V, with the words that have no row."""
        return n_words_of(self.vocabulary, self.sums)

    def whole(self):
        """Return the same topics with a row for every word; a new array if some have none."""
        if self.vocabulary is None:
            return self
        others = self.vocabulary.others
        others = np.zeros(1, self.sums.dtype) if others is None else others
        sums = self.vocabulary.by_topic(self.sums[:, : len(self.totals)], others, "F")
        return self._replace(sums=padded(sums.T, len(self.totals), sums.dtype), vocabulary=None)

    def counts(self):
        """Return sums + prior, (V, width); a new array."""
        return self.sums + np.asarray(self.prior, self.sums.dtype)

    def components(self):
        """Return sums + prior, by topic, (K, V).

        In memory word by word, as they are here: documents read the topics of their own words.
        """
        n_words, k, whole = len(self.sums), len(self.totals), np.ndim(self.prior) == 0
        if self.vocabulary is not None:
            return self.vocabulary.by_topic(self.counts()[:, :k], self._counts_of_others(), "F")
        components = np.empty((n_words, k), self.sums.dtype)
        for begin in range(0, n_words, _ROWS):  # no second array of their size
            rows = slice(begin, begin + _ROWS)
            prior = np.asarray(self.prior if whole else self.prior[rows, :k], self.sums.dtype)
            components[rows] = self.sums[rows, :k] + prior
        return components.T

    def probabilities(self):
        """Return p(w|z), (V, K); a topic without any word has equal ones."""
        return self._normalised(self.counts()[:, : len(self.totals)])

    def probabilities_of_others(self):
        """Return p(w|z) of words without a row, (V - W, K), or (K,) where it is the same of all."""
        return self._normalised(self._counts_of_others())

    def topic_word(self):
        """Return p(w|z) of all words, (K, V)."""
        rows = self.probabilities()
        if self.vocabulary is None:
            return np.ascontiguousarray(rows.T)
        return self.vocabulary.by_topic(rows, self.probabilities_of_others(), "C")

    def _counts_of_others(self):
        """Return sums + prior of words without a row, (V - W, K), or (K,) if none has counts."""
        assert self.vocabulary is not None  # there are no other words without one
        sums, dtype = self.vocabulary.others, self.sums.dtype
        if sums is None:
            return np.full(len(self.totals), self.prior, dtype)
        return sums + dtype.type(self.prior)

    def _normalised(self, counts):
        """Return counts (..., K) as probabilities."""
        word_topic = counts * self.scale[: len(self.totals)]
        word_topic[..., self.totals == 0] = 1 / self.n_words
        return word_topic


class Documents:
    """A block of documents: their counts, laid out for the kernels. No E-step changes it.

    Parameters
    ----------
    X : csr_array of shape (D, V), canonical, float32 or float64
    sample_weight : ndarray of shape (D,) or None
    number : int
        The block's place among the blocks, where each has random numbers of its own; 0 has those
        that scikit-learn draws.
    first_doc_topic : ndarray of shape (D, K) or None
        The topics that somebody gave the documents to begin with.

    Attributes
    ----------
    counts : Counts
    n_tokens : ndarray of shape (D,)
        Number of words of each document.
    total_weight : float
        Their sum, each times the document's weight.
    """

    def __init__(self, X, sample_weight=None, *, number=0, first_doc_topic=None):
        self.n_docs, self.n_words = X.shape
        self.number, self.first_doc_topic = number, first_doc_topic
        if sample_weight is not None:
            sample_weight = np.ascontiguousarray(sample_weight)
        self.counts = kernel.Counts(
            X.indptr.astype(np.int64),
            X.indices.astype(np.int32, copy=False),
            X.data,
            sample_weight,
        )
        self.sample_weight = sample_weight
        self.n_tokens = X @ np.ones(self.n_words)
        weights = np.ones(self.n_docs) if sample_weight is None else sample_weight
        self.total_weight = float(weights @ self.n_tokens)

    @classmethod
    def blocks(cls, X, sample_weight, batch_size=None, first_doc_topic=None):
        """Return documents in blocks of about `batch_size`, or as few as can be, and their rows.

        A block takes every n-th document, so that a sorted corpus makes blocks that are alike.
        """
        n_blocks = -(-X.shape[0] // batch_size) if batch_size else -(-X.nnz // _MOST_COUNTS)
        if n_blocks <= 1:
            return [cls(X, sample_weight, first_doc_topic=first_doc_topic)], [slice(None)]
        rows = [slice(first, None, n_blocks) for first in range(n_blocks)]

        def of(row, whole):
            return None if whole is None else whole[row]

        return [
            cls(X[row], of(row, sample_weight), number=n, first_doc_topic=of(row, first_doc_topic))
            for n, row in enumerate(rows)
        ], rows

    def job(self, topics):
        """Return the kernel's job for some topics."""
        k = len(topics.totals)
        return kernel.Job(self.counts, k, topics.sums, topics.scale, topics.prior)

    def empty_sums(self, topics):
        """Return uninitialised sums of this block's words."""
        word_id, (n_words, width) = self.counts.word_id, topics.shape
        if 2 * len(word_id) < n_words:
            values = arrays.empty((len(word_id), width), topics.dtype)
            return TopicSums(values, word_id, n_words)
        # Few rows more than needed: written in place, the words that do not occur stay 0.
        make = arrays.empty if len(word_id) == n_words else arrays.zeros
        return TopicSums(make((n_words, width), topics.dtype), None, n_words)


def log_likelihood(topics, block, doc_topic, n_threads):
    """Return sum_w n_dw log p(w|d) of each document, (D,), of padded p(z|d), (D, width).

    These may come of other words of the documents: then it tells how well topics predict.
    """
    out = np.empty(block.n_docs)
    kernel.documents(block.job(topics), doc_topic, None, out, n_threads)
    return out


def with_counts(X, data):
    """Return X with other counts in the places of its own; zeros are left out."""
    counts = sp.csr_array((data, X.indices.copy(), X.indptr.copy()), shape=X.shape)
    counts.eliminate_zeros()
    return counts


def padded(rows, n_topics, dtype):
    """Return (n, K) rows with the kernel's width, zeros past K."""
    out = arrays.zeros((len(rows), kernel.width(n_topics, np.dtype(dtype))), dtype)
    out[:, :n_topics] = rows
    return out


class TopicModel(ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """What is read off topics, and the door for counts. A subclass is an estimator.

    Its ``components_`` of shape (n_components, n_features) order the words of a topic.
    """

    components_: np.ndarray

    def _read_block(self, X):
        return self._validated(X, "fit", reset=True)

    def _validated(self, X, method=None, *, reset, dtype=None):
        """Return X as canonical CSR with real counts, of the given dtype if there is one.

        `method` is what was called: the error about negative counts names it, as scikit-learn's.
        """
        X = validate_sparse(
            self, X, reset=reset, dtype=[np.float64, np.float32] if dtype is None else dtype
        )
        X = X if isinstance(X, sp.csr_array) else sp.csr_array(X)
        name = type(self).__name__
        if np.minimum.reduce(X.data, initial=0) < 0:
            check_non_negative(X, f"{name}.{method}" if method else f"{name}: a count of X")
        check_total(X)
        return X

    def _check_fitted(self):
        """Raise if there was no fit, or if an attribute cannot be what a fit left.

        Attributes may be set by hand or come from an altered file, and kernels check nothing.
        """
        check_is_fitted(self)
        shape = None, self.n_features_in_
        check_fitted_array(self, "components_", shape, floating=True, nonnegative=True)

    def top_words(self, feature_names: Any = None, n: int = 10) -> list[list[Any]]:
        """Return the most probable words of each topic.

        Parameters
        ----------
        feature_names : array-like of shape (n_features,), default=None
            The words; None: ``feature_names_in_``, or the columns' numbers.
        n : int, default=10
            Number of words.

        Returns
        -------
        words : list of list
            For each topic, its words by falling probability.
        """
        self._check_fitted()
        names = words_of(self, feature_names, "feature_names")
        _check_number(n, 1)
        return [[names[word] for word in topic] for topic in self._top(n)]

    def _top(self, n):
        """Return the columns of the n most probable words of each topic, (K, n)."""
        return np.argsort(-self.components_, axis=1, kind="stable")[:, :n]

    def coherence(self, X: MatrixLike, *, measure: str = "umass", n: int = 10) -> np.ndarray:
        """Return how often the top words of a topic occur in the same documents.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Counts of a reference corpus: the training corpus, or a larger one.
        measure : {'umass', 'npmi'}, default='umass'
            'umass': mean of log (D(v, w) + 1) / D(w) over pairs in which w is the more probable
            word (Mimno et al. 2011, *Optimizing semantic coherence in topic models*, equation 1,
            divided by the number of pairs); 0 is best. 'npmi': mean of the normalised pointwise
            mutual information, from -1 (never together) to 1 (always), a document being the window
            (Bouma 2009; Röder, Both & Hinneburg 2015). D counts documents.
        n : int, default=10
            Number of words of each topic.

        Returns
        -------
        coherence : ndarray of shape (n_components,)
            Higher is better. Pairs with a word that X does not have are left out; nan where none
            is left.
        """
        self._check_fitted()
        if measure not in ("umass", "npmi"):
            raise ValueError(f"measure must be 'umass' or 'npmi', got {measure!r}")
        _check_number(n, 2, " to have pairs of words")
        count = partial(together, words=self._top(n))
        parts = scores(self, count, X, None)
        found = [count(self, X, None)] if parts is None else parts
        if not found:
            raise ValueError("X has no documents, in which words could occur: give some")
        met, n_docs = (sum(some) for some in zip(*found, strict=True))
        return np.array([coherence(counts, n_docs, measure) for counts in met])

    def summary(self, X: MatrixLike, feature_names: Any = None, n_words: int = 8) -> Summary:
        """Return the fitted topics as a compact table.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Counts: those of the fit.
        feature_names : array-like of shape (n_features,), default=None
            The words; None: ``feature_names_in_``, or the columns' numbers.
        n_words : int, default=8
            The most words of each topic.

        Returns
        -------
        summary : str
            The fit in figures, and a row for each topic: its share of the tokens, the coherence of
            its words in X (NPMI), the words.
        """
        return summary(self, X, feature_names, n_words)

    def inverse_transform(self, doc_topic: MatrixLike) -> np.ndarray:
        """Return the word probabilities of documents.

        Parameters
        ----------
        doc_topic : array-like of shape (n_samples, n_components)
            p(z|d).

        Returns
        -------
        doc_word : ndarray of shape (n_samples, n_features)
            p(w|d).
        """
        self._check_fitted()
        doc_topic = check_array(doc_topic, dtype=[np.float64, np.float32], input_name="doc_topic")
        if doc_topic.shape[1] != len(self.components_):
            raise ValueError(
                f"doc_topic must have one column for each of the {len(self.components_)} topics, "
                f"got {doc_topic.shape[1]}"
            )
        totals = self.components_.sum(axis=1, keepdims=True)
        equal = np.full_like(self.components_, 1 / self.components_.shape[1])
        return doc_topic @ np.divide(self.components_, totals, out=equal, where=totals > 0)

    @property
    def _n_features_out(self):
        return len(self.components_)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.positive_only = True
        return tags


def words_of(estimator, names, parameter):
    """Return the words of fitted topics as a list: given ones, those of the fit, or numbers.

    Names are taken in their order, whatever labels a Series of pandas has for them.
    """
    n_words = estimator.components_.shape[1]
    if names is None:
        names = getattr(estimator, "feature_names_in_", range(n_words))
    if isinstance(names, str | set | frozenset | dict) or not isinstance(names, Iterable):
        raise TypeError(
            f"{parameter} must be a list or an array of words in the order of the columns, got "
            f"{type(names).__name__}"
        )
    names = list(names)
    if len(names) != n_words:
        raise ValueError(f"{parameter} must have {n_words} entries, got {len(names)}")
    return names


def check_total(X, sample_weight=None):
    """Raise ValueError if products of sums of counts would overflow or vanish."""
    with np.errstate(over="ignore"):
        if sample_weight is None:
            total = np.add.reduce(X.data, dtype=np.float64)
        else:
            total = sample_weight @ X.sum(axis=1, dtype=np.float64)
    most = _MOST_TOTAL[X.dtype.type]
    if total > most:
        times = "" if sample_weight is None else ", times sample_weight,"
        raise ValueError(
            f"the counts of X{times} sum to {total:.3g}, and in {X.dtype} products of such sums "
            f"overflow: divide them by a number, so that they sum to {most:.0e} at most"
        )
    if 0 < total < 1 / most:
        raise ValueError(
            f"the counts of X sum to {total:.3g}, and in {X.dtype} products of such sums vanish: "
            f"multiply them by a number, so that they sum to {1 / most:.0e} at least"
        )


def check_tokens(n_tokens, name, what):
    """Raise ValueError if there is no token by whose number something could be divided."""
    if n_tokens == 0:
        raise ValueError(f"{name} has no count above 0: the {what} of no words is not defined")


def _check_number(n, least, why=""):
    """Raise unless a number of words is one."""
    if not isinstance(n, Integral):
        raise TypeError(f"n must be an integer, the number of words, got {n!r}")
    if n < least:
        raise ValueError(f"n must be >= {least}{why}, got {n!r}")
