"""How many components, and of what shape: fits of a range of numbers, compared by a criterion.

>>> from sklearn.datasets import load_iris
>>> from fastem import select
>>> selection = select.mixture(load_iris().data, range(1, 5), random_state=0)
>>> selection.best_params_
{'n_components': 2, 'covariance_type': 'full'}

Each function fits every candidate, in parallel on request, and returns a :class:`Selection`: the
table of all fits, the best estimator, and a picture.
"""

from fastem.select.clusters import kmeans
from fastem.select.documents import topics
from fastem.select.mixtures import discrete, mixture
from fastem.select.result import Selection
from fastem.select.sequences import hmm

__all__ = ["Selection", "discrete", "hmm", "kmeans", "mixture", "topics"]
