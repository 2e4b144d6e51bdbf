"""Discrete components: families of distributions, their data as entries, the model that is fitted.

All families here are exponential: the log-probability of a sample under a component is linear in
the *terms* of the sample (its successes and failures, its counts, its categories one-hot), and so
the terms, summed with the responsibilities, are all that the M-step needs. Terms are sparse. Where
values are small integers, as they mostly are, a few features together have few different values:
each such combination is a row of a table, and a sample is one code for each group of features.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.special import betaln, gammaln, xlog1py, xlogy

from fastem._engine.statistics import Statistics
from fastem._kernels import discrete as kernel

__all__ = [
    "Binomial",
    "Block",
    "Categorical",
    "Contents",
    "DiscreteEM",
    "DiscreteParams",
    "Multinomial",
    "Poisson",
    "rows",
    "start",
]

_TABLE_BYTES = 16 << 10  # a table of codes and its sums together fill the first-level cache
_LARGEST_TABLE = 1 << 20  # with more, a sample's terms are listed one by one
_LARGEST_LEVEL = 255
_FEW_ROWS = 64  # whose terms are listed sooner than a table is made
_CHUNK_BYTES = 2 << 20  # responsibilities that are made at once


class DiscreteParams(NamedTuple):
    """Parameters of a mixture: the weights, and whatever the family's distributions have."""

    weights: np.ndarray  # (K,)
    values: np.ndarray  # (K, D), categorical (K, D, C)
    dtype: np.dtype = np.dtype(np.float64)  # of the data


# ---- families --------------------------------------------------------------------------------


def _ratio(part, whole):
    """Return part / whole, both (K, D); of all components together where one has nothing."""
    together = whole.sum(axis=0)
    everyone = part.sum(axis=0) / np.where(together > 0, together, 1)
    out = np.repeat(everyone[None], len(part), axis=0)
    return np.divide(part, whole, out=out, where=whole > 0)


def _log(values):
    with np.errstate(divide="ignore"):  # what never occurred has probability 0
        return np.log(values)


def _check_ones(sums):
    if np.any(np.abs(sums - 1) > 1e-6):
        worst = sums.flat[np.argmax(np.abs(sums - 1))]
        raise ValueError(f"probabilities_init must sum to 1 along the last axis, got {worst:.6g}")


class Binomial:
    """Successes in n trials; Bernoulli is n = 1. Terms: successes (D), failures (D)."""

    lists_zeros = True  # a value of 0 has terms

    def __init__(self, n_trials, prior=(0.0, 0.0)):
        self.n_trials, self.prior = np.asarray(n_trials, dtype=np.float64), prior
        self.shape = self.n_trials.shape  # of one component's parameters
        self.n_free = len(self.n_trials)  # of them, those that nothing determines
        self.n_terms = 2 * len(self.n_trials)

    def check_sums(self, values):
        """Raise ValueError if parameters that must sum to 1 do not: here none."""

    def cells(self, feature, value):
        """Return log C(n, x), and the terms that the values of some features have."""
        missing, n = np.isnan(value), self.n_trials[feature]
        x = np.where(missing, 0, value)
        constant = gammaln(n + 1) - gammaln(x + 1) - gammaln(n - x + 1)
        many = n > 1000  # of which the Gamma functions cancel
        constant[many] = -betaln((n - x)[many] + 1, x[many] + 1) - np.log1p(n[many])
        failures = np.where(missing, 0, n - x)
        terms = [(feature, x), (feature + len(self.n_trials), failures)]
        return np.where(missing, 0, constant), terms

    def weights(self, values):
        """Return the log-probability of one of each term, and of none at all."""
        with np.errstate(divide="ignore"):
            failure = np.log1p(-values)  # of rare successes in many trials, too
        return np.hstack([_log(values), failure]).T, np.zeros(len(values))

    def estimate(self, terms, resp):
        """Return the probabilities with the largest posterior density."""
        successes, failures = np.split(terms.T, 2, axis=1)
        a, b = self.prior
        return _ratio(successes + a, successes + failures + (a + b))

    def log_prior(self, values):
        """Return the logarithm of the Beta(1 + a, 1 + b) density, up to a constant."""
        a, b = self.prior
        return (xlogy(a, values) + xlog1py(b, -values)).sum()


class Poisson:
    """Counts. Terms: the counts (D), and 1 for a count that is missing (D)."""

    lists_zeros = False

    def __init__(self, n_features, prior=(0.0, 0.0)):
        self.n_features, self.prior = n_features, prior
        self.shape, self.n_free = (n_features,), n_features
        self.n_terms = 2 * n_features

    def check_sums(self, values):
        """Raise ValueError if parameters that must sum to 1 do not: here none."""

    def cells(self, feature, value):
        """Return -log x!, and the terms."""
        missing = np.isnan(value)
        x = np.where(missing, 0, value)
        return -gammaln(x + 1), [(feature, x), (feature + self.n_features, missing.astype(float))]

    def weights(self, values):
        """Return the log-probability of one of each term, and of none at all."""
        # What is missing gives back the exp(-rate) that all features are taken to have.
        return np.hstack([_log(values), values]).T, -values.sum(axis=1)

    def estimate(self, terms, resp):
        """Return the rates with the largest posterior density."""
        events, missing = np.split(terms.T, 2, axis=1)
        exposure = resp[:, None] - missing
        exposure[exposure < 1e-12 * resp[:, None]] = 0  # what rounding leaves of nothing
        a, b = self.prior
        return _ratio(events + a, exposure + b)

    def log_prior(self, values):
        """Return the logarithm of the Gamma(1 + a, rate b) density, up to a constant."""
        a, b = self.prior
        return (xlogy(a, values) - b * values).sum()


class Multinomial:
    """Counts given their total. Terms: the counts (D)."""

    lists_zeros = False

    def __init__(self, n_features, prior=0.0):
        self.n_terms, self.prior = n_features, prior
        self.shape, self.n_free = (n_features,), n_features - 1

    def check_sums(self, values):
        """Raise ValueError if probabilities do not sum to 1."""
        _check_ones(values.sum(axis=-1))

    def cells(self, feature, value):
        """Return -log x!, and the terms."""
        return -gammaln(value + 1), [(feature, value)]

    def weights(self, values):
        """Return the log-probability of one of each term, and of none at all."""
        return _log(values).T, np.zeros(len(values))

    def estimate(self, terms, resp):
        """Return the probabilities with the largest posterior density."""
        counts = terms.T + self.prior
        return _ratio(counts, np.repeat(counts.sum(axis=1)[:, None], counts.shape[1], axis=1))

    def log_prior(self, values):
        """Return the logarithm of the Dirichlet(1 + prior) density, up to a constant."""
        return xlogy(self.prior, values).sum()


class Categorical:
    """One of some categories in each feature. Terms: 1 for the category that occurred (sum C)."""

    lists_zeros = True

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

    def cells(self, feature, value):
        """Return zeros, and the terms."""
        missing = np.isnan(value)
        category = np.where(missing, 0, value).astype(np.int64)
        return np.zeros(len(value)), [(self.first[feature] + category, (~missing).astype(float))]

    def weights(self, values):
        """Return the log-probability of one of each term, and of none at all."""
        return _log(values[:, self.there]).T, np.zeros(len(values))

    def estimate(self, terms, resp):
        """Return the probabilities with the largest posterior density."""
        counts = terms.T + self.prior
        totals = np.add.reduceat(counts, self.first[:-1], axis=1)
        values = np.zeros((len(counts), *self.there.shape))
        values[:, self.there] = _ratio(counts, np.repeat(totals, self.n_categories, axis=1))
        return values

    def log_prior(self, values):
        """Return the logarithm of the Dirichlet(1 + prior) densities, up to a constant."""
        return xlogy(self.prior, values[:, self.there]).sum()


# ---- data ------------------------------------------------------------------------------------


class Contents(NamedTuple):
    """What each feature holds."""

    lowest: np.ndarray  # (D,) at most 0; NaN is left out
    highest: np.ndarray  # (D,) at least 0
    whole: np.ndarray  # (D,) whether all values are integers
    missing: np.ndarray  # (D,) whether some are NaN
    observed: np.ndarray  # (D,) how many are not, in rows of positive weight

    @classmethod
    def of(cls, X, sample_weight=None):
        """Look through X, dense or CSR."""
        if not sp.issparse(X):
            return cls(*kernel.inspect(np.require(X, requirements="A"), sample_weight))
        n, d = X.shape
        missing = np.isnan(X.data)
        lowest, highest = np.zeros(d), np.zeros(d)
        np.fmin.at(lowest, X.indices, X.data)
        np.fmax.at(highest, X.indices, X.data)
        positive = np.ones(n) if sample_weight is None else sample_weight > 0
        lost = np.repeat(positive, np.diff(X.indptr))[missing]
        observed = positive.sum() - np.bincount(X.indices[missing], weights=lost, minlength=d)
        whole = np.ones(d, dtype=bool)
        whole[X.indices[~missing & (X.data != np.floor(X.data))]] = False
        some = np.zeros(d, dtype=bool)
        some[X.indices[missing]] = True
        return cls(lowest, highest, whole, some, observed)


class Block(NamedTuple):
    """Some samples as entries: rows of a table with one row a code, or one row a term."""

    family: Any
    n_samples: int
    begin: np.ndarray | None  # (n + 1,) int64; None: all samples have as many entries
    rows: np.ndarray  # int32 rows of the table, end to end
    value: np.ndarray | None  # float64, or None for ones
    offset: np.ndarray | None  # (n,) float64: what is added to each log-probability
    terms: sp.csr_array | None  # (n_rows, n_terms) of each code; None: rows are the terms
    constant: np.ndarray | None  # (n_rows,) log-probability of the code beside its terms
    sample_weight: np.ndarray | None  # (n,) float64
    total_weight: float

    @classmethod
    def of(cls, family, X, sample_weight, n_components, contents=None):
        """Return the block of validated samples, dense or CSR."""
        contents = Contents.of(X) if contents is None else contents
        total = float(X.shape[0] if sample_weight is None else sample_weight.sum())
        few = X.shape[0] < _FEW_ROWS
        codes = None if few or sp.issparse(X) else _Codes.of(contents, n_components)
        if codes is not None:
            terms, constant = codes.table(family)
            entries = (None, codes.of_rows(X).reshape(-1), None)
            offset = None
        else:
            entries, offset = _list_terms(family, X)
            terms = constant = None
        if isinstance(family, Multinomial):
            totals = np.asarray(X.sum(axis=1, dtype=np.float64)).reshape(-1)
            offset = gammaln(totals + 1) + (0 if offset is None else offset)
        return cls(family, X.shape[0], *entries, offset, terms, constant, sample_weight, total)

    @property
    def n_rows(self):
        """Number of rows of the table."""
        return self.family.n_terms if self.terms is None else self.terms.shape[0]

    def table(self, params):
        """Return what each row of the table adds to the log-probabilities, and what all begin with.

        The shapes are (n_rows, K) and (K,).
        """
        table, bias = self.family.weights(params.values)
        if self.terms is not None and self.constant is not None:
            table = self.terms @ table + self.constant[:, None]
        return table, bias + _log(params.weights)

    def job(self, params):
        """Return the kernel's job for these parameters."""
        table, bias = self.table(params)
        return kernel.Job(
            self.begin, self.rows, self.value, self.offset, self.n_samples, table, bias
        )

    def term_sums(self, sums):
        """Return sums of terms (n_terms, K) from those of the table's rows."""
        return sums.copy() if self.terms is None else self.terms.T @ sums

    def matrix(self, first=0, last=None):
        """Return the entries of samples first to last as a CSR array (last - first, n_rows)."""
        last = self.n_samples if last is None else last
        if self.begin is None:
            begin = np.linspace(0, len(self.rows), self.n_samples + 1).astype(np.int64)
            begin = begin[first : last + 1]
        else:
            begin = self.begin[first : last + 1]
        there = slice(begin[0], begin[-1])
        rows = self.rows[there]
        ones = np.ones(len(rows)) if self.value is None else self.value[there]
        # Of another type than the rows' SciPy would copy both.
        begin = (begin - begin[0]).astype(np.int32 if len(rows) < 2**31 else np.int64)
        return sp.csr_array((ones, rows, begin), shape=(last - first, self.n_rows))

    def parts(self, n_columns=1):
        """Yield (first, last) of consecutive samples, few enough for their entries to be small."""
        widest = max(n_columns, len(self.rows) // max(1, self.n_samples))
        step = max(16, _CHUNK_BYTES // (8 * widest))
        for first in range(0, self.n_samples, step):
            yield first, min(first + step, self.n_samples)


class _Codes:
    """How values of consecutive features are joined to codes, digits of mixed radix."""

    def __init__(self, levels, missing, limit):
        self.levels, radix = levels, levels + missing
        group, stride = [], []
        sizes: list[int] = []
        for r in radix.tolist():
            if not sizes or sizes[-1] * r > limit:
                sizes.append(1)
            group.append(len(sizes) - 1)
            stride.append(sizes[-1])
            sizes[-1] *= r
        self.group, self.stride = np.array(group, np.int32), np.array(stride, np.int32)
        self.radix, self.sizes = radix, np.array(sizes)
        self.first = np.concatenate([[0], np.cumsum(sizes)])

    @classmethod
    def of(cls, contents, n_components):
        """Return the codes that suit the data, or None where the table would be large."""
        if not contents.whole.all() or contents.highest.max() > _LARGEST_LEVEL:
            return None
        levels, missing = contents.highest.astype(np.int64) + 1, contents.missing
        row = 8 * kernel.width(n_components)
        if row * (levels + missing).sum() > _LARGEST_TABLE:
            return None
        # As long as the table stays in the cache, larger groups are fewer additions.
        limit = 256
        codes = cls(levels, missing, limit)
        while limit > 1 and row * codes.first[-1] > _TABLE_BYTES:
            limit //= 2
            codes = cls(levels, missing, limit)
        return codes

    def table(self, family):
        """Return the terms (n_rows, n_terms) and the constant (n_rows,) of all codes."""
        lengths = self.sizes[self.group]
        feature = np.repeat(np.arange(len(self.group)), lengths)
        code = np.arange(len(feature)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        digit = code // self.stride[feature] % self.radix[feature]
        value = np.where(digit < self.levels[feature], digit, np.nan)
        constant, parts = family.cells(feature, value)
        row = self.first[self.group[feature]] + code
        shape = self.first[-1], family.n_terms
        constant = np.bincount(row, weights=constant, minlength=shape[0])
        return _csr([(row, *part) for part in parts], shape), constant

    def of_rows(self, X):
        """Return the codes (n, G) of the samples."""
        codes = np.empty((len(X), len(self.sizes)), dtype=np.int32)
        kernel.encode(
            np.require(X, requirements="A"),
            self.group,
            self.stride,
            self.levels.astype(np.int32),
            self.first[:-1].astype(np.int32),
            codes,
        )
        return codes


def _csr(parts, shape):
    """Return the CSR array of (row, column, value) triples, those of value 0 left out."""
    row, column, value = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    there = value != 0
    return sp.csr_array((value[there], (row[there], column[there])), shape=shape)


def _list_terms(family, X):
    """Return (begin, index, value) of the terms of X, dense or CSR, and each row's constant."""
    n = X.shape[0]
    size = X.nnz if sp.issparse(X) else X.size
    step = max(1, _CHUNK_BYTES * n // (8 * max(1, size)))
    parts = [_some_terms(family, X[first : first + step]) for first in range(0, n, step)]
    lengths, *lists = zip(*parts, strict=True)
    parts.clear()  # the lists are the last to hold each array while they become one
    begin = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
    index, value, offset = (_joined(lists) for _ in range(3))
    return (begin, index, value), offset


def _joined(lists):
    """Return the arrays of the first list as one, and let go of them."""
    return np.concatenate(lists.pop(0))


def _some_terms(family, X):
    """Return of a few rows the number of terms of each, the terms' index and value, constants."""
    if sp.issparse(X):
        row, feature = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr)), X.indices
        value = X.data
    elif family.lists_zeros:
        row, feature = (a.reshape(-1) for a in np.indices(X.shape))
        value = X.reshape(-1)
    else:
        row, feature = np.nonzero(X)
        value = X[row, feature]
    constant, parts = family.cells(feature, value.astype(np.float64))
    # Of no entries at all the bincount is integers.
    offset = np.bincount(row, weights=constant, minlength=X.shape[0]).astype(np.float64, copy=False)
    terms = _csr([(row, *part) for part in parts], (X.shape[0], family.n_terms))
    return np.diff(terms.indptr), terms.indices.astype(np.int32), terms.data, offset


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
        # Log-probabilities are small differences of terms as large as the counts times their
        # logarithms: of large ones, what rounding leaves is more than the driver allows for.
        self.bound_may_fall = bool(most > 1e6)

    def e_step(self, params: DiscreteParams, block: Block) -> Statistics:
        """Return the bound, the components' total responsibilities and their summed terms."""
        bound, resp, sums = kernel.sums(block.job(params), block.sample_weight, self.n_threads)
        return Statistics(
            bound=bound, weight=block.total_weight, resp=resp, terms=block.term_sums(sums)
        )

    def m_step(self, statistics: Statistics) -> DiscreteParams:
        """Return the parameters with the largest expected log-posterior."""
        weights = self.fixed_weights
        if weights is None:
            weights = statistics.resp + self.weight_prior
            weights = weights / weights.sum()
        values = self.family.estimate(statistics.terms, statistics.resp)
        return DiscreteParams(weights, values, self.dtype)

    def log_prior(self, params: DiscreteParams) -> float:
        """Return the logarithm of the prior density, up to a constant; 0 without a prior."""
        value = self.family.log_prior(params.values)
        if self.fixed_weights is None:
            value += xlogy(self.weight_prior, params.weights).sum()
        return float(value)


def rows(params, block, output, n_threads):
    """Return 'labels', 'log_prob' or 'responsibilities' of each sample."""
    n, k = block.n_samples, len(params.weights)
    array: np.ndarray = np.empty(
        (n, k) if output == "responsibilities" else n,
        dtype=np.int64 if output == "labels" else np.float64,
    )
    outputs = {"log_prob": None, "responsibilities": None, "labels": None, output: array}
    kernel.rows(block.job(params), **outputs, n_threads=n_threads)
    return array


def start(method, model, block, n_components, random_state) -> DiscreteParams:
    """Return the first parameters by one of the methods.

    Parameters
    ----------
    method : {'random_from_data', 'random'}
        Each component lies somewhere between a sample of its own and the mean of all; or
        responsibilities are random.
    model : DiscreteEM
    block : Block
    n_components : int
    random_state : RandomState
    """
    weight = block.sample_weight
    share = np.full(block.n_samples, 1 / block.total_weight)
    share = share if weight is None else share * weight
    if method == "random_from_data":
        picked = random_state.choice(
            block.n_samples, n_components, replace=False, p=None if weight is None else share
        )
        nearness = random_state.uniform(0.25, 0.75, n_components)
        sums = np.vstack([block.matrix(i, i + 1).toarray() for i in picked.tolist()]).T * nearness
        everyone = np.zeros(block.n_rows)
        for first, last in block.parts():
            everyone += block.matrix(first, last).T @ share[first:last]
        sums += everyone[:, None] * (1 - nearness)
        resp = np.ones(n_components)
    else:
        sums, resp = np.zeros((block.n_rows, n_components)), np.zeros(n_components)
        for first, last in block.parts(n_components):
            given = random_state.uniform(size=(last - first, n_components))
            given *= (share[first:last] / given.sum(axis=1))[:, None]
            sums += block.matrix(first, last).T @ given
            resp += given.sum(axis=0)
    return model.m_step(Statistics(bound=0.0, weight=1.0, resp=resp, terms=block.term_sums(sums)))
