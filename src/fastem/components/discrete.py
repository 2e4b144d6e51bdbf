"""Discrete components: families of distributions, and the model that is fitted.

All families here are exponential: the log-probability of a sample under a component is linear in
the *terms* of the sample (its successes and failures, its counts, its categories one-hot), and so
the terms, summed with the responsibilities, are all that the M-step needs. How samples are stored
is in codes.py.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.special import betaln, gammaln, xlog1py, xlogy

from fastem._engine.statistics import Statistics
from fastem._kernels import discrete as kernel
from fastem.components.codes import CodedBlock, Contents, Counts, Lists
from fastem.components.dirichlet import is_none, log_dirichlet, with_pseudo_counts
from fastem.components.points import as_csr, points_of

__all__ = [
    "Binomial",
    "Categorical",
    "CodedBlock",
    "Contents",
    "DiscreteEM",
    "DiscreteParams",
    "Multinomial",
    "Poisson",
    "rows",
]


_PART_BYTES = 2 << 20  # size of the temporary arrays of some rows
_DENSE = 0.1  # share of counts above 0 from which all are read
_LEFT = 1e-14  # share of a sum that subtraction leaves of nothing
MOST_IN_BYTE = 255


class DiscreteParams(NamedTuple):
    """Parameters of a mixture: the weights, and whatever the family's distributions have."""

    weights: np.ndarray | None  # (K,); None beneath another structure: they count as 1
    values: np.ndarray  # (K, D), categorical (K, D, C)
    dtype: np.dtype = np.dtype(np.float64)  # of the data


# ---- families --------------------------------------------------------------------------------


def _ratio(part, whole, nothing=0.0):
    """Return part / whole, (K, D); of all components together where one has nothing.

    Where none has anything, it is `nothing`.
    """
    if np.minimum.reduce(whole, axis=None) > 0:
        return part / whole
    whole = np.broadcast_to(whole, part.shape)
    together = whole.sum(axis=0)
    everyone = part.sum(axis=0) / np.where(together > 0, together, 1)
    everyone = np.where(together > 0, everyone, nothing)
    out = np.repeat(everyone[None], len(part), axis=0)
    return np.divide(part, whole, out=out, where=whole > 0)


def _check_ones(sums):
    if np.any(np.abs(sums - 1) > 1e-6):
        worst = sums.flat[np.argmax(np.abs(sums - 1))]
        raise ValueError(f"probabilities_init must sum to 1 along the last axis, got {worst:.6g}")


def _as_they_are(X):
    """Return a few counts as numbers, and their factorials' logarithms."""
    x = X.astype(np.float64, order="C", copy=False)
    return Counts(x, False), -gammaln(x + 1).sum(axis=1)


def _numbers(X, largest):
    """Return counts, none of which is missing, as numbers, and constants unless the numbers tell.

    None if next to all are 0, where it is faster to list the others.
    """
    if largest > MOST_IN_BYTE:
        if np.count_nonzero(X) < _DENSE * X.size:
            return None
        values = np.ascontiguousarray(X, dtype=np.float64)
        step = max(16, _PART_BYTES // (8 * X.shape[1]))
        parts = (values[first : first + step] for first in range(0, len(X), step))
        return Counts(values, False), np.concatenate([-gammaln(x + 1).sum(axis=1) for x in parts])
    small = X.astype(np.uint8, order="C")
    if np.count_nonzero(small) < _DENSE * X.size:
        return None
    factorials = -gammaln(np.arange(MOST_IN_BYTE + 1) + 1)
    return Counts(small, False, factorials[None]), None


class Binomial:
    """Successes in n trials; Bernoulli is n = 1. Terms: successes (D), failures (D)."""

    lists_zeros = True  # a value of 0 has terms
    given_total = False  # whether the distribution is that of counts given their total

    def __init__(self, n_trials, prior=(0.0, 0.0)):
        self.n_trials, self.prior = np.asarray(n_trials, dtype=np.float64), prior
        self.shape = self.n_trials.shape  # shape of one component's parameters
        self.n_free = len(self.n_trials)  # number of free parameters of one component
        self.n_terms = 2 * len(self.n_trials)
        self.binary = bool(np.all(self.n_trials == 1))  # whether data may be stored as bits

    def check_sums(self, values):
        """Raise ValueError if parameters that must sum to 1 do not: here none."""

    def points(self, X):
        """Return the samples where squared distances suit them: of equal variance everywhere."""
        if self.binary:  # there this only scales
            return points_of(X, lambda x, feature: x)
        n = self.n_trials
        return points_of(
            X, lambda x, feature: 2 * np.sqrt(n[feature]) * np.arcsin(np.sqrt(x / n[feature]))
        )

    def cells(self, feature, value):
        """Return log C(n, x), and the terms that the values of some features have."""
        missing, n = np.isnan(value), self.n_trials[feature]
        x = np.where(missing, 0, value)
        constant = gammaln(n + 1) - gammaln(x + 1) - gammaln(n - x + 1)
        many = n > 1000  # for these the differences of log-Gamma functions lose digits
        constant[many] = -betaln((n - x)[many] + 1, x[many] + 1) - np.log1p(n[many])
        failures = np.where(missing, 0, n - x)
        terms = [(feature, x), (feature + len(self.n_trials), failures)]
        return np.where(missing, 0, constant), terms

    def few(self, X, complete):
        """Return a few samples with their terms written out, and each one's constant."""
        x = X.astype(np.float64, copy=False)
        failures = self.n_trials - x
        constant = None
        if not self.binary:
            feature = np.tile(np.arange(X.shape[1]), len(X))
            constant = self.cells(feature, x.reshape(-1))[0].reshape(X.shape).sum(axis=1)
        if not complete:
            missing = np.isnan(x)
            x, failures = np.where(missing, 0, x), np.where(missing, 0, failures)
        return Counts(np.concatenate([x, failures], axis=1), True), constant

    def counts(self, X, largest):
        """Return samples without missing values as numbers, and None; None alone: not so."""
        if self.n_trials.max() > MOST_IN_BYTE or largest > MOST_IN_BYTE:
            return None
        x = np.arange(self.n_trials.max() + 1)
        n = self.n_trials[:, None]
        choose = gammaln(n + 1) - gammaln(x + 1) - gammaln(np.maximum(n - x, 0) + 1)
        values = X.astype(np.uint8, order="C")
        return Counts(values, False, choose), None

    def only(self, values):
        """Return where a component allows one value alone, (m, 3): feature, component, value."""
        component, feature = np.nonzero(values == 1)
        if len(feature) == 0:
            return None
        return np.stack([feature, component, self.n_trials[feature]], axis=1).astype(np.float64)

    def linear(self, values, n_threads=1):
        """Return the change of the log-probability by each success, and that of none at all."""
        success, failure = (
            kernel.log_table(values, n_threads=n_threads),
            kernel.log_table(values, failures=True, n_threads=n_threads),
        )
        failure[np.isneginf(failure)] = 0  # see only()
        return success - failure, self.n_trials @ failure[:, : len(values)]

    def terms_of_sums(self, sums, resp):
        """Return terms from sums of successes."""
        trials = self.n_trials[:, None] * resp
        failures = trials - sums
        failures[failures < _LEFT * trials] = 0  # a rounding error, where all succeeded
        return np.vstack([sums, failures])

    def weights(self, values, n_threads=1):
        """Return the log-probability of one of each term, and of none at all."""
        k, d = values.shape
        table = np.empty((2 * d, kernel.width(k)))
        kernel.log_table(values, table=table[:d], n_threads=n_threads)
        kernel.log_table(values, failures=True, table=table[d:], n_threads=n_threads)
        return table, np.zeros(k)

    def estimate(self, terms, resp):
        """Return the probabilities with the largest posterior density."""
        d, (a, b) = len(self.n_trials), self.prior
        successes, failures = terms[:d].T, terms[d:].T
        if not (is_none(a) and is_none(b)):
            successes, failures = successes + a, failures + b
        return _ratio(successes, successes + failures)

    def log_prior(self, values):
        """Return the logarithm of the Beta(1 + a, 1 + b) density, up to a constant."""
        a, b = self.prior
        if is_none(a) and is_none(b):
            return 0.0
        return (xlogy(a, values) + xlog1py(b, -values)).sum()


class Poisson:
    """Counts. Terms: the counts (D), and 1 for a count that is missing (D)."""

    lists_zeros = binary = False
    given_total = False

    def __init__(self, n_features, prior=(0.0, 0.0)):
        self.n_features, self.prior = n_features, prior
        self.shape, self.n_free = (n_features,), n_features
        self.n_terms = 2 * n_features

    def check_sums(self, values):
        """Raise ValueError if parameters that must sum to 1 do not: here none."""

    def points(self, X):
        """Return the samples where squared distances suit them: of equal variance everywhere."""
        origin = np.sqrt(3 / 8)  # Anscombe (1948), less what 0 becomes: sparse data stay sparse
        return points_of(X, lambda x, feature: np.sqrt(x + 3 / 8) - origin)

    def cells(self, feature, value):
        """Return -log x!, and the terms."""
        missing = np.isnan(value)
        x = np.where(missing, 0, value)
        return -gammaln(x + 1), [(feature, x), (feature + self.n_features, missing.astype(float))]

    def few(self, X, complete):
        """Return a few samples with their terms written out, and each one's constant."""
        if complete:
            return _as_they_are(X)
        missing = np.isnan(X)
        x = np.where(missing, 0, X).astype(np.float64)
        return Counts(np.hstack([x, missing]), True), -gammaln(x + 1).sum(axis=1)

    def counts(self, X, largest):
        """Return samples without missing values as _numbers() does."""
        return _numbers(X, largest)

    def only(self, values):
        """Return None: no component allows one value alone, but 0."""

    def linear(self, values, n_threads=1):
        """Return the change of the log-probability by each event, and that of none at all."""
        return kernel.log_table(values, n_threads=n_threads), -np.add.reduce(values, axis=1)

    def terms_of_sums(self, sums, resp):
        """Return terms from sums of counts."""
        terms = np.zeros((2 * len(sums), len(resp)))
        terms[: len(sums)] = sums
        return terms

    def weights(self, values, n_threads=1):
        """Return the log-probability of one of each term, and of none at all."""
        # The constant has exp(-rate) of every feature; the term of a missing count cancels it.
        table = np.zeros((self.n_terms, kernel.width(len(values))))
        table[: self.n_features] = kernel.log_table(values, n_threads=n_threads)
        table[self.n_features :, : len(values)] = values.T
        return table, -values.sum(axis=1)

    def estimate(self, terms, resp):
        """Return the rates with the largest posterior density."""
        d = self.n_features
        events, exposure, lost = terms[:d].T, resp[:, None], terms[d:].T
        if lost.any():
            exposure = exposure - lost
            # a rounding error, where nothing was observed
            exposure[exposure < 1e-12 * resp[:, None]] = 0
        a, b = self.prior
        if not (is_none(a) and is_none(b)):
            events, exposure = events + a, exposure + b
        return _ratio(events, exposure)

    def log_prior(self, values):
        """Return the logarithm of the Gamma(1 + a, rate b) density, up to a constant."""
        a, b = self.prior
        return 0.0 if is_none(a) and is_none(b) else (xlogy(a, values) - b * values).sum()


class Multinomial:
    """Counts given their total. Terms: the counts (D)."""

    lists_zeros = binary = False
    given_total = True

    def __init__(self, n_features, prior=0.0):
        self.n_terms, self.prior = n_features, prior
        self.shape, self.n_free = (n_features,), n_features - 1

    def check_sums(self, values):
        """Raise ValueError if probabilities do not sum to 1."""
        _check_ones(values.sum(axis=-1))

    def points(self, X):
        """Return the samples where squared distances suit them: roots of shares (Hellinger)."""
        totals = np.asarray(X.sum(axis=1, dtype=np.float64)).reshape(-1)
        scale = np.sqrt(np.where(totals > 0, totals, 1))
        points = points_of(X, lambda x, feature: np.sqrt(x))
        if sp.issparse(points):
            points.data /= np.repeat(scale, np.diff(points.indptr)).astype(np.float32)
        else:
            points /= scale[:, None].astype(np.float32)
        return points

    def cells(self, feature, value):
        """Return -log x!, and the terms."""
        return -gammaln(value + 1), [(feature, value)]

    def few(self, X, complete):
        """Return a few samples as they are, and each one's constant."""
        return _as_they_are(X)

    def counts(self, X, largest):
        """Return samples as _numbers() does."""
        return _numbers(X, largest)

    def only(self, values):
        """Return None: no component allows one value alone, but 0."""

    def terms_of_sums(self, sums, resp):
        """Return terms from sums of counts."""
        return sums.copy()

    def weights(self, values, n_threads=1):
        """Return the log-probability of one of each term, and of none at all."""
        return kernel.log_table(values, n_threads=n_threads), np.zeros(len(values))

    linear = weights

    def estimate(self, terms, resp):
        """Return the probabilities with the largest posterior density."""
        counts = with_pseudo_counts(terms.T, self.prior)
        totals = counts.sum(axis=1)[:, None]
        return _ratio(counts, totals, 1 / self.n_terms)

    def log_prior(self, values):
        """Return the logarithm of the Dirichlet(1 + prior) density, up to a constant."""
        return log_dirichlet(self.prior, values)


class Categorical:
    """One of some categories in each feature. Terms: 1 for the category that occurred (sum C)."""

    lists_zeros = True
    given_total = binary = False

    def __init__(self, n_categories, prior=0.0):
        self.n_categories, self.prior = np.asarray(n_categories), prior
        self.first = np.concatenate([[0], np.cumsum(self.n_categories)])
        self.n_terms = int(self.first[-1])
        # Categories that a feature lacks have probability 0.
        self.there = np.arange(self.n_categories.max()) < self.n_categories[:, None]
        self.shape, self.n_free = self.there.shape, self.n_terms - len(self.n_categories)

    def check_sums(self, values):
        """Raise ValueError if probabilities of categories that a feature has do not sum to 1."""
        _check_ones((values * self.there).sum(axis=-1))

    def points(self, X):
        """Return the samples where squared distances suit them: categories one-hot, as CSR."""
        missing = np.isnan(X)
        category = np.where(missing, 0, X).astype(np.int64)
        column = (self.first[:-1] + category).reshape(-1)
        row = np.repeat(np.arange(len(X)), X.shape[1])
        value = (~missing).reshape(-1).astype(np.float32)
        if missing.any():  # shares of the categories among the others stand in
            share = np.bincount(column, weights=value, minlength=self.n_terms)
            total = np.add.reduceat(share, self.first[:-1])
            share = share / np.repeat(np.where(total > 0, total, 1), self.n_categories)
            lost, feature = np.nonzero(missing)
            wide = self.n_categories[feature]
            within = np.arange(wide.sum()) - np.repeat(np.cumsum(wide) - wide, wide)
            more = np.repeat(self.first[feature], wide) + within
            row, column = np.append(row, np.repeat(lost, wide)), np.append(column, more)
            value = np.append(value, share[more].astype(np.float32))
        shape = len(X), self.n_terms
        return as_csr(row, column, value, shape)

    def cells(self, feature, value):
        """Return zeros, and the terms."""
        missing = np.isnan(value)
        category = np.where(missing, 0, value).astype(np.int64)
        return np.zeros(len(value)), [(self.first[feature] + category, (~missing).astype(float))]

    def few(self, X, complete):
        """Return a few samples as the terms that occur, if none is missing."""
        if not complete:
            return None
        index = X.astype(np.int32, order="C")
        index += self.first[:-1].astype(np.int32)
        return Lists(None, index, None, self.n_terms), None

    def counts(self, X, largest):
        """Return None: categories are no numbers."""

    def weights(self, values, n_threads=1):
        """Return the log-probability of one of each term, and of none at all."""
        own = values.reshape(len(values), -1)
        if len(own.T) > self.n_terms:
            own = own[:, self.there.reshape(-1)]
        return kernel.log_table(own, n_threads=n_threads), np.zeros(len(values))

    def estimate(self, terms, resp):
        """Return the probabilities with the largest posterior density."""
        counts = with_pseudo_counts(terms.T, self.prior)
        if self.n_terms == self.there.size:  # all features have as many categories
            shares = counts.reshape(len(counts), *self.shape)
            totals = shares.sum(axis=2, keepdims=True)
            if totals.min() > 0:
                return shares / totals
        totals = np.add.reduceat(counts, self.first[:-1], axis=1)
        values = np.zeros((len(counts), *self.there.shape))
        totals = np.repeat(totals, self.n_categories, axis=1)
        equal = np.repeat(1 / self.n_categories, self.n_categories)
        values[:, self.there] = _ratio(counts, totals, equal)
        return values

    def log_prior(self, values):
        """Return the logarithm of the Dirichlet(1 + prior) densities, up to a constant."""
        return 0.0 if is_none(self.prior) else log_dirichlet(self.prior, values[:, self.there])


# ---- the model -------------------------------------------------------------------------------


class DiscreteEM:
    """E-step and M-step of a mixture of a family (see :class:`fastem.em.Model`).

    Parameters
    ----------
    family : Binomial, Poisson, Multinomial or Categorical
    weight_prior : float
        Pseudo-count of each component.
    fixed_weights : ndarray of shape (K,) or None
        Weights that the M-step leaves alone.
    n_threads : int
    dtype : dtype, default=float64
        Of the data; parameters are float64.
    most : float, default=0.0
        The largest count of the data.
    """

    def __init__(
        self,
        family,
        weight_prior=0.0,
        fixed_weights=None,
        n_threads=1,
        dtype=np.float64,
        most=0.0,
    ):
        self.family, self.weight_prior, self.dtype = family, weight_prior, np.dtype(dtype)
        self.fixed_weights, self.n_threads = fixed_weights, n_threads
        most = max(most, family.n_trials.max() if isinstance(family, Binomial) else 0.0)
        # Log-probabilities are small differences of terms that are as large as the counts times
        # their logarithms. For large counts, the rounding error is more than the driver allows for.
        self.bound_may_fall = bool(most > 1e6)

    def e_step(self, params: DiscreteParams, block: CodedBlock) -> Statistics:
        """Return the bound, the components' total responsibilities and their summed terms."""
        bound, resp, sums = kernel.sums(
            block.job(params, self.n_threads), block.sample_weight, self.n_threads
        )
        terms = block.term_sums(sums, resp)
        return Statistics(bound=bound, weight=block.total_weight, resp=resp, terms=terms)

    def m_step(self, statistics: Statistics) -> DiscreteParams:
        """Return the parameters with the largest expected log-posterior."""
        weights = self.fixed_weights
        if weights is None:
            weights = statistics.resp + self.weight_prior
            weights = weights / np.add.reduce(weights)
        values = self.family.estimate(statistics.terms, statistics.resp)
        return DiscreteParams(weights, values, self.dtype)

    def log_prior(self, params: DiscreteParams) -> float:
        """Return the logarithm of the prior density, up to a constant; 0 without a prior."""
        value = self.family.log_prior(params.values)
        if self.fixed_weights is None and self.weight_prior:
            value += xlogy(self.weight_prior, params.weights).sum()
        return float(value)


def rows(params, block, output, n_threads):
    """Return 'labels', 'log_prob' or 'responsibilities' of each sample."""
    n, k = block.n_samples, len(params.weights)
    array: np.ndarray = np.empty(
        (n, k) if output == "responsibilities" else n,
        dtype=np.int64 if output == "labels" else np.float64,
    )
    kernel.rows(block.job(params), output, array, n_threads)
    return array
