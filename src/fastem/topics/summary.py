"""Fitted topics as tables of text."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastem._summary import Summary, ending, summary_of

__all__ = ["mean_of", "summary"]

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
    coherence = estimator.coherence(X, measure="npmi", n=max(n_words, 2))
    facts = [
        ("Documents", counts.shape[0]),
        ("Words", counts.shape[1]),
        ("Tokens", int(total) if total == int(total) else total),
        ("Topics", len(words)),
        ("Converged", ending(estimator)),
        *_bound(estimator),
        ("Mean coherence (NPMI)", mean_of(coherence)),
    ]
    if hasattr(estimator, "perplexity") and total > 0:
        facts.append(("Perplexity", float(estimator.perplexity(X))))
    rows = [
        [k, float(share[k]), float(coherence[k]), _joined(map(str, some))]
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
