"""How the kernel stores discrete samples: all forms give what the terms say, -inf exactly."""

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp

from fastem._kernels import chain
from fastem._kernels import discrete as kernel
from fastem.components.codes import Bits, CodedBlock, Codes, Contents, Counts, Lists
from fastem.components.discrete import (
    Binomial,
    Categorical,
    DiscreteEM,
    DiscreteParams,
    Multinomial,
    Poisson,
    rows,
)

pytestmark = pytest.mark.usefixtures("every_instruction_set")

#: Form, family, D, K, n, share of missing values, type of a value.
CASES = {
    "bits": (Bits, "bernoulli", 20, 5, 1003, 0),
    "bits, one column, one component": (Bits, "bernoulli", 1, 1, 97, 0),
    "bits in many words and panels": (Bits, "bernoulli", 300, 77, 205, 0),
    "bits that are missing": (Bits, "bernoulli", 70, 9, 300, 0.1),
    "bytes": (Counts, "binomial", 50, 20, 517, 0),
    "bytes of few features": (Counts, "poisson", 17, 3, 600, 0),
    "bytes in many panels": (Counts, "multinomial", 130, 70, 333, 0),
    "doubles": (Counts, "large", 33, 11, 150, 0),
    "few samples": (Counts, "binomial", 6, 3, 19, 0.2),
    "codes": (Codes, "categorical", 40, 6, 700, 0.05),
    "codes of many categories": (Codes, "many", 12, 33, 400, 0),
    "codes of counts": (Codes, "poisson", 24, 4, 300, 0.1),
    "one code": (Lists, "categorical", 2, 4, 300, 0.1),
    "lists": (Lists, "large", 8, 10, 150, 0.1),
    "sparse lists": (Lists, "sparse", 400, 19, 200, 0),
    "sums by component": (Lists, "sparse", 7000, 77, 60, 0),
    "sums by component, in rounds": (Lists, "sparse", 200, 3000, 1500, 0),
}
every_case = pytest.mark.parametrize("name", CASES)


def case(name):
    """Return the family, data and parameters with probabilities of 0 and 1, and a block."""
    form, kind, d, k, n, missing = CASES[name]
    rng = np.random.default_rng(7)
    if kind in ("bernoulli", "binomial"):
        trials = np.ones(d) if kind == "bernoulli" else rng.integers(1, 9, d)
        family, values = Binomial(trials), rng.uniform(0.05, 0.95, (k, d))
        X = rng.binomial(trials.astype(int), values[rng.integers(k, size=n)]).astype(float)
        X[:, 0], values[0, 0] = trials[0], 1.0
        X[: n // 2, -1], values[-1, -1] = 0.0, 0.0
    elif kind in ("categorical", "many"):
        c = 4 if kind == "categorical" else 200
        family, values = Categorical(np.full(d, c)), rng.dirichlet(np.ones(c), (k, d))
        X = rng.integers(0, c, (n, d)).astype(float)
        X[0], X[1:, 0] = c - 1, 1.0
        values[0, 0, 0] = 0.0
    else:
        size = 900.0 if kind == "large" else 3.0
        family = (Multinomial if kind in ("multinomial", "sparse") else Poisson)(d)
        values = rng.uniform(0.1, 1.0, (k, d)) * size
        X = rng.poisson(values[rng.integers(k, size=n)]).astype(float)
        if kind in ("multinomial", "sparse"):
            values /= values.sum(axis=1, keepdims=True)
            X *= rng.random(X.shape) < (0.05 if kind == "sparse" else 0.9)
        X[: n // 2, -1], values[-1, -1] = 0.0, 0.0
    X[rng.random(X.shape) < missing] = np.nan
    weights = rng.dirichlet(np.ones(k))
    block = CodedBlock.of(family, sp.csr_array(X) if kind == "sparse" else X, None, k)
    assert isinstance(block.data, form)
    return family, X, DiscreteParams(weights, values), block


def expected(family, X, params):
    """Return log-probabilities (n, K) with the weights, and the samples' terms, (n, n_terms)."""
    n, d = X.shape
    feature = np.tile(np.arange(d), n)
    constant, parts = family.cells(feature, X.reshape(-1))
    terms = np.zeros((n, family.n_terms))
    for column, value in parts:
        np.add.at(terms, (np.repeat(np.arange(n), d), column), value)
    table, bias = family.weights(params.values)
    table = table[:, : len(params.weights)]
    impossible = terms @ np.isneginf(table) > 0
    log_prob = terms @ np.where(np.isneginf(table), 0, table) + bias + np.log(params.weights)
    log_prob += constant.reshape(n, d).sum(axis=1)[:, None]
    if family.given_total:
        log_prob += np.array([np.log(np.arange(1, total + 1)).sum() for total in X.sum(axis=1)])[
            :, None
        ]
    return np.where(impossible, -np.inf, log_prob), terms


@every_case
def test_rows_and_sums_are_those_of_the_terms(name):
    family, X, params, block = case(name)
    log_prob, terms = expected(family, X, params)
    total = logsumexp(log_prob, axis=1)
    with np.errstate(invalid="ignore"):
        r = np.where(np.isneginf(total)[:, None], 0, np.exp(log_prob - total[:, None]))
    assert_allclose(rows(params, block, "log_prob", 1), total, rtol=1e-11, atol=1e-11)
    assert_allclose(rows(params, block, "responsibilities", 1), r, rtol=1e-9, atol=1e-12)
    assert_array_equal(rows(params, block, "labels", 1), r.argmax(axis=1))
    weight = np.random.default_rng(1).integers(0, 3, len(X)).astype(float)
    weight[np.isneginf(total)] = 0
    weighted = block._replace(sample_weight=weight)
    found = DiscreteEM(family).e_step(params, weighted)
    r *= weight[:, None]
    assert_allclose(found.resp, r.sum(axis=0), rtol=1e-11, atol=1e-11)
    assert_allclose(found.terms, terms.T @ r, rtol=1e-10, atol=1e-9)
    assert_allclose(found.bound, weight[weight > 0] @ total[weight > 0], rtol=1e-11)


@every_case
def test_given_responsibilities(name):
    """Labels, and arrays of some rows; as a chain gives them, in pieces that begin anywhere."""
    family, X, params, block = case(name)
    k, terms = len(params.weights), expected(family, X, params)[1]
    rng = np.random.default_rng(2)
    labels = rng.integers(-1, k, len(X))
    r = (labels[:, None] == np.arange(k)) * 2.0
    resp, found = block.given(labels, np.full(len(X), 2.0), k, 1)
    assert_allclose(resp, r.sum(axis=0))
    assert_allclose(found, terms.T @ r, atol=1e-9)
    first = len(X) // 3
    r = rng.random((len(X) - first, k))
    resp, found = block.given(r, None, k, 1, first)
    assert_allclose(resp, r.sum(axis=0), rtol=1e-12)
    assert_allclose(found, terms[first:].T @ r, rtol=1e-10, atol=1e-9)
    emission = kernel.Emission(block.job(params))
    r = rng.random((len(X), k))
    resp, sums = emission.unpack(chain.given(emission, r))
    assert_allclose(resp, r.sum(axis=0), rtol=1e-12)
    assert_allclose(block.term_sums(sums, resp), terms.T @ r, rtol=1e-10, atol=1e-9)
    out = np.empty((len(X), k))
    chain.log_prob(emission, out)
    assert_allclose(out, expected(family, X, params)[0], rtol=1e-11, atol=1e-11)


@every_case
def test_some_samples_are_read_as_in_company(name):
    _, X, params, block = case(name)
    first, last = 3, len(X) - 2
    some = rows(params, block.samples(first, last), "log_prob", 1)
    assert_allclose(some, rows(params, block, "log_prob", 1)[first:last], rtol=1e-12)
    labels = np.random.default_rng(0).integers(2, size=len(X))
    left = np.where((np.arange(len(X)) < first) | (np.arange(len(X)) >= last), -1, labels)
    resp, terms = block.samples(first, last).given(labels[first:last].copy(), None, 2, 1)
    assert_array_equal(resp, np.bincount(labels[first:last], minlength=2))
    assert_allclose(terms, block.given(left, None, 2, 1)[1], rtol=1e-12)


@every_case
def test_threads_do_not_change_a_bit(name):
    family, X, params, _ = case(name)
    X = np.tile(X, (2 if family.n_terms > 1000 or len(params.weights) > 100 else 40, 1))
    X = sp.csr_array(X) if CASES[name][1] == "sparse" else X
    block = CodedBlock.of(family, X, None, len(params.weights))
    one, two, three = (DiscreteEM(family, n_threads=t).e_step(params, block) for t in (1, 2, 3))
    for other in (two, three):
        assert one.bound == other.bound
        assert_array_equal(one.terms, other.terms)


def test_what_always_occurs_has_probability_1():
    """Failures are what is left of all: of nothing, nothing is left, whatever was rounded."""
    rng = np.random.default_rng(0)
    X = (rng.random((3001, 40)) < 0.5).astype(float)
    X[:, 7], X[:, 33] = 1.0, 0.0
    for family, trials in ((Binomial(np.ones(40)), 1), (Binomial(np.full(40, 5)), 5)):
        values = rng.uniform(0.1, 0.9, (6, 40))
        block = CodedBlock.of(family, X * trials, rng.uniform(0, 1, 3001), 6)
        model = DiscreteEM(family)
        params = DiscreteParams(np.full(6, 1 / 6), values)
        for _ in range(3):
            params = model.m_step(model.e_step(params, block))
            assert_array_equal(params.values[:, 7], 1.0)
            assert_array_equal(params.values[:, 33], 0.0)
        assert params.values.max() <= 1.0
        broken = X[:70].copy() * trials
        broken[3, 7] = 0.0
        found = rows(params, CodedBlock.of(family, broken, None, 6), "log_prob", 1)
        assert np.isneginf(found[3])
        assert np.all(np.isfinite(np.delete(found, 3)))


def test_logarithms_are_numpy_s():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.random(500), 10.0 ** rng.uniform(-320, 0, 500), [0, 1, 5e-324]])
    values = np.concatenate([values, 1 - 10.0 ** rng.uniform(-16, 0, 500)]).reshape(1, -1)
    with np.errstate(divide="ignore"):
        assert_allclose(kernel.log_table(values)[:, 0], np.log(values[0]), rtol=1e-15, atol=1e-17)
        assert_allclose(
            kernel.log_table(values, failures=True)[:, 0], np.log1p(-values[0]), rtol=1e-15
        )


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", [(1, 1), (70, 33), (3000, 64), (513, 5)])
def test_what_data_hold(dtype, shape):
    rng = np.random.default_rng(1)
    X = (rng.random(shape) < 0.5).astype(dtype)
    ones, known = kernel.pack(X)
    assert_array_equal(unpacked(ones, shape[1]), X == 1)
    assert unpacked(known, shape[1]).all()
    turned = kernel.turned(ones, shape[1])
    assert_array_equal(unpacked(np.ascontiguousarray(turned.T), shape[0]).T, X == 1)
    X[rng.random(shape) < 0.2] = np.nan
    ones, known = kernel.pack(X)
    assert_array_equal(unpacked(ones, shape[1]), X == 1)
    assert_array_equal(unpacked(known, shape[1]), ~np.isnan(X))
    weight = (rng.random(shape[0]) < 0.1).astype(float)
    weight[0], X[0, 0] = 1.0, 1.0
    X[:, -1] = np.where(weight > 0, np.nan, X[:, -1])
    packed = Contents.of(X, weight, binary=True)
    plain = Contents.of(X, weight)
    assert packed.bits is not None
    for one, other in zip(packed[:5], plain[:5], strict=True):
        assert_array_equal(one, other)
    X[-1, -1] = 0.5
    assert kernel.pack(X) is None
    found = Contents.of(X, weight)
    assert_array_equal(found.whole, np.arange(shape[1]) < shape[1] - 1)
    X[-1, -1] = -3
    found = Contents.of(X, weight)
    assert_array_equal(found.lowest, np.fmin(np.nanmin(X, axis=0, initial=0), 0))
    assert_array_equal(found.highest, np.fmax(np.nanmax(X, axis=0, initial=0), 0))
    assert_array_equal(found.missing, np.isnan(X).any(axis=0))
    assert_array_equal(found.observed, (~np.isnan(X) & (weight[:, None] > 0)).any(axis=0))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_threads_find_the_same_in_data(dtype):
    rng = np.random.default_rng(3)
    X, weight = rng.integers(0, 2, (9001, 37)).astype(dtype), rng.integers(0, 2, 9001).astype(float)
    X[rng.random(X.shape) < 0.01] = np.nan
    one, two = kernel.pack(X), kernel.pack(X, 2)
    assert_array_equal(one[0], two[0])
    assert_array_equal(one[1], two[1])
    X[7000, 5], X[20, 3], X[8999, 36] = 0.5, -4, 9
    assert kernel.pack(X, 2) is None
    for first, other in zip(kernel.inspect(X, weight), kernel.inspect(X, weight, 3), strict=True):
        assert_array_equal(first, other)


def unpacked(words, n):
    return np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")[:, :n] > 0
