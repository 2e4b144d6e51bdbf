"""Fitted topics as tables of text."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from fastem._summary import Summary, ending, summary_of

__all__ = ["coherence", "mean_of", "summary", "together"]

_ROOM = 52  # characters for the words of a topic


def _bound(estimator):
    """Return the bound as a fact, where there was a fit and not a stream alone."""
    if not hasattr(estimator, "lower_bound_"):
        return []
    return [("Bound per token", float(estimator.lower_bound_))]


def summary(estimator: Any, X: Any, feature_names: Any, n_words: int) -> Summary:
    """Return the summary of fitted topics at counts."""
    words = estimator.top_words(feature_names, n_words)
    counts = estimator._validated(X, reset=False)
    doc_topic = np.asarray(estimator.transform(X), dtype=np.float64)
    tokens = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
    total = float(tokens.sum())
    share = tokens @ doc_topic / max(total, np.finfo(float).tiny)
    coherences = estimator.coherence(X, measure="npmi", n=max(n_words, 2))
    facts = [
        ("Documents", counts.shape[0]),
        ("Words", counts.shape[1]),
        ("Tokens", int(total) if total == int(total) else total),
        ("Topics", len(words)),
        ("Converged", ending(estimator)),
        *_bound(estimator),
        ("Mean coherence (NPMI)", mean_of(coherences)),
    ]
    if hasattr(estimator, "perplexity") and total > 0:
        facts.append(("Perplexity", float(estimator.perplexity(X))))
    rows = [
        [k, float(share[k]), float(coherences[k]), _joined(map(str, some))]
        for k, some in enumerate(words)
    ]
    return summary_of(
        type(estimator).__name__, facts, [(["topic", "share", "NPMI", "words"], rows)]
    )


def mean_of(coherence):
    """Return the mean over topics that have a coherence; NaN if none has."""
    known = coherence[~np.isnan(coherence)]
    return float(known.mean()) if len(known) else float("nan")


def _joined(words):
    """Return words until there is no room for more, one at least."""
    text = next(words)
    for word in words:
        if len(text) + 1 + len(word) > _ROOM:
            break
        text += f" {word}"
    return text[:_ROOM]


def together(estimator, X, _, words):
    """Return in how many documents words of each topic occur together, (K, n, n); and how many."""
    X = estimator._validated(X, "coherence", reset=False)
    occurs = sp.csc_array((X > 0).astype(np.float64))
    parts = (occurs[:, some] for some in words)
    return np.stack([(part.T @ part).toarray() for part in parts]), X.shape[0]


def coherence(together, n_docs, measure):
    """Return one topic's coherence from the numbers of documents that its words have in common."""
    alone = together.diagonal()
    later, earlier = np.tril_indices(len(alone), -1)  # earlier: the more probable word
    known = (alone[later] > 0) & (alone[earlier] > 0)
    later, earlier = later[known], earlier[known]
    if len(later) == 0:
        return np.nan
    both = together[later, earlier]
    if measure == "umass":
        return np.log((both + 1) / alone[earlier]).mean()
    # Words that never meet have -1, words that are in every document 1: the limits.
    npmi = np.where(both == 0, -1.0, 1.0)
    some = (both > 0) & (both < n_docs)
    probability = both[some] / n_docs
    independent = alone[later][some] * alone[earlier][some] / n_docs**2
    npmi[some] = np.log(probability / independent) / -np.log(probability)
    return npmi.mean()
