"""
Components that nothing needs vanish
====================================

Ten components for three clusters. Maximum likelihood uses all of them. Of the Bayesian mixture
three keep a weight; the others go back to where the prior has them.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Ellipse

from fastem import BayesianGaussianMixture, GaussianMixture

# %%
# Three clusters of unequal size and shape.

rng = np.random.default_rng(0)
X = np.vstack(
    [
        rng.normal(size=(400, 2)) @ [[1.2, 0.8], [0.0, 0.3]],
        rng.normal(size=(250, 2)) * 0.5 + [4.0, -1.0],
        rng.normal(size=(100, 2)) @ [[0.3, -0.4], [0.0, 0.8]] + [1.0, 4.0],
    ]
)

# %%
# An ellipse for each component, at two standard deviations; dotted is what has next to no weight.


def draw(axis, mixture, title):
    axis.scatter(*X.T, s=4, c="0.6", linewidths=0)
    for weight, mean, covariance in zip(
        mixture.weights_, mixture.means_, mixture.covariances_, strict=True
    ):
        variances, axes = np.linalg.eigh(covariance)
        width, height = 4 * np.sqrt(variances)
        angle = np.degrees(np.arctan2(axes[1, 0], axes[0, 0]))
        style = {"ec": "C3", "lw": 2} if weight > 0.01 else {"ec": "0.4", "ls": ":"}
        axis.add_patch(Ellipse(mean, width, height, angle=angle, fc="none", **style))
    used = np.count_nonzero(mixture.weights_ > 0.01)
    axis.set(title=f"{title}: {used} in use", xticks=[], yticks=[], aspect="equal")


figure, axes = plt.subplots(1, 2, figsize=(9, 4), sharex=True, sharey=True)
settings = {"n_components": 10, "max_iter": 1000, "random_state": 0}
draw(axes[0], GaussianMixture(**settings).fit(X), "maximum likelihood")
bayesian = BayesianGaussianMixture(weight_concentration_prior=1e-3, **settings).fit(X)
draw(axes[1], bayesian, "Bayesian")
figure.tight_layout()
