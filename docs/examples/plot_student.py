"""
Outliers and Student-t components
=================================

Two clusters with heavy tails. Gaussians grow until the outliers fit in; Student-t's describe the
clusters, and the tails by their degrees of freedom.
"""

import matplotlib.pyplot as plt
import numpy as np

from fastem import GaussianMixture, StudentMixture
from fastem.plot import MixtureDisplay

# %%
# Samples with two degrees of freedom: a few per cent of them are far out.

rng = np.random.default_rng(3)
X = np.vstack(
    [
        rng.standard_t(2, (200, 2)) @ [[1.0, 0.8], [0.0, 0.4]],
        rng.standard_t(2, (200, 2)) * [0.5, 1.0] + [7.0, -1.0],
    ]
)

# %%
# The ellipses are those of the covariances, or of the scale matrices. Some samples are outside of
# the picture.

figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharex=True, sharey=True)
models = GaussianMixture(2, random_state=0), StudentMixture(2, df="shared", random_state=0)
for axis, mixture in zip(axes, models, strict=True):
    mixture.fit(X)
    MixtureDisplay.from_estimator(mixture, X, ax=axis)
    axis.set_title(f"{type(mixture).__name__}: BIC {mixture.bic(X):.0f}")
axes[0].set(xlim=(-12, 20), ylim=(-12, 12))
figure.tight_layout()
