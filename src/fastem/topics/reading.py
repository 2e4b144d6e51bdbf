"""What is read off a fitted latent Dirichlet allocation."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import psi

from fastem._base import check_fitted_array, check_sample_weight
from fastem._data.sources import by_blocks, scores
from fastem._engine.threads import effective_n_jobs, useful_n_jobs
from fastem._typing import MatrixLike
from fastem.topics.documents import (
    Documents,
    TopicModel,
    Topics,
    check_tokens,
    log_likelihood,
    padded,
)
from fastem.topics.variational import expected_topics, has_plain_digammas, topic_scale
from fastem.topics.vocabulary import of_occurring

__all__ = ["LDAReading"]

_EXACT_SWEEPS, _EXACT_TOL = 5000, 1e-8  # updates of a document for the exact bound
_ROWS = 2048  # tokens that are read at a time


class LDAReading(TopicModel):
    """Inference with topics held fixed; a subclass fits them and has ``_model``."""

    def _topics(self, dtype, vocabulary=None):
        """Return components_ as parameters, with rows for the words of a vocabulary."""
        totals, rows = self.components_.sum(axis=1, dtype=np.float64), self.components_.T
        if vocabulary is not None:
            rows, others = vocabulary.rows_of(self.components_)
            vocabulary = vocabulary._replace(others=others.astype(dtype))
        return Topics(padded(rows, len(totals), dtype), totals, 0.0, vocabulary=vocabulary)

    def _check_fitted(self):
        super()._check_fitted()
        n_topics, n_words = self.components_.shape
        shapes = [(n_words,), (n_topics, n_words)]
        self._check_prior("doc_topic_prior_", [(n_topics,)], point=False)
        if self._check_prior("topic_word_prior_", shapes, point=True):
            check_fitted_array(self, "components_", (n_topics, n_words), positive=True)

    def _check_prior(self, name, shapes, *, point):
        """Raise ValueError if a prior is no positive number, or array of them; return if it is > 0.

        `point`: it may be the number 0, for topics that are point estimates.
        """
        prior = np.asarray(getattr(self, name))
        if prior.dtype.kind in "iuf" and prior.shape in [(), *shapes]:
            lowest, highest = prior.min(), prior.max()
            if highest < np.inf and (lowest > 0 or (point and prior.ndim == 0 and lowest == 0)):
                return bool(lowest > 0)
        raise ValueError(
            f"{name} of this fitted {type(self).__name__} must be a finite number above 0, or have "
            f"shape {' or '.join(map(str, shapes))}, got {getattr(self, name)!r}: fit again, or "
            "set the attribute"
        )

    def _occurring(self, X):
        """Return documents, topics and expected topics of the words that occur, or of all.

        The expected topics may be None: not known yet. Else the topics' sums are lost.
        """
        n_threads = useful_n_jobs(self.n_jobs, 2.0 * X.nnz * len(self.components_))
        totals = self._once("totals", lambda: self.components_.sum(axis=1, dtype=np.float64))
        digamma = not self._has_point_topics and has_plain_digammas(totals)
        some, rows = of_occurring(X, self.components_, n_threads, digamma)
        topics = Topics(rows, totals, 0.0)
        return some, topics, (rows, topic_scale(topics)[0]) if digamma else None

    @property
    def _has_point_topics(self):
        """Whether topics are point estimates, without a prior."""
        return np.ndim(self.topic_word_prior_) == 0 and self.topic_word_prior_ == 0

    def _documents(self, X, sample_weight=None, model=None, topics=None, expected=None):
        """Return (model, topics, documents, what is found of them) of validated documents.

        The topics' sums are lost, so that there are no two arrays of their size.
        """
        topics, documents = topics or self._topics(X.dtype), Documents(X, sample_weight)
        if model is None:
            work = 4.0 * X.nnz * len(topics.totals) + 2.0 * topics.sums.size
            model = self._model(n_threads=useful_n_jobs(self.n_jobs, work))
        if expected is None:
            point = model.priors.point_topics
            expected = expected_topics(topics, model.n_threads, point, out=topics.sums)
        return model, topics, documents, model.infer(topics, documents, expected=expected)

    @by_blocks
    def transform(self, X: MatrixLike, *, normalize: bool = True) -> np.ndarray:
        """Return the documents' topics, topics held fixed.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Counts.
        normalize : bool, default=True
            Whether rows sum to 1: the expected topics; else they are gamma.

        Returns
        -------
        doc_topic : ndarray of shape (n_samples, n_components)
            The documents' topics.
        """
        self._once("checked", self._check_fitted)
        X = self._validated(X, "transform", reset=False, dtype=self.components_.dtype)
        X, topics, expected = self._occurring(X)
        inferred = self._documents(X, topics=topics, expected=expected)[3]
        doc_topic = inferred.gamma[:, : len(self.components_)].copy()
        if normalize:
            doc_topic /= doc_topic.sum(axis=1, keepdims=True)
        return doc_topic

    def fit_transform(
        self,
        X: MatrixLike,
        y: Any = None,
        sample_weight: npt.ArrayLike | None = None,
        *,
        normalize: bool = True,
    ) -> np.ndarray:
        """Fit the topics and return the documents' topics.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Counts.
        y : Ignored
            Present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights.
        normalize : bool, default=True
            As in :meth:`transform`.

        Returns
        -------
        doc_topic : ndarray of shape (n_samples, n_components)
            The documents' topics.
        """
        return self.fit(X, y, sample_weight).transform(X, normalize=normalize)

    def score(self, X: MatrixLike, y: Any = None) -> float:
        """Return the evidence lower bound (ELBO) of documents, topics and priors.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Counts.
        y : Ignored
            Present for API consistency.

        Returns
        -------
        elbo : float
            Lower bound of the log-likelihood, with the topics' own divergence from their prior.
        """
        self._check_fitted()
        parts = scores(self, _bound_and_tokens, X, None)
        if parts is not None:
            return float(sum(bound for bound, _ in parts)) + self._bound_of_topics()
        return self._elbo(self._validated(X, "score", reset=False, dtype=self.components_.dtype))

    def _bound_of_topics(self):
        return self._model().log_prior(self._topics(self.components_.dtype))

    def perplexity(self, X: MatrixLike, sub_sampling: bool = False) -> float:
        """Return exp(-ELBO / number of tokens), which is not the perplexity of held-out words.

        It is scikit-learn's figure: the ELBO of :meth:`score`, with the topics' divergence from
        their prior, which weighs the more the smaller X is, over the tokens of X. A document's
        topics are inferred from the very words that are scored, and the gap between the bound and
        the likelihood differs between models: what falls here may rise on held-out words, above all
        with more topics. To compare models, use :meth:`held_out_log_likelihood`, whose words
        inference has not seen and which is no bound; exp of minus it is a perplexity that can be
        trusted.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Counts.
        sub_sampling : bool, default=False
            Whether X stands for `total_samples` documents: its own part of the ELBO and its tokens
            are multiplied by total_samples / n_samples, the topics' part is not.

        Returns
        -------
        perplexity : float
            Lower is better.
        """
        self._check_fitted()
        parts = scores(self, _bound_and_tokens, X, None)
        if parts is not None:
            if sub_sampling:
                raise ValueError("sub_sampling is for data in memory: leave it out for blocks")
            bound, n_tokens = np.sum(parts, axis=0)
            check_tokens(n_tokens, "X", "perplexity")
            return float(np.exp(-(bound + self._bound_of_topics()) / n_tokens))
        X = self._validated(X, "perplexity", reset=False, dtype=self.components_.dtype)
        check_tokens(X.sum(dtype=np.float64), "X", "perplexity")
        return self._perplexity(X, None, self.total_samples / X.shape[0] if sub_sampling else 1.0)

    def elbo(self, X: MatrixLike, sample_weight: npt.ArrayLike | None = None) -> float:
        """Return the evidence lower bound per token, at converged gammas, topics held fixed.

        What :attr:`lower_bounds_` has for each pass, in float64 whatever the dtype of the fit, and
        with documents that are updated to the end, from equal topics: a figure of the topics alone,
        by which fits may be compared (Blei et al. 2003, equation 15; Hoffman et al. 2010,
        equation 3). Batch passes raise it, except for documents that find another optimum.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Counts: those of the fit, since the bound is of these documents with all topics.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights.

        Returns
        -------
        elbo : float
            In nats; :meth:`score` is the sum over tokens. A word that has no count in any topic,
            which only point estimates know, counts as probability 1e-300.
        """
        self._check_fitted()
        X = self._validated(X, "elbo", reset=False, dtype=np.float64)
        sample_weight = check_sample_weight(sample_weight, X)
        n_tokens = _n_tokens(X, sample_weight)
        check_tokens(n_tokens, "X", "ELBO per token")
        model = self._model()
        model.max_sweeps, model.tol = _EXACT_SWEEPS, _EXACT_TOL
        return self._elbo(X, sample_weight, model=model) / n_tokens

    def token_topics(self, X: MatrixLike) -> np.ndarray:
        """Return which topics the tokens of documents have, q: the posterior of each nonzero.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Counts. The result has nnz * n_components numbers, so pass some documents at a time.

        Returns
        -------
        token_topic : ndarray of shape (nnz, n_components)
            A row for each count of X above 0, which sums to 1, in CSR order: by document, then by
            word. That is the order of ``X.data`` of a canonical ``csr_array`` (sorted, no
            duplicates, no stored zeros), and of ``np.nonzero(X)`` of an array. A word that has no
            count in any topic, which only point estimates know, has the topics of its document.
        """
        self._check_fitted()
        X = self._validated(X, "token_topics", reset=False, dtype=self.components_.dtype)
        model, topics, _, inferred = self._documents(X)
        k = len(self.components_)
        words, column = np.unique(X.indices, return_inverse=True)
        of_words = self.components_[:, words].T
        with np.errstate(divide="ignore"):
            if model.priors.point_topics:
                log_topics = np.log(of_words * topics.scale[:k].astype(np.float64))
            else:
                log_topics = psi(of_words.astype(np.float64)) - psi(topics.totals)
        document = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
        token_topic = np.empty((X.nnz, k), X.dtype)
        for begin in range(0, X.nnz, _ROWS):
            rows = slice(begin, begin + _ROWS)
            first, last = document[rows][[0, -1]]
            gamma = inferred.gamma[first : last + 1, :k].astype(np.float64)
            here = document[rows] - first
            token_topic[rows] = _softmax(psi(gamma)[here] + log_topics[column[rows]], gamma[here])
        return token_topic

    def _elbo(self, X, sample_weight=None, ratio=1.0, model=None):
        model = model or self._model()
        of_topics = model.log_prior(self._topics(X.dtype))
        _, topics, documents, inferred = self._documents(X, sample_weight, model)
        return ratio * model.bound(topics, documents, inferred) + of_topics

    def _perplexity(self, X, sample_weight=None, ratio=1.0):
        n_tokens = _n_tokens(X, sample_weight)
        if n_tokens == 0:
            return np.nan  # of a fit to no words, as scikit-learn allows it
        return float(np.exp(-self._elbo(X, sample_weight, ratio) / (ratio * n_tokens)))

    def _perplexity_precomp_distr(self, X, doc_topic_distr=None, sub_sampling=False):
        """Return the perplexity at given gammas: scikit-learn's own tests reach for it."""
        X = self._validated(X, reset=False, dtype=self.components_.dtype)
        ratio = self.total_samples / X.shape[0] if sub_sampling else 1.0
        if doc_topic_distr is None:
            return self._perplexity(X, None, ratio)
        if len(doc_topic_distr) != X.shape[0]:
            raise ValueError("Number of samples in X and doc_topic_distr do not match.")
        if doc_topic_distr.shape[1] != self.n_components:
            raise ValueError("Number of topics does not match.")
        model, topics = self._model(), self._topics(X.dtype)
        model.max_sweeps = 0
        documents = Documents(X)
        inferred = model.infer(topics, documents, first=doc_topic_distr)
        elbo = ratio * model.bound(topics, documents, inferred) + model.log_prior(topics)
        return float(np.exp(-elbo / (ratio * documents.total_weight)))

    def held_out_log_likelihood(self, X_observed: MatrixLike, X_held: MatrixLike) -> float:
        """Return the mean log-probability of words that inference has not seen.

        Parameters
        ----------
        X_observed : {array-like, sparse matrix} of shape (n_samples, n_features)
            A part of each document's words, from which its topics are inferred.
        X_held : {array-like, sparse matrix} of shape (n_samples, n_features)
            The other part, which is scored.

        Returns
        -------
        log_likelihood : float
            Natural logarithm, per token of X_held (document completion; Wallach et al. 2009,
            *Evaluation methods for topic models*, section 5.1); larger is better.
        """
        doc_topic = self.transform(X_observed)
        X = self._validated(
            X_held, "held_out_log_likelihood", reset=False, dtype=self.components_.dtype
        )
        if X.shape[0] != len(doc_topic):
            raise ValueError(
                f"X_held has {X.shape[0]} documents, but X_observed has {len(doc_topic)}: they "
                "must be parts of the same documents"
            )
        n_tokens = X.sum(dtype=np.float64)
        check_tokens(n_tokens, "X_held", "mean log-probability")
        topics, k = self._topics(X.dtype), len(self.components_)
        doc_topic, n_threads = padded(doc_topic, k, X.dtype), effective_n_jobs(self.n_jobs)
        return float(log_likelihood(topics, Documents(X), doc_topic, n_threads).sum() / n_tokens)


def _bound_and_tokens(estimator, X, _):
    """Return the ELBO of one block of documents, without that of the topics, and its tokens."""
    X = estimator._validated(X, "score", reset=False, dtype=estimator.components_.dtype)
    model, topics, documents, inferred = estimator._documents(X)
    return model.bound(topics, documents, inferred), _n_tokens(X, None)


def _n_tokens(X, sample_weight):
    tokens = X.sum(axis=1, dtype=np.float64)
    return float(tokens.sum() if sample_weight is None else sample_weight @ tokens)


def _softmax(logits, otherwise):
    """Return exp(logits), normalised by row; where all are -inf, `otherwise` is."""
    top = logits.max(axis=1, keepdims=True)
    known = np.isfinite(top)
    with np.errstate(invalid="ignore"):
        rows = np.where(known, np.exp(logits - top), otherwise)
    return rows / rows.sum(axis=1, keepdims=True)
