"""
EM, iteration by iteration
==========================

Three Gaussian components move from a poor start to the clusters. Colours are responsibilities,
ellipses two standard deviations of each component.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Ellipse

from fastem import GaussianMixture

warnings.simplefilter("ignore")  # fits are stopped on purpose before they converge

# %%
# Three clusters of different shapes, and a start with all three means in one place.

rng = np.random.default_rng(4)
shapes = [[[1.0, 0.7], [0.0, 0.4]], [[0.5, -0.4], [0.2, 0.8]], [[0.9, 0.0], [0.0, 0.3]]]
centers = [[-2.2, 1.0], [1.6, 2.2], [0.6, -1.6]]
X = np.vstack(
    [rng.normal(size=(200, 2)) @ shape + c for shape, c in zip(shapes, centers, strict=True)]
)
start = {"means_init": [[-0.4, 0.4], [0.0, 0.6], [0.2, 0.2]], "weights_init": [1 / 3] * 3}
start["precisions_init"] = [np.eye(2)] * 3


def mixture(n_iter):
    return GaussianMixture(3, max_iter=n_iter, tol=1e-9, **start).fit(X)


# %%
# ``max_iter`` stops the same fit after one, five, 15 and 60 iterations.

colours = np.array([[0.12, 0.47, 0.71], [0.89, 0.35, 0.13], [0.17, 0.63, 0.37]])
figure, axes = plt.subplots(1, 4, figsize=(12, 3.4), sharex=True, sharey=True)
for axis, n_iter in zip(axes, (1, 5, 15, 60), strict=True):
    fit = mixture(n_iter)
    axis.scatter(*X.T, s=5, c=fit.predict_proba(X) @ colours, linewidths=0)
    for mean, covariance, colour in zip(fit.means_, fit.covariances_, colours, strict=True):
        variances, directions = np.linalg.eigh(covariance)
        angle = np.degrees(np.arctan2(directions[1, 1], directions[0, 1]))
        long, short = 4 * np.sqrt(variances[::-1])
        axis.add_patch(Ellipse(mean, long, short, angle=angle, fill=False, color=colour, lw=2))
    axis.set_title(f"{n_iter} iteration{'s'[: n_iter > 1]}")
    axis.set(aspect="equal", xticks=[], yticks=[])
figure.tight_layout()

# %%
# The bound, the mean log-likelihood per sample, never falls. It may rest for a while before it
# climbs on: a change below ``tol`` is no proof of an optimum.

figure, axis = plt.subplots(figsize=(6, 3))
axis.plot(range(1, fit.n_iter_ + 1), fit.lower_bounds_, marker=".")
axis.set(xlabel="iteration", ylabel="log-likelihood per sample")
figure.tight_layout()
