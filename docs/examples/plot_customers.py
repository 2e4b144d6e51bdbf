"""
Customers: who is between two groups
====================================

Customers of a shop by baskets and money, in three groups that a mixture found: the larger and
darker a point, the less certain its group. The guide "Customers" has the steps.
"""

import numpy as np
import pandas as pd
from sklearn.preprocessing import StandardScaler

from fastem import GaussianMixture, select
from fastem.plot import MixtureDisplay

rng = np.random.default_rng(7)
kind = np.repeat([0, 1, 2], [500, 300, 200])
orders = rng.poisson(np.array([2, 9, 20])[kind]) + 1
basket = np.exp(rng.normal(np.log([25, 60, 22])[kind], 0.35))
days = rng.gamma(2, np.array([90, 20, 8])[kind])
table = pd.DataFrame({"spent": orders * basket, "basket": basket, "days since last": days})
Z = StandardScaler().set_output(transform="pandas").fit_transform(np.log1p(table))

# %%
# ICL chooses groups that are apart; the prior keeps components from shrinking to a point.

choice = select.mixture(
    Z,
    range(1, 9),
    criterion="icl",
    estimator=GaussianMixture(prior="conjugate", n_init=3),
    random_state=0,
)
print(choice)

# %%
# Two of the three features, on their logarithmic scale, standardized.

mixture = choice.best_estimator_
MixtureDisplay.from_estimator(mixture, Z, features=["basket", "spent"], uncertainty=True)

# %%
# One feature: the grey area says where customers could belong to either group. By baskets alone,
# two of the three are one.

one = GaussianMixture(2, n_init=3, random_state=0).fit(Z[["basket"]])
MixtureDisplay.from_estimator(one, Z[["basket"]], uncertainty=True)

# %%
# The criterion by number of groups and type of covariance.

choice.plot()
