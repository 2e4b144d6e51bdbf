"""Choosing the number of topics."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.utils import check_random_state

from fastem._compat import get_feature_names
from fastem._typing import MatrixLike, RandomStateLike
from fastem.select.documented import documented
from fastem.select.result import Selection, chosen
from fastem.select.running import (
    Runner,
    attempt,
    candidate,
    check_choice,
    check_estimator,
    check_number,
    check_numbers,
    check_runs,
)
from fastem.topics.lda import LatentDirichletAllocation
from fastem.topics.plsa import PLSA
from fastem.topics.summary import mean_of

__all__ = ["divided", "halves", "held_out_log_likelihood", "topics"]

_ROWS = 1 << 20  # probabilities that are made at a time


@documented
def topics(
    X: MatrixLike,
    n_components: int | Iterable[int] = (5, 10, 20, 50),
    criterion: str = "held_out",
    *,
    estimator: LatentDirichletAllocation | PLSA | None = None,
    test_size: float = 0.2,
    measure: str = "npmi",
    n_words: int = 10,
    random_state: RandomStateLike = None,
    n_jobs: int | None = None,
    progress: bool = False,
) -> Selection:
    """Choose how many topics.

    Each candidate is fitted to a part of the documents. Of every other document, half of the tokens
    are used to infer its topics and the other half is scored (document completion; Wallach et al.
    2009, *Evaluation methods for topic models*, section 5.1). The best is fitted again to all.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Counts of words (columns) in documents (rows): whole numbers.
    n_components : int or iterable of int, default=(5, 10, 20, 50)
        The numbers to try.
    criterion : {'held_out', 'coherence'}, default='held_out'
        'held_out': the mean log-probability of tokens that neither the fit nor the inference has
        seen, for a model that predicts. 'coherence': how often the top words of a topic occur
        together, on the average over topics, for topics that are to be read; it often prefers few.
        The table has both.
    estimator : LatentDirichletAllocation or PLSA, default=None
        The other parameters; None: ``LatentDirichletAllocation()``.
    test_size : float, default=0.2
        Share of the documents that are scored.
    measure : {'npmi', 'umass'}, default='npmi'
        The coherence, as ``coherence`` of the estimators computes it on X.
    n_words : int, default=10
        Number of words of each topic that it looks at.
    {running}

    Notes
    -----
    Words that occur in no document of a fit are left out of the scores: a model without a prior
    gives them no probability at all. The default `doc_topic_prior` of LDA, 1 / n_components, is
    another prior for each number; give one, as 0.1, to compare numbers of topics alone.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import LatentDirichletAllocation, select
    >>> rng = np.random.default_rng(0)
    >>> theta = rng.dirichlet(np.full(3, 0.1), 200)
    >>> X = rng.poisson(40 * theta @ np.repeat(np.eye(3) / 10, 10, axis=1))
    >>> lda = LatentDirichletAllocation(doc_topic_prior=0.1, max_iter=30)
    >>> select.topics(X, (2, 3, 4), "coherence", estimator=lda, random_state=0).best_params_
    {'n_components': 3}
    """
    check_choice("criterion", criterion, ("held_out", "coherence"))
    check_choice("measure", measure, ("npmi", "umass"))
    numbers = check_numbers("n_components", n_components)
    check_number("n_words", n_words, 2)
    if not isinstance(test_size, Real) or not 0 < test_size < 1:
        raise ValueError(f"test_size must be between 0 and 1, got {test_size!r}")
    estimator = LatentDirichletAllocation() if estimator is None else estimator
    kinds = (LatentDirichletAllocation, PLSA)
    check_estimator(estimator, kinds, "a LatentDirichletAllocation or a PLSA of fastem")
    check_runs(n_jobs, progress)
    rng = check_random_state(estimator.random_state if random_state is None else random_state)
    seed = int(rng.randint(2**31 - 1))
    counts, names = _counts(clone(estimator), X), get_feature_names(X)
    train, observed, held = divided(counts, float(test_size), rng)
    made = [candidate(estimator, n_jobs, n_components=k, random_state=seed) for k in numbers]
    scoring = counts, observed, held, measure, n_words
    with Runner(n_jobs, progress, len(made) + 1).open() as runner:
        found = runner.run([(_fit, clone(one), train, *scoring) for one in made])
        table = [
            {"n_components": k} | row for k, row in zip(numbers, found, strict=True)
        ]  # fmt: skip
        final = _Late(runner, made, counts if names is None else X)
        return chosen(criterion, table, ["n_components"], final)


class _Late:
    """Estimators that are fitted to all documents when asked for."""

    def __init__(self, runner, made, X):
        self.runner, self.made, self.X = runner, made, X

    def __getitem__(self, index):
        return self.runner.run([(_refit, self.made[index], self.X)])[0]


def _refit(estimator, X):
    return estimator.fit(X)


def _counts(estimator, X):
    """Return the counts as canonical CSR, or say that they are none."""
    counts = estimator._validated(X, reset=True)
    if np.any(counts.data != np.floor(counts.data)):
        raise ValueError(
            "X must have whole numbers, the counts of words, whose tokens can be divided between "
            "inference and scores; got fractions"
        )
    return counts


def divided(counts, test_size, rng):
    """Return the documents of the fits, and the tokens of the others in two halves."""
    n = counts.shape[0]
    n_test = math.ceil(test_size * n)
    if n - n_test < 1:
        raise ValueError(f"test_size={test_size} leaves no document to fit, of {n}")
    order = rng.permutation(n)
    train, test = counts[np.sort(order[n_test:])], counts[np.sort(order[:n_test])]
    observed, held = halves(test, np.asarray(train.sum(axis=0)).ravel() > 0, rng)
    if not train.nnz or not held.nnz:
        raise ValueError(
            f"test_size={test_size} leaves no tokens to fit or none to score: X has "
            f"{counts.sum():.0f} in {n} documents; choose another"
        )
    return train, observed, held


def halves(test, known, rng):
    """Return documents' tokens in two halves; the second one of `known` words, (V,), alone."""
    data = test.data.astype(np.int64)
    observed = rng.binomial(data, 0.5)
    held = (data - observed) * known[test.indices]
    parts = [
        sp.csr_array(
            (part.astype(test.dtype), test.indices, test.indptr), shape=test.shape, copy=True
        )
        for part in (observed, held)
    ]
    for part in parts:
        part.eliminate_zeros()
    return parts


def _fit(estimator, train, counts, observed, held, measure, n_words):
    """Return the figures of a fit to the training documents."""
    fit = attempt(estimator, train)
    if isinstance(fit, ValueError):
        lost = dict.fromkeys(("held_out", "coherence"), math.nan)
        return lost | {"n_iter": None, "converged": None, "error": str(fit)}
    coherence = fit.coherence(counts, measure=measure, n=n_words)
    return {
        "held_out": held_out_log_likelihood(fit, observed, held),
        "coherence": mean_of(coherence),
        "n_iter": fit.n_iter_,
        "converged": _converged(fit),
        "error": None,
    }


def _converged(fit) -> Any:
    """Return whether a fit converged; None where it was not to look."""
    looked = getattr(fit, "evaluate_every", 1) >= 1
    return bool(fit.converged_) if looked or fit.converged_ else None


def held_out_log_likelihood(estimator, observed, held, topic_word=None):
    """Return the mean log-probability of the tokens `held`, topics inferred from `observed`.

    `topic_word`, p(word | topic), stands in for the estimator's.
    """
    doc_topic = estimator.transform(observed).astype(np.float64)
    if topic_word is None:
        topic_word = estimator.components_
    topic_word = topic_word.astype(np.float64)
    topic_word = topic_word / topic_word.sum(axis=1, keepdims=True)
    rows, columns = np.repeat(np.arange(held.shape[0]), np.diff(held.indptr)), held.indices
    total, step = 0.0, max(1, _ROWS // len(topic_word))
    for begin in range(0, held.nnz, step):
        some = slice(begin, begin + step)
        p = np.einsum("nk,kn->n", doc_topic[rows[some]], topic_word[:, columns[some]])
        total += float(held.data[some] @ np.log(np.maximum(p, 1e-300)))
    return total / float(held.sum(dtype=np.float64))
