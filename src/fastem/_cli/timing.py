"""Times fastem beside others: equal EM iterations from one start, and the bounds they reach."""

import warnings
from time import perf_counter
from typing import NamedTuple

import numpy as np
import sklearn.cluster
import sklearn.decomposition
import sklearn.mixture
from sklearn.cluster import kmeans_plusplus
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from fastem import PLSA, GaussianMixture, KMeans, LatentDirichletAllocation
from fastem._cli import reference
from fastem.topics.plsa_em import random_start

MAX_ROUNDS = 30
#: Numbers in an array of plain NumPy, for topics.
MOST_NUMBERS = 20_000_000


class Timing(NamedTuple):
    """What one program took for the iterations.

    Attributes
    ----------
    name : str
    seconds : float
        The shortest of the runs.
    bound : float
        Mean log-likelihood that the last iteration started from.
    """

    name: str
    seconds: float
    bound: float


def compare(X, mixture, *, n_iter, budget=4.0):
    """Time `n_iter` EM iterations by fastem, scikit-learn and plain NumPy, which take turns.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    mixture : GaussianMixture
        With ``covariance_type='full'``; its settings and its first random start are used.
    n_iter : int
    budget : float, default=4
        Seconds after which no further run begins; each makes one, whatever it takes.

    Returns
    -------
    timings : list of Timing
    n_iter : int
    """
    settings = {
        "n_components": mixture.n_components,
        "reg_covar": mixture.reg_covar,
        "random_state": mixture.random_state,
    }
    start = GaussianMixture(**settings, n_jobs=mixture.n_jobs, max_iter=0).fit(X)
    settings |= {
        "weights_init": start.weights_,
        "means_init": start.means_,
        "precisions_init": start.precisions_,
        "max_iter": n_iter,
        "tol": 0.0,
    }
    ours = GaussianMixture(**settings, n_jobs=mixture.n_jobs)
    theirs = sklearn.mixture.GaussianMixture(**settings)
    runs = {
        "fastem": lambda: ours.fit(X).lower_bound_,
        f"scikit-learn {sklearn.__version__}": lambda: theirs.fit(X).lower_bound_,
        "plain NumPy": lambda: reference.fit(
            X,
            start.weights_,
            start.means_,
            start.covariances_,
            n_iter=n_iter,
            reg_covar=mixture.reg_covar,
        ),
    }
    return _take_turns(runs, budget), n_iter


def compare_clusters(X, kmeans, *, n_iter, budget=4.0):
    """Time `n_iter` iterations of k-means by fastem, scikit-learn and plain NumPy.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    kmeans : KMeans
        Its number of clusters, threads and first random start are used.
    n_iter : int
    budget : float, default=4
        As for `compare`.

    Returns
    -------
    timings : list of Timing
        Whose bounds are inertias.
    n_iter : int
        Of each: fewer than asked for where labels settle before.
    """
    start = kmeans_plusplus(X, kmeans.n_clusters, random_state=kmeans.random_state)[0]
    settings = {"init": start, "n_init": 1, "max_iter": n_iter, "tol": 0.0}
    ours = KMeans(kmeans.n_clusters, n_jobs=kmeans.n_jobs, **settings)
    theirs = sklearn.cluster.KMeans(kmeans.n_clusters, **settings)
    n_iter = ours.fit(X).n_iter_  # both stop where no label changes
    runs = {
        "fastem": lambda: ours.fit(X).inertia_,
        f"scikit-learn {sklearn.__version__}": lambda: theirs.fit(X).inertia_,
        "plain NumPy": lambda: reference.fit_clusters(X, start, n_iter=n_iter),
    }
    return _take_turns(runs, budget), n_iter


def compare_topics(X, n_components, *, n_iter, seed=0, n_jobs=None, budget=4.0):
    """Time `n_iter` EM iterations of PLSA by fastem and plain NumPy, without priors.

    Parameters
    ----------
    X : csr_array of shape (n_documents, n_words)
    n_components, n_iter : int
    seed : int, default=0
        Of the start.
    n_jobs : int, default=None
        Threads of fastem.
    budget : float, default=4
        As for `compare`.

    Returns
    -------
    timings : list of Timing
    shape : tuple of int
        Of the documents that were used: of a large corpus every n-th, for memory's sake, for plain
        NumPy keeps `n_components` numbers for every count.
    """
    X = X[:: -(-X.nnz * n_components // MOST_NUMBERS)]
    start = random_start(X.shape, n_components, np.random.RandomState(seed))
    settings = {"init": start, "max_iter": n_iter, "tol": 0.0, "n_jobs": n_jobs}
    ours = PLSA(n_components, **settings)
    runs = {
        "fastem": lambda: ours.fit(X).lower_bounds_[-1],
        "plain NumPy": lambda: reference.fit_topics(X, *start, n_iter=n_iter),
    }
    return _take_turns(runs, budget), X.shape


def compare_lda(X, n_components, *, n_iter, seed=0, n_jobs=None, budget=4.0):
    """Time `n_iter` batch passes of LDA by fastem and scikit-learn, from one start.

    Parameters and what is returned are those of `compare_topics`; the bounds are
    -log(perplexity).
    """
    X = X[:: -(-X.nnz * n_components // MOST_NUMBERS)].astype(np.float64)
    settings = {"n_components": n_components, "max_iter": n_iter, "random_state": seed}
    ours = LatentDirichletAllocation(**settings, n_jobs=n_jobs)
    theirs = sklearn.decomposition.LatentDirichletAllocation(**settings)
    runs = {
        "fastem": lambda: -np.log(ours.fit(X).bound_),
        f"scikit-learn {sklearn.__version__}": lambda: -np.log(theirs.fit(X).bound_),
    }
    return _take_turns(runs, budget), X.shape


#: What a topic model is timed beside, by its name, and the iterations: an iteration of LDA updates
#: every document many times.
COMPARED = {"plsa": (compare_topics, 20), "lda": (compare_lda, 2)}


def _take_turns(runs, budget):
    """Run {name: function that returns a bound} in rounds, and keep each one's shortest time."""
    best: dict[str, Timing] = {}
    end = perf_counter() + budget
    with tqdm(disable=None, leave=False, bar_format="{desc} [{elapsed}]") as bar:
        for round_ in range(MAX_ROUNDS):
            # Small products are faster on one BLAS thread, large ones on all: the rivals try both.
            with threadpool_limits(1 if round_ % 2 == 0 else None, user_api="blas"):
                for name, run in runs.items():
                    if name in best and perf_counter() > end:
                        return list(best.values())
                    bar.set_description_str(f"timing {name}, run {round_ + 1}")
                    timing = _time(name, run)
                    if name not in best or timing.seconds < best[name].seconds:
                        best[name] = timing
    return list(best.values())


def _time(name, run):
    """Time one run."""
    with warnings.catch_warnings():
        # tol=0 makes every run do all of its iterations, which the estimators warn about; of all
        # else the fit that came before has warned.
        warnings.simplefilter("ignore")
        start = perf_counter()
        bound = run()
        return Timing(name, perf_counter() - start, float(bound))
