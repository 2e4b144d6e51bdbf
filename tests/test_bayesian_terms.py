"""What the compiled posterior of Bayesian Gaussian mixtures says, beside SciPy's functions."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import betaln, digamma, gammaln

from fastem._kernels import gaussian as kernel
from fastem.components.covariances import KINDS

WIDTHS = (1, 2, 5, 13, 24)  # beside whole vectors, and blocks of four rows
N_COMPONENTS = 3

every_kind = pytest.mark.parametrize("kind", KINDS)
every_width = pytest.mark.parametrize("d", WIDTHS)


def posterior(kind, process, d, least=1e-3):
    """Return concentration, mean precision, means and degrees of freedom at random."""
    rng, k = np.random.default_rng(d), N_COMPONENTS
    concentration = rng.gamma(0.5, 6.0, (2, k) if process else k) + least
    freedom = d - 1 + rng.gamma(0.5, 9.0, () if kind == "tied" else k) + least
    return concentration, rng.gamma(1.0, 9.0, k), rng.normal(size=(k, d)), freedom


def factors(kind, d):
    """Return factors of precisions, and the same as a matrix for each component."""
    rng = np.random.default_rng(d)
    upper = np.triu(rng.normal(size=(N_COMPONENTS, d, d)), 1) + np.diag(rng.uniform(0.5, 3, d))
    own = {
        "full": upper, "tied": upper[0], "diag": upper.diagonal(axis1=1, axis2=2).copy(),
        "spherical": rng.uniform(0.5, 3, N_COMPONENTS),
    }[kind]  # fmt: skip
    return own, KINDS[kind].matrices(own, N_COMPONENTS, d)


def log_weights(concentration):
    """Return E[log weights]."""
    if concentration.ndim == 1:
        return digamma(concentration) - digamma(concentration.sum())
    mine, rest = digamma(concentration) - digamma(concentration.sum(axis=0))
    return mine + np.concatenate([[0], np.cumsum(rest)[:-1]])


@every_kind
@every_width
@pytest.mark.parametrize("process", [False, True])
def test_expected_log_weights(kind, process, d):
    at = concentration, precision, _, freedom = posterior(kind, process, d)
    halves = (freedom - np.arange(d)[:, None]) / 2
    log_det = digamma(halves).sum(axis=0) + d * np.log(2 / freedom) - d / precision
    expected = log_weights(concentration) + log_det / 2
    assert_allclose(kernel.expected_log_weights(kind, *at), expected, rtol=1e-11, atol=1e-11)


@every_kind
@every_width
@pytest.mark.parametrize("process", [False, True])
def test_evidence(kind, process, d):
    at = concentration, precision, _, freedom = posterior(kind, process, d)
    own, matrices = factors(kind, d)
    halves = (freedom - np.arange(d)[:, None]) / 2
    log_dets = np.linalg.slogdet(matrices)[1]
    wisharts = freedom * (log_dets + d / 2 * np.log(2 / freedom)) + gammaln(halves).sum(axis=0)
    if process:
        of_weights = betaln(*concentration).sum()
    else:
        of_weights = gammaln(concentration).sum() - gammaln(concentration.sum())
    expected = np.sum(wisharts) + of_weights - d / 2 * np.log(precision).sum()
    assert_allclose(kernel.evidence(kind, *at, own), expected, rtol=1e-11)


@every_kind
@every_width
def test_expected_log_density(kind, d):
    """From moments about other means than the components' own."""
    rng, k = np.random.default_rng(d + 1), N_COMPONENTS
    spread, weight = rng.normal(size=(k, d, 2 * d)), rng.gamma(1.0, 9.0, k)
    mean, center, logs = rng.normal(size=(k, d)), rng.normal(size=(k, d)), rng.normal(size=k)
    own, matrices = factors(kind, d)
    scatter = spread @ spread.swapaxes(1, 2)
    about = scatter + (weight[:, None] * (mean - center))[:, :, None] * (mean - center)[:, None]
    distance = np.trace(matrices.swapaxes(1, 2) @ about @ matrices, axis1=1, axis2=2).sum()
    log_dets = np.linalg.slogdet(matrices)[1]
    expected = weight @ (logs + log_dets - d / 2 * np.log(2 * np.pi)) - distance / 2
    if kind in ("diag", "spherical"):
        scatter = scatter.diagonal(axis1=1, axis2=2).copy()
    scatter = KINDS[kind].pool(scatter)
    given = kind, weight, mean, scatter, center, own, logs
    found = kernel.expected_log_density(*given, 1)
    assert_allclose(found, expected, rtol=1e-11)
    assert found == kernel.expected_log_density(*given, 2)
