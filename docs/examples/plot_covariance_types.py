"""
Covariance types
================

One data set, four restrictions of the covariances. BIC weighs the likelihood against the number of
parameters: the lowest is the best.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm

from fastem import GaussianMixture

# %%
# Two clusters that are long in different directions.

rng = np.random.default_rng(0)
X = np.vstack(
    [
        rng.normal(size=(300, 2)) @ [[1.5, 0.9], [0.0, 0.3]],
        rng.normal(size=(300, 2)) @ [[0.3, 0.2], [-0.4, 1.2]] + [3.0, -1.5],
    ]
)

# %%
# The density is drawn as contours.

x, y = np.meshgrid(np.linspace(-5, 6, 200), np.linspace(-6, 4, 200))
grid = np.column_stack([x.ravel(), y.ravel()])
figure, axes = plt.subplots(1, 4, figsize=(12, 3.4), sharex=True, sharey=True)
for axis, kind in zip(axes, ("full", "tied", "diag", "spherical"), strict=True):
    mixture = GaussianMixture(2, covariance_type=kind, random_state=0).fit(X)
    surprise = -mixture.score_samples(grid).reshape(x.shape)
    axis.contour(x, y, surprise, levels=np.logspace(0.3, 1.5, 9), norm=LogNorm(), cmap="viridis")
    axis.scatter(*X.T, s=3, c="0.4", linewidths=0)
    axis.set_title(f"{kind}: BIC {mixture.bic(X):.0f}")
    axis.set(aspect="equal", xticks=[], yticks=[])
figure.tight_layout()
