"""LDA's methods that keep the topics of each word, as the estimator takes them."""

from __future__ import annotations

import numpy as np

from fastem._engine.threads import effective_n_jobs
from fastem.topics.cvb0 import CVB0EM, ShuffledDocuments, check_number_prior
from fastem.topics.stochastic import TOPIC_WORD_PRIOR, StochasticEM, check_whole_counts

__all__ = ["TOKEN_METHODS", "token_model"]

TOKEN_METHODS = ("cvb0", "stochastic")


def token_model(estimator, X, sample_weight):
    """Return the model, its blocks and its start for an estimator that has its first topics."""
    method, rng = estimator.learning_method, estimator.random_state_
    n_topics, alpha = len(estimator.components_), estimator.doc_topic_prior
    if method == "cvb0" and isinstance(alpha, str):
        raise ValueError(
            f"doc_topic_prior={alpha!r} is not for learning_method='cvb0', whose expected counts "
            "lead it astray: give numbers, or take learning_method='stochastic'"
        )
    if isinstance(estimator.topic_word_prior, str):
        raise ValueError(
            f"topic_word_prior={estimator.topic_word_prior!r} is not for "
            f"learning_method={method!r}: give a number, or take "
            "learning_method='batch', 'online' or 'incremental'"
        )
    if method == "stochastic" and estimator.topic_word_prior is None:
        estimator.topic_word_prior_ = TOPIC_WORD_PRIOR
    check_number_prior(method, estimator.topic_word_prior_)
    n_threads, eta = effective_n_jobs(estimator.n_jobs), estimator.topic_word_prior_
    topics = estimator._topics(X.dtype)
    if method == "cvb0":
        documents = ShuffledDocuments(X, sample_weight, rng.permutation(X.shape[0]), CVB0EM.CHUNK)
        prior = np.broadcast_to(estimator.doc_topic_prior_, n_topics)
        return CVB0EM(documents, prior, eta, n_threads), [documents], topics
    check_whole_counts(X, sample_weight)
    documents = ShuffledDocuments(X, None, rng.permutation(X.shape[0]), StochasticEM.CHUNK)
    learned = alpha is None or isinstance(alpha, str)
    model = StochasticEM(
        documents, None if learned else np.broadcast_to(estimator.doc_topic_prior_, n_topics), eta,
        n_topics=n_topics, n_threads=n_threads, seed=int(rng.randint(2**31 - 1)), dtype=X.dtype,
    )  # fmt: skip
    first = estimator._topics(np.float32)
    return model, [documents], lambda _: model.start(documents, first)
