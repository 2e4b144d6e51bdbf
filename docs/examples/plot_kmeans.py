"""
k-means: cells
==============

Every point belongs to the nearest center, so cells have straight sides half-way between centers.
That suits round clusters of like size; of long ones it takes slices, where a Gaussian mixture
finds the shapes.
"""

import matplotlib.pyplot as plt
import numpy as np

from fastem import GaussianMixture, KMeans

rng = np.random.default_rng(1)
round_ones = np.vstack([rng.normal(center, 0.6, (200, 2)) for center in ([0, 0], [3, 1], [1, 3.4])])
long_ones = rng.normal(size=(600, 2)) * [2.2, 0.3] + np.repeat([[0, 0], [1, 1.8], [0, 3.6]], 200, 0)

# %%
# The centers are crosses.


def draw(axis, X, model, title):
    low, high = X.min(axis=0) - 0.5, X.max(axis=0) + 0.5
    x, y = np.meshgrid(*(np.linspace(a, b, 400) for a, b in zip(low, high, strict=True)))
    cells = model.predict(np.column_stack([x.ravel(), y.ravel()])).reshape(x.shape)
    axis.contourf(x, y, cells, levels=[-0.5, 0.5, 1.5, 2.5], cmap="Set2", alpha=0.5)
    axis.scatter(*X.T, s=4, c="0.3", linewidths=0)
    centers = model.cluster_centers_ if isinstance(model, KMeans) else model.means_
    axis.plot(*centers.T, "kx", ms=9, mew=2.5)
    axis.set(title=title, xticks=[], yticks=[])


figure, axes = plt.subplots(1, 3, figsize=(12, 3.8))
draw(axes[0], round_ones, KMeans(3, random_state=0).fit(round_ones), "k-means, round clusters")
draw(axes[1], long_ones, KMeans(3, random_state=0).fit(long_ones), "k-means, long clusters")
mixture = GaussianMixture(3, n_init=10, init_params="k-means++", random_state=0).fit(long_ones)
draw(axes[2], long_ones, mixture, "Gaussian mixture, the same")
figure.tight_layout()
