"""
A model of one's own: a mixture of exponentials
===============================================

The model of the page *Your own EM model*, with its picture: waiting times from two sources.
"""

from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import logsumexp

from fastem import em


class Params(NamedTuple):
    """Weights and rates, (K,) each."""

    weights: np.ndarray
    rates: np.ndarray


class Exponentials:
    """A mixture of exponential distributions."""

    def log_joint(self, params, x):
        return np.log(params.weights * params.rates) - np.outer(x, params.rates)

    def e_step(self, params, x):
        log_joint = self.log_joint(params, x)
        log_density = logsumexp(log_joint, axis=1, keepdims=True)
        responsibilities = np.exp(log_joint - log_density)
        return em.Statistics(
            bound=log_density.sum(),
            weight=len(x),
            count=responsibilities.sum(axis=0),
            time=x @ responsibilities,
        )

    def m_step(self, statistics):
        return Params(statistics.count / statistics.weight, statistics.count / statistics.time)


# %%
# Three tenths of the times come from a source that is ten times as slow.

rng = np.random.default_rng(0)
x = rng.exponential(np.where(rng.random(20_000) < 0.3, 10, 1))
start = Params(np.array([0.5, 0.5]), np.array([0.5, 2.0]))
result = em.fit(Exponentials(), [x], start, tol=1e-9, max_iter=500)
print(f"weights {result.params.weights.round(3)}, mean times {(1 / result.params.rates).round(3)}")

# %%
# Each component's part of the density, and the bound's way to its end.

times = np.linspace(0, 25, 300)
parts = np.exp(Exponentials().log_joint(result.params, times))
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4))
left.hist(x, bins=np.linspace(0, 25, 76), density=True, color="0.8")
left.plot(times, parts, lw=1.5)
left.plot(times, parts.sum(axis=1), "k", lw=1)
left.set(yscale="log", ylim=(1e-3, 1), xlabel="waiting time", ylabel="density")
right.semilogy(result.lower_bounds[-1] - np.array(result.lower_bounds[:-1]))
right.set(xlabel="iteration", ylabel="bound's distance from its end")
figure.tight_layout()
