"""
Topics of vectors
=================

Documents are bags of points in the plane; each mixes some of five topics, which are Gaussians that
overlap. Where two of them do, a point alone cannot tell; its document can.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Ellipse
from scipy.stats import norm

from fastem import GaussianLDA, GaussianMixture

rng = np.random.default_rng(3)
means = np.array([[0.0, 0.0], [1.6, 0.6], [-1.2, 1.6], [0.6, 2.6], [2.9, 2.4]])
shares = rng.dirichlet(np.full(5, 0.15), size=200)
topics = np.array([rng.choice(5, size=60, p=share) for share in shares])
X = (means[topics] + rng.normal(0, 0.75, (200, 60, 2))).reshape(-1, 2)

lda = GaussianLDA(5, doc_topic_prior=0.15, tol=1e-6, max_iter=500, n_init=3, random_state=0).fit(
    X, lengths=[60] * 200
)
doc_topic = lda.transform(X, lengths=[60] * 200)

# %%
# Four documents among all the others' points, which are grey. Colours are the most probable topics,
# ellipses two standard deviations of each topic.

log_density = norm.logpdf(X[:, None], lda.means_, np.sqrt(lda.covariances_)).sum(axis=2)
found = (log_density + np.log(np.repeat(doc_topic, 60, axis=0))).argmax(axis=1).reshape(200, 60)
several = np.flatnonzero((doc_topic > 0.2).sum(axis=1) >= 2)[:4]
colours = np.array(["#1f77b4", "#e35a21", "#2ca05e", "#9467bd", "#c9a400"])

figure, axes = plt.subplots(1, 4, figsize=(12, 3.3), sharex=True, sharey=True)
for axis, d in zip(axes, several, strict=True):
    axis.scatter(*X.T, s=1, c="0.85", linewidths=0)
    axis.scatter(*X.reshape(200, 60, 2)[d].T, s=14, c=colours[found[d]], linewidths=0)
    for mean, variances, colour in zip(lda.means_, lda.covariances_, colours, strict=True):
        axis.add_patch(Ellipse(mean, *(4 * np.sqrt(variances)), fill=False, color=colour, lw=1.5))
    axis.set(title=f"document {d}", aspect="equal", xticks=[], yticks=[])
figure.tight_layout()

# %%
# How many points get the topic that they were drawn from, by their document and each for itself:

nearest = ((lda.means_[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)  # topics have no order
print(f"GaussianLDA: {np.mean(nearest[found] == topics):.0%}")
mixture = GaussianMixture(5, covariance_type="diag", means_init=lda.means_).fit(X)
nearest = ((mixture.means_[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
print(f"Gaussian mixture: {np.mean(nearest[mixture.predict(X)].reshape(200, 60) == topics):.0%}")
