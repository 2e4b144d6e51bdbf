"""PLSA of a stream of documents: partial_fit, by stepwise EM."""

from __future__ import annotations

import math
import warnings
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.utils import check_random_state

from fastem import em
from fastem._base import check_sample_weight, unchanged_on_error
from fastem._compat import fit_context
from fastem._engine.statistics import Statistics
from fastem._engine.streaming import ROWS_OF_A_START, SORTED, Streaming, pieces
from fastem._engine.threads import effective_n_jobs, single_threaded_blas
from fastem._typing import MatrixLike
from fastem.topics.documents import Documents, Topics, TopicSums, check_total, padded
from fastem.topics.plsa_em import PLSAEM, DocumentTopics, random_topics

__all__ = ["StreamingPLSA"]

_START_ITERATIONS = 30  # of EM on the first documents


class StreamingPLSA(Streaming):
    """PLSA that can be fitted to a stream; a part of the estimator."""

    _goes_on_from = _sized = "components_"

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: MatrixLike, y: Any = None, sample_weight: npt.ArrayLike | None = None
    ) -> Self:
        """Take a step, or several, with the next documents of a stream.

        The first calls gather 100 documents for each topic, on which the start is made; fitted
        topics go on from what they are. Then each call finds the topics of its documents, as
        `transform` does, and moves the mean counts of words in topics towards theirs (Cappé &
        Moulines 2009), by (learning_offset + number of the step)^-learning_decay.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Counts: best of some hundreds of documents in random order. Many are several steps.
        y : Ignored
            Present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights.

        Returns
        -------
        self : object
            The model after the steps. `n_iter_` is the number of steps.

        Raises
        ------
        ValueError
            If an argument is invalid, or there is no word yet.

        Warns
        -----
        RuntimeWarning
            If the stream looks sorted.
        """
        if self._take_steps(X, sample_weight):
            warnings.warn(SORTED, RuntimeWarning, stacklevel=3)
        return self

    def _take_steps(self: Any, X, sample_weight):
        """Take the steps of one call; return whether the stream looks sorted."""
        with unchanged_on_error(self), single_threaded_blas():
            effective_n_jobs(self.n_jobs)  # complains before any work
            if isinstance(self.beta, str) or not isinstance(self.init, str):
                raise ValueError(
                    "partial_fit needs a number as beta, and init='random': what was held out, or "
                    "was given for all documents, has no place in a stream"
                )
            if hasattr(self, "components_"):
                self._check_fitted()
            stream = self._open_stream()
            X = self._validated(X, "partial_fit", reset=stream.begins)
            sample_weight = check_sample_weight(sample_weight, X)
            if sample_weight is not None:
                check_total(X, sample_weight)
            looks_sorted, left = False, True
            model = PLSAEM(
                self.n_components, self.doc_topic_prior, self.topic_word_prior,
                effective_n_jobs(self.n_jobs), beta=float(self.beta),
            )  # fmt: skip
            if stream.mean is None:
                topics, left = self._begin_stream(stream, model, X, sample_weight)
            else:
                topics = _topics_of(model, stream, X.dtype)
            if left:
                for rows, weight in pieces(X, sample_weight, self.n_components):
                    if not rows.nnz:
                        continue
                    statistics = self._sums(model, topics, Documents(rows, weight))
                    looks_sorted |= stream.step(statistics, stream.mean.totals, statistics.totals)
                    topics = _topics_of(model, stream, X.dtype)
            if topics is not None:
                self._set_fitted(self._attributes(topics))
                self.converged_, self.n_iter_ = False, stream.n_steps
                self.lower_bounds_ = list(stream.bounds)
                if stream.bounds:
                    self.lower_bound_ = stream.bounds[-1]
                else:  # the start alone, before any step
                    found = self._sums(model, topics, Documents(X, sample_weight))
                    self.lower_bound_ = float(found.bound / found.weight)
            self._stream = stream.keep()
        return looks_sorted

    def _sums(self: Any, model, topics, documents):
        """Return the counts of words in topics that documents have, with topics of their own."""
        doc_topic = model.fold_in(topics, documents, self.max_doc_update_iter, float(self.doc_tol))
        found, _ = model.e_step(topics, documents, DocumentTopics(doc_topic))
        counts = found.word_topic.dense()[:, : model.n_topics].astype(np.float64)
        return Statistics(
            bound=found.bound, weight=found.weight, counts=counts, totals=found.totals
        )

    def _begin_stream(self: Any, stream, model, X, sample_weight):
        """Gather documents, and make a start of them; return it, and whether X is still to come."""
        wanted = ROWS_OF_A_START * self.n_components
        stream.gather(X, sample_weight)
        n, random_state = stream.n_rows, check_random_state(self.random_state)
        if stream.resumes and n < wanted:
            return None, False
        rows, weight = stream.gathered(wanted, random_state)
        if not rows.data.any():
            raise ValueError("X has no count above 0: there is nothing to fit topics to")
        k = self.n_components
        if stream.resumes:
            topics = Topics(padded(self.components_.T, k, rows.dtype), np.ones(k), 0.0)
        else:
            first = random_topics(rows.shape[1], k, random_state)
            blocks, _ = Documents.blocks(rows, weight)
            topics = em.run(
                model, blocks, Topics(padded(first.T, k, rows.dtype), np.ones(k), 0.0),
                schedule="batch", tol=self.tol, max_iter=min(self.max_iter, _START_ITERATIONS),
                evaluate_every=1, n_init=1, lower_bound=-math.inf, callbacks=(), verbose=0,
                verbose_interval=1,
            ).params  # fmt: skip
        if n < wanted:  # more documents are to come: this start is for those who read in between
            return topics, False
        stream.begin(self._sums(model, topics, Documents(rows, weight)))
        return _topics_of(model, stream, X.dtype), X.shape[0] > wanted


def _topics_of(model, stream, dtype):
    """Return the topics that the mean counts give, as the kernel takes them beside documents."""
    total = stream.total()
    counts = padded(total.counts, model.n_topics, dtype)  # a row's width depends on the dtype
    sums = TopicSums(counts, None, len(counts))
    return model.m_step(
        Statistics(bound=0.0, weight=total.weight, word_topic=sums, totals=total.totals)
    )
