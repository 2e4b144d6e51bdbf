"""The priors of latent Dirichlet allocation: checked, and learned."""

from __future__ import annotations

from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from scipy.special import gammaln, polygamma, psi, xlogy
from sklearn.utils import check_array

from fastem._kernels import topics as kernel

__all__ = [
    "Priors",
    "check_components_init",
    "check_doc_topic_prior",
    "check_topic_word_prior",
    "fit_dirichlet",
    "information",
    "polya_growth",
    "topics_bound",
]

#: Where learned priors stay: below, a topic is all but dead; above, all documents are alike.
SMALLEST, LARGEST = 1e-3, 1e3

_ROWS = 2048  # how many rows of a large array are taken at a time


class Priors(NamedTuple):
    """Parameters of the Dirichlet distributions of documents and of topics."""

    doc_topic: np.ndarray  # (K,) float64: alpha
    topic_word: Any  # float, 0 for point estimates, or (V,) or (K, V) float64: eta

    @property
    def point_topics(self):
        """Whether topics are point estimates, without a prior."""
        return not isinstance(self.topic_word, np.ndarray) and self.topic_word == 0

    def of_topic(self, topic):
        """Return eta of one topic: a number, or one for each word."""
        return self.topic_word[topic] if np.ndim(self.topic_word) == 2 else self.topic_word


# ---- doors -----------------------------------------------------------------------------------


def check_doc_topic_prior(prior, n_topics):
    """Return the alpha that a fit begins with: a number, or float64 of shape (K,)."""
    if prior is None or _is_auto(prior):
        return 1.0 / n_topics
    if isinstance(prior, Real):
        return prior
    return _positive("doc_topic_prior", prior, [(n_topics,)], "one for each topic")


def check_topic_word_prior(prior, n_topics, n_words):
    """Return the eta that a fit begins with: a number, or float64 of shape (V,) or (K, V)."""
    if prior is None or _is_auto(prior):
        return 1.0 / n_topics
    if isinstance(prior, Real):
        return prior
    shapes = [(n_words,), (n_topics, n_words)]
    return _positive(
        "topic_word_prior", prior, shapes, "one for each word, or for each word of each topic"
    )


def check_components_init(components, n_topics, n_words):
    """Return the first lambda, float64 of shape (K, V)."""
    shapes = [(n_topics, n_words)]
    return _positive("components_init", components, shapes, "a weight of each word in each topic")


def _is_auto(prior):
    return isinstance(prior, str)  # the table of parameters lets no other string in


def _positive(name, values, shapes, meaning):
    """Return values of one of the shapes, finite and above 0, as a float64 copy."""
    values = check_array(values, ensure_2d=False, dtype=np.float64, input_name=name, copy=True)
    if values.shape not in shapes:
        raise ValueError(
            f"{name} must {'be a number or ' * (name != 'components_init')}have shape "
            f"{' or '.join(map(str, shapes))}, {meaning}; got shape {values.shape}"
        )
    if not values.min() > 0:
        remedy = " For topics without a prior pass topic_word_prior=0." if "word" in name else ""
        where = tuple(int(i) for i in np.unravel_index(values.argmin(), values.shape))
        raise ValueError(
            f"{name} must have only values above 0, got {values.min():.6g} at {where}: give a "
            f"small number, such as 0.001, instead.{remedy}"
        )
    return values


# ---- what the bound says of a Dirichlet distribution -----------------------------------------


def topics_bound(topics, prior, n_threads):
    """Return the sum over topics of E[log p - log q], where p is Dirichlet(prior).

    `prior` is a number or has shape (V,) or (K, V); the topics' lambda is ``sums + topics.prior``.
    """
    n_words, n_topics = len(topics.sums), len(topics.totals)
    terms, totals, whole = np.zeros(n_topics), np.zeros(n_topics), np.ndim(topics.prior) == 0
    eta = np.broadcast_to(np.asarray(prior, np.float64), (n_topics, n_words)).T
    step = n_words if whole else _ROWS  # an array is copied
    for begin in range(0, n_words, step):
        rows = slice(begin, begin + step)
        added = topics.prior if whole else topics.prior[rows, :n_topics]
        added = np.broadcast_to(np.asarray(added, np.float64), eta[rows].shape)
        part = kernel.dirichlet_terms(topics.sums[rows], added, eta[rows], n_topics, n_threads)
        terms += part[0]
        totals += part[1]
    if topics.vocabulary is not None:  # then both priors are numbers
        part = _terms_of_others(topics, prior, n_threads)
        terms, totals, n_words = terms + part[0], totals + part[1], topics.n_words
    if np.ndim(prior) == 0:
        sums, logs = n_words * prior, n_words * gammaln(prior)
    else:
        sums, logs = np.sum(prior, axis=-1), gammaln(prior).sum(axis=-1)
    value = terms - (sums - totals) * psi(totals) - gammaln(totals) + gammaln(sums) - logs
    return float(value.sum())


def _terms_of_others(topics, prior, n_threads):
    """Return what dirichlet_terms() does, of the words that have no row."""
    others, n_topics = topics.vocabulary.others, len(topics.totals)
    copies = topics.vocabulary.n_others if others is None else 1
    rows = np.zeros((1, n_topics)) if others is None else np.ascontiguousarray(others)
    added, eta = np.full(rows.shape, topics.prior), np.full(rows.shape, prior)
    terms, totals = kernel.dirichlet_terms(rows, added, eta, n_topics, n_threads)
    return copies * terms, copies * totals


# ---- learning --------------------------------------------------------------------------------


def fit_dirichlet(alpha, mean_log):
    """Return the Dirichlet parameters of largest likelihood, given the mean of log theta.

    Newton's steps, whose Hessian is a diagonal and a constant (Minka 2000, *Estimating a Dirichlet
    distribution*, equations 13-18), from `alpha` on; where one would not rise, the fixed point
    (equation 9), which always does. All values stay in [0.001, 1000].
    """
    if len(alpha) == 1:
        return alpha  # a single topic has probability 1, whatever its parameter

    def likelihood(a):
        return gammaln(a.sum()) - gammaln(a).sum() + (a * mean_log).sum()

    alpha = np.clip(alpha, SMALLEST, LARGEST)
    for _ in range(200):
        gradient = psi(alpha.sum()) - psi(alpha) + mean_log
        held = (alpha <= SMALLEST) & (gradient < 0) | (alpha >= LARGEST) & (gradient > 0)
        diagonal, gradient = -polygamma(1, alpha)[~held], gradient[~held]
        shift = (gradient / diagonal).sum() / (1 / polygamma(1, alpha.sum()) + (1 / diagonal).sum())
        new = alpha.copy()
        new[~held] -= (gradient - shift) / diagonal
        new = np.clip(new, SMALLEST, LARGEST)
        value = likelihood(alpha)  # near the end steps change it less than rounding does
        if not likelihood(new) >= value - 1e-13 * max(1.0, abs(value)):
            new = np.clip(_inverse_psi(psi(alpha.sum()) + mean_log), SMALLEST, LARGEST)
        alpha, last = new, alpha
        if np.all(np.abs(alpha - last) <= 1e-9 * last):
            break
    return alpha


def _inverse_psi(y):
    """Return x with psi(x) = y (Minka 2000, appendix C)."""
    with np.errstate(over="ignore"):
        x = np.where(y >= -2.22, np.exp(np.minimum(y, 30.0)) + 0.5, -1 / (y - psi(1.0)))
    for _ in range(5):
        x -= (psi(x) - y) / polygamma(1, x)
    return x


def information(sums, n_topics):
    """Return the mutual information of a word and its topic, in nats, from their expected counts.

    `sums` has shape (V, width). 0: the topics are alike.
    """
    value, totals = 0.0, np.zeros(n_topics)
    for begin in range(0, len(sums), _ROWS):
        counts = np.maximum(sums[begin : begin + _ROWS, :n_topics], 0).astype(np.float64)
        value += float(xlogy(counts, counts).sum())
        of_words = counts.sum(axis=1)
        value -= float(xlogy(of_words, of_words).sum())
        totals += counts.sum(axis=0)
    total = totals.sum()
    if total == 0:
        return 0.0
    value -= float(xlogy(totals, totals).sum())
    return float(max(0.0, value / total + np.log(total)))


def polya_growth(eta, sums, n_topics, less=0.0, n_words=None):
    """Return by what factor eta grows in a step towards the largest evidence of topics.

    Topics with Dirichlet(eta) on V words have the expected counts max(sums - less, 0), where sums
    has a row for each word, or for those of `n_words` that have counts. With the best lambda, eta +
    counts, the bound is the logarithm of a Dirichlet-multinomial; its fixed point (Minka 2000,
    equation 55) never lowers that.
    """
    rises, totals = 0.0, np.zeros(n_topics)
    n_words = len(sums) if n_words is None else n_words
    for begin in range(0, len(sums), _ROWS):
        counts = np.maximum(sums[begin : begin + _ROWS, :n_topics].astype(np.float64) - less, 0)
        rises += float((psi(counts + eta) - psi(eta)).sum())
        totals += counts.sum(axis=0)
    falls = n_words * float((psi(totals + n_words * eta) - psi(n_words * eta)).sum())
    if not (rises > 0 and falls > 0):
        return 1.0  # no counts
    return float(np.clip(eta * rises / falls, SMALLEST, LARGEST) / eta)
