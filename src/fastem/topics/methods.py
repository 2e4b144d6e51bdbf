"""LDA's methods of learning, as the estimator takes them: a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import gen_batches

from fastem._engine.threads import effective_n_jobs
from fastem.topics.by_blocks import Batches
from fastem.topics.cvb0 import CVB0EM, ShuffledDocuments, check_number_prior
from fastem.topics.documents import Documents
from fastem.topics.incremental import IncrementalLDAEM
from fastem.topics.stochastic import (
    TOPIC_WORD_PRIOR,
    StochasticEM,
    WholeDocuments,
    check_whole_counts,
)
from fastem.topics.vocabulary import occurring

__all__ = ["METHODS", "Method", "in_batches"]


class Method(NamedTuple):
    """How a learning method fits."""

    schedule: str  # of the driver
    #: Of an estimator with its first topics, the counts and the documents' weights: the model, its
    #: blocks and a function that gives the first parameters once. Nobody else has these.
    prepare: Callable[[Any, Any, Any], tuple[Any, list[Any], Callable[[int], Any]]]
    bound_of_passes: bool = False  # whether the bound is what passes see, and not the perplexity
    #: Of an estimator with its first topics, a source of blocks, the blocks as they are and what
    #: the first pass found: the same. None where all documents must be in memory.
    of_source: Callable[..., tuple[Any, Any, Callable[[int], Any]]] | None = None


def _once(start):
    """Return a function that gives the first parameters, which nobody has then."""
    held = [start]
    return lambda init: held.pop()


def in_batches(X, sample_weight, batch_size):
    """Yield documents in batches, as they come."""
    for some in gen_batches(X.shape[0], batch_size):
        yield Documents(X[some], None if sample_weight is None else sample_weight[some])


def _batch(estimator, X, sample_weight):
    vocabulary = None
    if np.ndim(estimator.topic_word_prior_) == 0:  # words of an array may have different ones
        X, vocabulary = occurring(X)
    blocks, _ = Documents.blocks(X, sample_weight)
    start = estimator._first_topics(X.dtype, vocabulary=vocabulary)
    return estimator._model(vocabulary=vocabulary), blocks, _once(start)


def _online(estimator, X, sample_weight):
    n_docs = X.shape[0]
    if estimator.shuffle:
        order = estimator.random_state_.permutation(n_docs)
        X, sample_weight = X[order], None if sample_weight is None else sample_weight[order]
    blocks = list(in_batches(X, sample_weight, estimator.batch_size))
    model = estimator._model(n_samples=n_docs)
    return model, blocks, _once(estimator._first_topics(X.dtype))


def _incremental(estimator, X, sample_weight):
    blocks, _ = Documents.blocks(X, sample_weight, estimator.batch_size)
    start = estimator._first_topics(X.dtype, random=False)
    return estimator._model(IncrementalLDAEM), blocks, _once(start)


def _batch_of_source(estimator, source, blocks, found):
    return estimator._model(), blocks, _once(estimator._first_topics(found.dtype))


def _online_of_source(estimator, source, blocks, found):
    seed = int(estimator.random_state_.randint(2**31 - 1)) if estimator.shuffle else None
    model = estimator._model(n_samples=found.n_rows)
    batches = Batches(source, estimator.batch_size, seed)
    return model, batches, _once(estimator._first_topics(found.dtype))


def _incremental_of_source(estimator, source, blocks, found):
    start = estimator._first_topics(found.dtype, random=False)
    return estimator._model(IncrementalLDAEM), blocks, _once(start)


def _cvb0(estimator, X, sample_weight):
    alpha = estimator.doc_topic_prior
    if isinstance(alpha, str):
        raise ValueError(
            f"doc_topic_prior={alpha!r} is not for learning_method='cvb0', whose expected counts "
            "mislead it: give numbers, or take learning_method='stochastic'"
        )
    eta = _number_prior(estimator)
    order = estimator.random_state_.permutation(X.shape[0])
    X, vocabulary = occurring(X)
    documents = ShuffledDocuments(X, sample_weight, order, CVB0EM.CHUNK)
    prior = np.broadcast_to(estimator.doc_topic_prior_, len(estimator.components_))
    model = CVB0EM(prior, eta, effective_n_jobs(estimator.n_jobs), vocabulary=vocabulary)
    return model, [documents], _once(estimator._topics(X.dtype, vocabulary))


def _stochastic(estimator, X, sample_weight):
    alpha, rng = estimator.doc_topic_prior, estimator.random_state_
    eta = _number_prior(estimator, TOPIC_WORD_PRIOR)
    check_whole_counts(X, sample_weight)
    order, n_topics = rng.permutation(X.shape[0]), len(estimator.components_)
    X, vocabulary = occurring(X)
    documents = WholeDocuments(X, order, StochasticEM.CHUNK)
    learned = alpha is None or isinstance(alpha, str)
    model = StochasticEM(
        None if learned else np.broadcast_to(estimator.doc_topic_prior_, n_topics), eta,
        n_topics=n_topics, n_threads=effective_n_jobs(estimator.n_jobs),
        seed=int(rng.randint(2**31 - 1)), longest=int(documents.lengths.max(initial=0)),
        dtype=X.dtype, vocabulary=vocabulary,
    )  # fmt: skip
    return model, [documents], _once(estimator._topics(X.dtype, vocabulary))


def _number_prior(estimator, default=None):
    """Return eta, which is one number above 0; set it to the default, if that is there."""
    method, eta = estimator.learning_method, estimator.topic_word_prior
    if isinstance(eta, str):
        raise ValueError(
            f"topic_word_prior={eta!r} is not for learning_method={method!r}: give a number, or "
            "take learning_method='batch', 'online' or 'incremental'"
        )
    if eta is None and default is not None:
        estimator.topic_word_prior_ = default
    check_number_prior(method, estimator.topic_word_prior_)
    return estimator.topic_word_prior_


METHODS = {
    "batch": Method("batch", _batch, of_source=_batch_of_source),
    "online": Method("stepwise", _online, of_source=_online_of_source),
    "incremental": Method("incremental", _incremental, True, _incremental_of_source),
    "cvb0": Method("batch", _cvb0, bound_of_passes=True),
    "stochastic": Method("batch", _stochastic, bound_of_passes=True),
}
