"""
What is typical of a class
==========================

Components of categories and counts have no place in a plane:
:class:`fastem.plot.ProfilesDisplay` has a row for each feature and a dot for each component.
"""

import numpy as np

from fastem import BernoulliMixture, PoissonMixture
from fastem.plot import ProfilesDisplay

# %%
# Answers to ten questions by people of three kinds.

rng = np.random.default_rng(0)
yes = rng.uniform(size=(3, 10))
answers = rng.binomial(1, yes[rng.choice(3, p=[0.5, 0.3, 0.2], size=600)])
questions = [f"question {j + 1}" for j in range(10)]
mixture = BernoulliMixture(3, n_init=5, random_state=0).fit(answers).reorder(order="weight")
ProfilesDisplay.from_estimator(mixture, questions)

# %%
# Of many features those are drawn in which components differ most.

rates = rng.gamma(2, 2, size=(2, 200))
rates[1, 20:] = rates[0, 20:]
counts = rng.poisson(rates[rng.integers(2, size=500)])
mixture = PoissonMixture(2, n_init=3, random_state=0).fit(counts)
ProfilesDisplay.from_estimator(mixture, n_rows=15)
