"""
Clusters beside noise
=====================

Two clusters among points from anywhere. Without a component for the noise, the two that there are
must explain it, and are widened by it.
"""

import matplotlib.pyplot as plt
import numpy as np

from fastem import GaussianMixture
from fastem.plot import MixtureDisplay

# %%
# A third of the points is noise.

rng = np.random.default_rng(0)
X = np.vstack(
    [
        rng.normal(size=(150, 2)) @ [[1.0, 0.8], [0.0, 0.4]],
        rng.normal(size=(150, 2)) * [0.5, 1.0] + [4.0, -1.0],
        rng.uniform([-6, -6], [9, 6], (150, 2)),
    ]
)

# %%
# With ``noise=True`` it is a component of its own, and the ellipses are those of the clusters.

figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharex=True, sharey=True)
for axis, noise in zip(axes, (False, True), strict=True):
    mixture = GaussianMixture(2, noise=noise, random_state=0).fit(X)
    MixtureDisplay.from_estimator(mixture, X, ax=axis)
    axis.set_title(f"noise={noise}: BIC {mixture.bic(X):.0f}")
figure.tight_layout()
