"""
One feature, two, many
======================

:class:`fastem.plot.MixtureDisplay` draws what the number of features allows.
"""

from sklearn.datasets import load_iris

from fastem import GaussianMixture
from fastem.plot import MixtureDisplay

X = load_iris(as_frame=True).data
mixture = GaussianMixture(3, n_init=5, random_state=0).fit(X)

# %%
# Many features: two principal axes of the standardized features, with the components' marginal
# distributions along them. The title says how much of the variance is to be seen.

MixtureDisplay.from_estimator(mixture, X)

# %%
# Three features or more by name or number: a grid of pairs, with densities on the diagonal.

names = ["sepal length (cm)", "petal length (cm)", "petal width (cm)"]
MixtureDisplay.from_estimator(mixture, X, features=names)

# %%
# One feature: a histogram, the components' densities times their weights, and their sum.

MixtureDisplay.from_estimator(mixture, X, features="petal length (cm)")
