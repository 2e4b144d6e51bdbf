"""Topic models of documents that come in blocks."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import gen_batches

from fastem._data.sources import sample_weight_of, survey
from fastem._engine.statistics import Statistics
from fastem.components.gaussian import GaussianBlock
from fastem.topics.documents import Documents, check_total
from fastem.topics.gaussian_lda_em import VectorDocuments

__all__ = [
    "Batches",
    "DocumentBlock",
    "bound_of_vectors",
    "counted_block",
    "elbo_of",
    "first_of_sample",
    "lda_blocks",
    "stacked_block",
    "survey_counts",
    "word_weights",
]


class DocumentBlock:
    """Makes blocks of documents, of counts and the documents' weights."""

    numbered = True

    def __call__(self, X, sample_weight, number):
        """Return the block for the driver."""
        return Documents(X, sample_weight_of(sample_weight), number=number)


class Batches:
    """Blocks of documents, cut into the batches of online steps as they are read.

    Parameters
    ----------
    source : LocalSource
        After its first pass.
    batch_size : int
    seed : int or None
        By which each block's documents are put into another order, the same in every pass; None:
        as they come.
    """

    def __init__(self, source, batch_size, seed):
        self.source, self.batch_size, self.seed = source, batch_size, seed

    def __len__(self):
        return sum(-(-n // self.batch_size) for n in self.source.lengths.values())

    def __iter__(self):
        for number, found in self.source.numbered():
            X, weight = found.X, sample_weight_of(found.weight)
            if self.seed is not None:
                order = np.random.default_rng([self.seed, number]).permutation(X.shape[0])
                X, weight = X[order], None if weight is None else weight[order]
            for some in gen_batches(X.shape[0], self.batch_size):
                yield Documents(X[some], None if weight is None else weight[some])


def survey_counts(estimator, source):
    """Make the first pass over counts; set what every estimator knows of X; return the Survey.

    Its `extra` is the number of words, each times its document's weight.
    """
    found = survey(source, _n_tokens, estimator.random_state, None)
    estimator._set_fitted(found.attributes())
    return found


def _n_tokens(X, sample_weight):
    if sample_weight is not None:
        check_total(X, sample_weight)
    tokens = np.asarray(X.sum(axis=1, dtype=np.float64)).reshape(-1)
    return float(tokens.sum() if sample_weight is None else sample_weight @ tokens)


def elbo_of(blocks, model, topics) -> float:
    """Return the ELBO of all documents of prepared blocks, and of the topics."""
    total = blocks.sum(_bound_of, model, topics)
    return float(total.bound) + model.log_prior(topics)


def _bound_of(block, model, topics):
    bound = model.bound(topics, block, model.infer(topics, block))
    return Statistics(bound=bound, weight=block.total_weight)


def lda_blocks(estimator, source, method) -> tuple[Any, Any, Any, Any]:
    """Return a model, its blocks, a function that gives the first parameters, and the perplexity.

    Raises
    ------
    ValueError
        If the learning method needs all documents in memory.
    """
    found = survey_counts(estimator, source)
    if method.of_source is None:
        raise ValueError(
            f"learning_method={estimator.learning_method!r} keeps a topic of every token, and "
            "needs the documents in memory: take 'batch', 'online' or 'incremental' for blocks"
        )
    if source.executor is not None and method.schedule != "batch":
        raise ValueError(
            f"learning_method={estimator.learning_method!r} goes from block to block, which "
            "workers cannot do side by side: take 'batch' for Dask collections"
        )
    estimator._begin(found.n_features, found.dtype)
    plain = source.prepared(DocumentBlock())
    model, blocks, start = method.of_source(estimator, source, plain, found)

    def perplexity():
        if found.extra == 0:
            return np.nan  # of a fit to no words, as scikit-learn allows it
        topics, reader = estimator._topics(found.dtype), estimator._model()
        return float(np.exp(-elbo_of(plain, reader, topics) / found.extra))

    return model, blocks, start, perplexity


# ---- Gaussian topics ---------------------------------------------------------------------------


def counted_block(X, sample_weight):
    """Return the block of documents of counts, whose vectors the model has."""
    weight = np.ones(X.shape[0]) if sample_weight is None else sample_weight
    return VectorDocuments(Documents(X, sample_weight_of(sample_weight)), weight @ X, None)


def stacked_block(X, row_weight, lengths, sample_weight):
    """Return the block of documents of vectors, so many each."""
    return VectorDocuments.of_block(X, lengths, sample_weight)


def bound_of_vectors(estimator, X, rest):
    """Return the ELBO of a block, and its number of vectors; lengths come with X, or weights."""
    return estimator._bound_and_weight(X, rest if estimator._lengths_follow else None)


def word_weights(X, sample_weight):
    """Return how often each word occurs in weighted documents, (V,): a sum over blocks."""
    return X.sum(axis=0) if sample_weight is None else sample_weight @ X


def first_of_sample(estimator, model, found, n_starts, sample):
    """Return the first topics of each start; this runs where the sample of vectors is."""
    if model.vectors is not None:
        draw = estimator._starts(model, model.vectors, np.asarray(found.extra).reshape(-1))
    else:
        draw = estimator._starts(model, GaussianBlock.of(sample.rows, None), sample.weight)
    return [draw(start) for start in range(n_starts)]
