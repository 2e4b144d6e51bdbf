"""
Bernoulli mixture of digits
===========================

Handwritten digits of 8 x 8 pixels, made black and white, and ten components that know nothing of
labels. Each picture is the probability of ink in each pixel (after Bishop 2006, figure 9.10).
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits

from fastem import BernoulliMixture

X = load_digits().data
mixture = BernoulliMixture(
    10, binarize=7, probability_prior=1.0, n_init=10, random_state=0, tol=1e-4
).fit(X)

figure, axes = plt.subplots(2, 5, figsize=(8, 3.8))
for axis, picture, weight in zip(axes.flat, mixture.probabilities_, mixture.weights_, strict=True):
    axis.imshow(picture.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
    axis.set_title(f"{weight:.0%} of the samples", fontsize=9)
    axis.axis("off")
figure.tight_layout()

# %%
# A missing pixel has no factor: with the lower half hidden, the component is found from the upper.

import numpy as np  # noqa: E402

upper = np.where(np.arange(64) < 32, X, np.nan)
agree = mixture.predict(upper) == mixture.predict(X)
print(f"{agree.mean():.0%} of the samples keep their component without the lower half.")
