"""``--compare``: equal iterations of scikit-learn's estimator beside fastem's, from one start."""

import warnings
from time import perf_counter
from typing import Any

import sklearn
from threadpoolctl import threadpool_limits

from fastem._cli import CommandError, count, one_line
from fastem._cli.screen import bar, seconds

_BUDGET = 2.0  # seconds, after which no further run begins
_ROUNDS = 20
_TOLERANCE = 1e-6  # of bounds that are alike


def rivals(X, model):
    """Return fastem's estimator, scikit-learn's, what both are given, each one's own, the bound."""
    from sklearn import cluster, decomposition, mixture

    import fastem

    k = getattr(model, "n_components", None) or model.n_clusters
    n_iter, given = max(20, model.n_iter_), {"random_state": model.random_state}
    if isinstance(model, fastem.KMeans):
        start = cluster.kmeans_plusplus(X, k, **given)[0]
        given |= {"n_clusters": k, "init": start, "n_init": 1, "tol": 0.0, "max_iter": n_iter}
        given["max_iter"] = fastem.KMeans(**given).fit(X).n_iter_  # where no label changes
        return fastem.KMeans, cluster.KMeans, given, {}, "inertia_"
    given["n_components"] = k
    if isinstance(model, fastem.LatentDirichletAllocation):
        ours, theirs = fastem.LatentDirichletAllocation, decomposition.LatentDirichletAllocation
        return ours, theirs, given | {"max_iter": 2}, {}, "bound_"
    if isinstance(model, fastem.PLSA):  # whose updates are NMF's
        own = {"solver": "mu", "beta_loss": "kullback-leibler", "init": "random"}
        return fastem.PLSA, decomposition.NMF, given | {"max_iter": 20, "tol": 0.0}, own, None
    given |= {"covariance_type": model.covariance_type, "reg_covar": model.reg_covar}
    start = fastem.GaussianMixture(**given, max_iter=0).fit(X)
    given |= {
        "weights_init": start.weights_, "means_init": start.means_,
        "precisions_init": start.precisions_, "max_iter": n_iter, "tol": 0.0,
    }  # fmt: skip
    return fastem.GaussianMixture, mixture.GaussianMixture, given, {}, "lower_bound_"


def timed(X, model):
    """Let both fit in turns; return what they did, each one's shortest time, and their bounds."""
    X = X.astype(float, copy=False)
    ours, theirs, given, own, bound = rivals(X, model)
    runs: dict[str, Any] = {"fastem": ours(**given, n_jobs=model.n_jobs)}
    runs[f"scikit-learn {sklearn.__version__}"] = theirs(**given, **own)
    times: dict[str, float] = {}
    end = perf_counter() + _BUDGET
    for round_ in range(_ROUNDS):
        if times and perf_counter() > end:
            break
        for name, run in runs.items():
            # Small products are faster on one BLAS thread, large ones on all: both are tried.
            limits = threadpool_limits(1 if round_ % 2 == 0 else None, user_api="blas")
            with limits, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # tol=0: no fit converges
                begin = perf_counter()
                try:
                    run.fit(X)
                except ValueError as error:
                    raise CommandError(f"--compare: {name}: {one_line(error)}") from error
            times[name] = min(times.get(name, float("inf")), perf_counter() - begin)
    k = given.get("n_components") or given["n_clusters"]
    work = f"{count(given['max_iter'], 'iteration')}, {X.shape[0]:,} × {X.shape[1]:,}, K = {k}"
    return work, times, [float(getattr(run, bound)) for run in runs.values()] if bound else []


def show(screen, X, model):
    """Print the times as bars and ratios, and whether the bounds agree."""
    work, times, bounds = timed(X, model)
    screen.heading("The time", f"{work}; the shortest of several runs that took turns")
    slowest, rows = max(times.values()), [["", "time", "", ""]]
    for name, time in times.items():
        ratio = "" if name == "fastem" else f"{time / times['fastem']:.1f} × as long"
        rows.append([name, seconds(time), bar(time / slowest, screen.width - 55), ratio])
    screen.table(rows, left=[0, 2], mark=0)
    if bounds:
        spread = abs(bounds[0] - bounds[1]) / (abs(min(bounds)) or 1.0)
        agree = f"agree to {spread:.0e}" if spread else "agree exactly"
        if spread > _TOLERANCE:
            agree = f"DIFFER by {spread:.0e}: this is not equal work"
        screen.print(f"  the bounds that they reach {agree}")
