"""
Regression by a mixture
=======================

A mixture of inputs and outputs together is a regression whose uncertainty changes from place to
place: the conditional distribution of the outputs.
"""

import matplotlib.pyplot as plt
import numpy as np

from fastem import GaussianMixture

# %%
# Noise that grows to the right.

rng = np.random.default_rng(0)
x = rng.uniform(0, 6, 2000)
y = np.sin(x) + rng.normal(scale=0.05 + 0.1 * x)
joint = GaussianMixture(8, n_init=3, random_state=0).fit(np.column_stack([x, y]))

# %%
# The mean, and two standard deviations around it.

at = np.linspace(0, 6, 200)[:, None]
mean, std = (part[:, 0] for part in joint.predict_mean(at, given=[0], return_std=True))
figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
ax.scatter(x, y, s=3, color="0.6", linewidths=0)
ax.plot(at[:, 0], mean, color="#0072B2", linewidth=2, label="mean")
band = {"color": "#0072B2", "alpha": 0.2, "linewidth": 0, "label": "2 standard deviations"}
ax.fill_between(at[:, 0], mean - 2 * std, mean + 2 * std, **band)
ax.plot(at[:, 0], np.sin(at[:, 0]), color="#222222", linewidth=0.9, linestyle="--", label="sine")
ax.set(xlabel="x", ylabel="y")
ax.legend(frameon=False, loc="lower left")
