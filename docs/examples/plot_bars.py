"""
Bars: topics that can be seen
=============================

The test that Griffiths & Steyvers (2004, *Finding scientific topics*) put their algorithm to: words
are the 25 pixels of a square, the ten topics its rows and columns. Documents of 100 words
mix a few of them. Topics should come back as bars.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import linear_sum_assignment

from fastem import PLSA, LatentDirichletAllocation

rng = np.random.default_rng(0)
bars = np.zeros((10, 5, 5))
for i in range(5):
    bars[i, i, :] = bars[5 + i, :, i] = 0.2
bars = bars.reshape(10, 25)
doc_topic = rng.dirichlet(np.full(10, 0.1), size=1000)
X = np.array([rng.multinomial(100, p) for p in doc_topic @ bars])

# %%
# Topics come back in any order: each is shown beneath the bar that it is nearest to.


def in_order(topics):
    topics = topics / topics.sum(axis=1, keepdims=True)
    distance = np.abs(bars[:, None] - topics[None]).sum(axis=2)
    return topics[linear_sum_assignment(distance)[1]]


plsa = PLSA(10, n_init=5, random_state=0, max_iter=500).fit(X)
lda = LatentDirichletAllocation(10, doc_topic_prior=0.1, max_iter=100, random_state=3).fit(X)
rows = {
    "documents": X[:10],
    "topics": bars,
    "PLSA": in_order(plsa.components_),
    "LDA": in_order(lda.components_),
}
figure, axes = plt.subplots(4, 10, figsize=(9, 3.9))
for row, (name, pictures) in zip(axes, rows.items(), strict=True):
    row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for axis, picture in zip(row, pictures, strict=True):
        axis.imshow(picture.reshape(5, 5), cmap="gray_r")
        axis.set(xticks=[], yticks=[])
figure.tight_layout()

# %%
# The log-likelihood per token of each iteration, from one start. An iteration of the incremental
# algorithm visits every document once, as one of batch EM does, but makes an M-step after each
# batch of them.

figure, axis = plt.subplots(figsize=(6, 3))
for algorithm in ("batch", "incremental"):
    fit = PLSA(10, algorithm=algorithm, batch_size=50, random_state=0, tol=0, max_iter=60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not converged: tol is 0
        fit.fit(X)
    axis.plot(range(1, fit.n_iter_ + 1), fit.lower_bounds_, label=algorithm)
axis.set(xlabel="iteration", ylabel="log-likelihood per token")
axis.legend()
figure.tight_layout()
