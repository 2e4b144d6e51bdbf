"""Probabilistic latent semantic analysis by EM over sparse counts."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, check_non_negative, validate_data

from fastem._estimator import EMEstimator, check_sample_weight, unchanged_on_error
from fastem._kernels import plsa as kernel
from fastem._statistics import Statistics
from fastem._threads import effective_n_jobs

__all__ = ["PLSA"]


class PLSA(ClassNamePrefixFeaturesOutMixin, TransformerMixin, EMEstimator):
    r"""Probabilistic latent semantic analysis (Hofmann 1999).

    A topic model without a prior: the words of document d are drawn from
    :math:`p(w \mid d) = \sum_z p(w \mid z) \, p(z \mid d)`. The E-step is

    .. math:: p(z \mid d, w) \propto p(w \mid z) \, p(z \mid d)

    and the M-step, with n the counts,

    .. math:: p(w \mid z) \propto \sum_d n_{dw} \, p(z \mid d, w), \qquad
        p(z \mid d) \propto \sum_w n_{dw} \, p(z \mid d, w)

    (Hofmann 2001, *Unsupervised learning by probabilistic latent semantic analysis*, Machine
    Learning 42:177, equations 3-6). Up to a constant, the log-likelihood is minus the generalised
    Kullback-Leibler divergence that non-negative matrix factorisation can minimise.

    Parameters
    ----------
    n_components : int, default=10
        Number of topics.
    init : 'random' or (doc_topic, topic_word), default='random'
        First parameters: random, or arrays of shape (n_samples, n_components) and (n_components,
        n_features), whose rows are normalised.
    max_iter : int, default=200
        Largest number of EM iterations.
    tol : float, default=1e-5
        EM stops when the mean log-likelihood per token changes by less than this.
    doc_topic_prior : float, default=0.0
        Pseudo-count added to every topic of a document: a Dirichlet prior with this plus 1, MAP.
        0 is maximum likelihood.
    topic_word_prior : float, default=0.0
        Pseudo-count added to every word of a topic.
    n_init : int, default=1
        Number of random restarts; the one with the largest bound is kept.
    max_doc_update_iter : int, default=100
        Largest number of E-steps for a document in `transform`.
    doc_tol : float, default=1e-3
        `transform` is done with a document when its topic probabilities change by less than this
        in sum.
    random_state : int, RandomState instance or None, default=None
        Seed of the start.
    verbose : int, default=0
        1 prints each restart and every `verbose_interval`-th iteration, 2 also times and bounds.
    verbose_interval : int, default=10
        Number of iterations between two lines.
    n_jobs : int, default=None
        Number of threads; None and -1: all physical cores. The bits of the result do not depend
        on it.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        p(w|z): rows sum to 1.
    lower_bound_ : float
        The last mean log-likelihood per token (with priors, plus their log-density).
    lower_bounds_ : list of float
        The same at each iteration.
    n_iter_ : int
        Number of iterations of the best restart.
    converged_ : bool
        Whether it converged.
    n_features_in_ : int
        Number of words.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the words, if X had names that are all strings.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import PLSA
    >>> X = np.array([[3, 2, 0, 0], [2, 3, 0, 0], [0, 0, 4, 1], [0, 0, 1, 4]])
    >>> plsa = PLSA(n_components=2, random_state=0).fit(X)
    >>> plsa.components_.round(2)
    array([[0.5, 0.5, 0. , 0. ],
           [0. , 0. , 0.5, 0.5]])
    >>> plsa.top_words(["cat", "dog", "tea", "cup"], 2)
    [['cat', 'dog'], ['tea', 'cup']]
    """

    _parameter_constraints: ClassVar[dict] = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "init": [StrOptions({"random"}), tuple, list],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "doc_topic_prior": [Interval(Real, 0, None, closed="left")],
        "topic_word_prior": [Interval(Real, 0, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "max_doc_update_iter": [Interval(Integral, 1, None, closed="left")],
        "doc_tol": [Interval(Real, 0, None, closed="left")],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
        "verbose_interval": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": [Integral, None],
    }

    def __init__(
        self,
        n_components=10,
        *,
        init="random",
        max_iter=200,
        tol=1e-5,
        doc_topic_prior=0.0,
        topic_word_prior=0.0,
        n_init=1,
        max_doc_update_iter=100,
        doc_tol=1e-3,
        random_state=None,
        verbose=0,
        verbose_interval=10,
        n_jobs=None,
    ):
        self.n_components = n_components
        self.init = init
        self.max_iter = max_iter
        self.tol = tol
        self.doc_topic_prior = doc_topic_prior
        self.topic_word_prior = topic_word_prior
        self.n_init = n_init
        self.max_doc_update_iter = max_doc_update_iter
        self.doc_tol = doc_tol
        self.random_state = random_state
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.n_jobs = n_jobs

    # ---- fitting ---------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None):
        """Fit the topics.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Non-negative counts of words (columns) in documents (rows); they need not be integers.
        y : Ignored
            Present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights: a document of weight 2 counts as two equal documents.

        Returns
        -------
        self : object
            The fitted model.

        Raises
        ------
        ValueError
            If an argument is invalid: negative or missing counts, or no word at all.

        Warns
        -----
        ConvergenceWarning
            If the best restart did not converge within `max_iter` iterations.
        """
        self._fit(X, sample_weight)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def fit_transform(self, X, y=None, sample_weight=None):
        """Fit the topics and return the documents' topic probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Counts.
        y : Ignored
            Present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights.

        Returns
        -------
        doc_topic : ndarray of shape (n_samples, n_components)
            p(z|d), equal to ``fit(X).transform(X)``.
        """
        return self._fold_in(self._fit(X, sample_weight))[0][:, : self.n_components].copy()

    def _fit(self, X, sample_weight):
        """Fit; return the validated counts."""
        with unchanged_on_error(self):
            n_threads = effective_n_jobs(self.n_jobs)
            X = self._validated(X, reset=True)
            sample_weight = check_sample_weight(sample_weight, X)
            given = None if isinstance(self.init, str) else self._check_init(X)
            if self.n_components > X.shape[1]:
                warnings.warn(
                    f"n_components={self.n_components} is more than the {X.shape[1]} words of X: "
                    "topics will repeat each other",
                    stacklevel=3,
                )
            corpus = Corpus(X, sample_weight)
            model = PLSAEM(
                self.n_components, self.doc_topic_prior, self.topic_word_prior, n_threads
            )
            random_state = check_random_state(self.random_state)

            def start(init):
                doc_topic, topic_word = given or random_start(
                    X.shape, self.n_components, random_state
                )
                corpus.doc_topic = padded(doc_topic, self.n_components, X.dtype)
                return padded(topic_word.T, self.n_components, X.dtype)

            result = self._fit_em(
                model,
                [corpus],
                start,
                n_init=self.n_init,
                X=X,
                sample_weight=sample_weight,
            )
        if not result.converged and self.max_iter > 0:
            warnings.warn(
                f"PLSA did not converge in max_iter={self.max_iter} iterations: increase max_iter "
                "or tol",
                ConvergenceWarning,
                stacklevel=3,
            )
        return X

    def _attributes(self, params) -> dict[str, Any]:
        return {"components_": np.ascontiguousarray(params[:, : self.n_components].T)}

    def _validated(self, X, *, reset):
        """Return X as canonical CSR with real counts."""
        X = validate_data(
            self,
            X,
            reset=reset,
            accept_sparse="csr",
            dtype=[np.float64, np.float32],
            accept_large_sparse=True,
        )
        X = sp.csr_array(X)
        check_non_negative(X, "PLSA: a count of X")
        if not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
        if reset and not X.data.any():
            raise ValueError("X has no count above 0: there is nothing to fit topics to")
        return X

    def _check_init(self, X):
        """Return the given (doc_topic, topic_word), normalised."""
        if len(self.init) != 2:
            raise ValueError(
                f"init must be 'random' or (doc_topic, topic_word), got {len(self.init)} elements"
            )
        k = self.n_components
        shapes = {"doc_topic": (X.shape[0], k), "topic_word": (k, X.shape[1])}
        arrays = []
        for (name, shape), array in zip(shapes.items(), self.init, strict=True):
            array = check_array(array, dtype=np.float64, input_name=f"init {name}")
            if array.shape != shape:
                raise ValueError(f"{name} of init must have shape {shape}, got {array.shape}")
            totals = array.sum(axis=1, keepdims=True)
            if np.any(array < 0) or np.any(totals == 0):
                raise ValueError(f"{name} of init must be non-negative, with no row of zeros")
            arrays.append(array / totals)
        return arrays

    # ---- reading ---------------------------------------------------------------------------

    def _fold_in(self, X):
        """Return padded p(z|d) and the log-likelihood of validated documents, topics fixed."""
        (k, n_words), dtype = self.components_.shape, X.dtype
        if X.shape[1] != n_words:
            raise ValueError(f"X has {X.shape[1]} features, but components_ has {n_words}")
        corpus = Corpus(X, None)
        uniform = padded(np.full((X.shape[0], k), 1 / k), k, dtype)
        word_topic = padded(self.components_.T, k, dtype)
        doc_topic, log_likelihood = np.empty_like(uniform), np.empty(X.shape[0])
        n_threads, prior = effective_n_jobs(self.n_jobs), float(self.doc_topic_prior)
        pattern = corpus.doc_begin, corpus.word, corpus.count, None
        kernel.pass_documents(
            uniform, word_topic, *pattern, doc_topic, None, None, k, prior, n_threads,
            self.max_doc_update_iter, float(self.doc_tol),
        )  # fmt: skip
        kernel.pass_documents(
            doc_topic, word_topic, *pattern, None, None, log_likelihood, k, prior, n_threads
        )
        return doc_topic, log_likelihood

    def transform(self, X):
        """Return the topic probabilities of documents, topics held fixed (fold-in).

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Counts.

        Returns
        -------
        doc_topic : ndarray of shape (n_samples, n_components)
            p(z|d); rows sum to 1. A document without words has equal probabilities.
        """
        check_is_fitted(self)
        X = self._validated(X, reset=False)
        return self._fold_in(X)[0][:, : len(self.components_)].copy()

    def inverse_transform(self, doc_topic):
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
        check_is_fitted(self)
        doc_topic = check_array(doc_topic, dtype=[np.float64, np.float32], input_name="doc_topic")
        if doc_topic.shape[1] != len(self.components_):
            raise ValueError(
                f"doc_topic must have one column for each of the {len(self.components_)} topics, "
                f"got {doc_topic.shape[1]}"
            )
        return doc_topic @ self.components_

    def score(self, X, y=None):
        """Return the log-likelihood of documents after fold-in.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Counts.
        y : Ignored
            Present for API consistency.

        Returns
        -------
        log_likelihood : float
            Sum of n_dw log p(w|d), natural logarithm. Fold-in has seen the words that are scored.
        """
        check_is_fitted(self)
        return float(self._fold_in(self._validated(X, reset=False))[1].sum())

    def perplexity(self, X):
        """Return exp(-log-likelihood per token) after fold-in; lower is better.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Counts.

        Returns
        -------
        perplexity : float
            n_features if every word were as probable as every other.
        """
        check_is_fitted(self)
        X = self._validated(X, reset=False)
        total = X.data.sum(dtype=np.float64)
        if total == 0:
            raise ValueError("X has no count above 0: the perplexity of no words is not defined")
        return float(np.exp(-self._fold_in(X)[1].sum() / total))

    def top_words(self, feature_names=None, n=10):
        """Return the most probable words of each topic.

        Parameters
        ----------
        feature_names : sequence of str, default=None
            The words, in the order of the columns; None: `feature_names_in_`, or column numbers.
        n : int, default=10
            Number of words.

        Returns
        -------
        words : list of list
            For each topic, the most probable word first.
        """
        check_is_fitted(self)
        if feature_names is None:
            feature_names = getattr(self, "feature_names_in_", range(self.components_.shape[1]))
        if len(feature_names) != self.components_.shape[1]:
            raise ValueError(
                f"feature_names must have {self.components_.shape[1]} entries, "
                f"got {len(feature_names)}"
            )
        order = np.argsort(-self.components_, axis=1, kind="stable")[:, :n]
        return [[feature_names[word] for word in topic] for topic in order]

    @property
    def _n_features_out(self):
        return len(self.components_)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.positive_only = True
        return tags


class Corpus:
    """Counts of words in documents, by document and by word, and the documents' topics.

    Attributes
    ----------
    doc_begin, word, count : ndarray
        The counts by document: CSR.
    word_begin, doc, position : ndarray
        The pattern by word; `position` says where a count stands by document.
    doc_topic : ndarray of shape (D, width)
        p(z|d), which the E-step updates: it belongs to the documents, not to the model.
    """

    def __init__(self, X, sample_weight):
        self.n_words = X.shape[1]
        self.doc_begin = X.indptr.astype(np.int64)
        self.word = X.indices.astype(np.int32, copy=False)
        self.count = X.data
        self.doc_weight = sample_weight
        weights = np.ones(X.shape[0]) if sample_weight is None else sample_weight
        self.total_weight = float((X.T @ weights).sum())
        self.doc_topic: np.ndarray = np.empty((0, 0))
        self._by_word: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    @property
    def by_word(self):
        """(word_begin, doc, position), made when first asked for."""
        if self._by_word is None:
            self._by_word = kernel.transpose(self.doc_begin, self.word, self.n_words)
        return self._by_word


class PLSAEM:
    """E-step and M-step of PLSA (see :class:`fastem.em.Model`); params are p(w|z), (V, width)."""

    def __init__(self, n_topics, doc_prior, word_prior, n_threads):
        self.n_topics, self.n_threads = n_topics, n_threads
        self.doc_prior, self.word_prior = float(doc_prior), float(word_prior)

    def e_step(self, word_topic, corpus: Corpus) -> Statistics:
        """Return the expected counts of words in topics; move the documents' topics on."""
        doc_topic = corpus.doc_topic
        new_doc_topic, sums = np.empty_like(doc_topic), np.empty_like(word_topic)
        ratio, log_likelihood = np.empty_like(corpus.count), np.empty(len(doc_topic))
        kernel.pass_documents(
            doc_topic, word_topic, corpus.doc_begin, corpus.word, corpus.count, corpus.doc_weight,
            new_doc_topic, ratio, log_likelihood, self.n_topics, self.doc_prior, self.n_threads,
        )  # fmt: skip
        word_begin, doc, position = corpus.by_word
        totals = kernel.pass_words(
            doc_topic, word_topic, word_begin, doc, position, ratio, sums, self.n_topics,
            self.n_threads,
        )  # fmt: skip
        if corpus.doc_weight is not None:
            log_likelihood *= corpus.doc_weight
        bound = log_likelihood.sum() + self._log_prior_of(doc_topic, self.doc_prior)
        corpus.doc_topic = new_doc_topic
        return Statistics(bound=bound, weight=corpus.total_weight, word_topic=sums, totals=totals)

    def m_step(self, statistics: Statistics):
        """Return p(w|z) (Hofmann 2001, equation 4), with the prior's pseudo-counts."""
        sums, k = statistics.word_topic, self.n_topics
        totals = statistics.totals + self.word_prior * len(sums)
        # A topic without any word has equal probabilities, as a document without words has.
        empty = totals == 0
        word_topic = np.zeros_like(sums)
        word_topic[:, :k] = (sums[:, :k] + sums.dtype.type(self.word_prior)) / np.where(
            empty, 1, totals
        ).astype(sums.dtype)
        word_topic[:, :k][:, empty] = 1 / len(sums)
        return word_topic

    def log_prior(self, word_topic) -> float:
        """Return the log-density of the topics under their Dirichlet, up to a constant."""
        return self._log_prior_of(word_topic, self.word_prior)

    def _log_prior_of(self, rows, prior) -> float:
        if prior == 0:
            return 0.0
        return prior * float(np.log(rows[:, : self.n_topics], dtype=np.float64).sum())


def padded(rows, n_topics, dtype):
    """Return (n, K) rows with the kernel's width, zeros past K."""
    out = np.zeros((len(rows), kernel.width(n_topics, np.dtype(dtype))), dtype=dtype)
    out[:, :n_topics] = rows
    return out


def random_start(shape, n_topics, random_state):
    """Return p(z|d), (D, K), uniform, and p(w|z), (K, V), random: what breaks the symmetry.

    No number is drawn for a document, so that a weight of 2 is the same as a copy of it.
    """
    topic_word = random_state.uniform(0.5, 1.5, size=(n_topics, shape[1]))
    topic_word /= topic_word.sum(axis=1, keepdims=True)
    return np.full((shape[0], n_topics), 1 / n_topics), topic_word
