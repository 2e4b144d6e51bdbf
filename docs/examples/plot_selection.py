"""
How many components, and of what shape
======================================

Curves of a criterion by the number of components, one for each covariance type. A ring is around
the best.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_iris

from fastem import select

# %%
# BIC and ICL of Gaussian mixtures of the irises: both choose two components, because two of the
# three kinds overlap. Beyond that, ICL pays for components that share their samples.

X = load_iris().data
figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.8), layout="constrained")
for ax, criterion in zip(axes, ("bic", "icl"), strict=True):
    select.mixture(X, range(1, 9), criterion=criterion, random_state=0).plot(ax)

# %%
# k-means: silhouette, and the gap statistic with its error. The gap's rule takes the first number
# that the next one does not beat by its error.

rng = np.random.default_rng(0)
blobs = rng.normal(np.repeat([[0, 0], [9, 0], [0, 9], [9, 9]], 60, axis=0), 1.5)
figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.6), layout="constrained")
for ax, criterion, least in zip(axes, ("silhouette", "gap"), (2, 1), strict=True):
    select.kmeans(blobs, range(least, 9), criterion, random_state=0).plot(ax)
