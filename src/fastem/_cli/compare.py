"""``--compare``: equal iterations of scikit-learn's estimator beside fastem's, from one start."""

from time import perf_counter
from typing import NamedTuple

import sklearn
from threadpoolctl import threadpool_limits

from fastem._cli import CommandError, count, one_line
from fastem._cli.screen import bar, seconds

_BUDGET = 2.0  # seconds, after which no further run begins
_ROUNDS = 20
_TOLERANCE = 1e-6  # of bounds that are alike


class Compared(NamedTuple):
    """How long equal work took, by program, and which bound it reached."""

    work: str
    times: dict[str, float]
    bounds: dict[str, float]


def of_table(X, model):
    """Time a mixture, or k-means, with another program's beside it."""
    from sklearn import cluster, mixture

    import fastem

    n_iter, settings = max(20, model.n_iter_), {"random_state": model.random_state}
    if hasattr(model, "cluster_centers_"):
        from sklearn.cluster import kmeans_plusplus

        start = kmeans_plusplus(X, model.n_clusters, **settings)[0]
        settings |= {"n_clusters": len(start), "init": start, "n_init": 1, "tol": 0.0}
        ours = fastem.KMeans(**settings, n_jobs=model.n_jobs, max_iter=n_iter)
        n_iter = ours.fit(X).n_iter_  # both end where no label changes
        theirs = cluster.KMeans(**settings, max_iter=n_iter)
        return _timed(ours, theirs, X, n_iter, len(start), "inertia_")
    shape = {name: getattr(model, name)
             for name in ("n_components", "covariance_type", "reg_covar")}  # fmt: skip
    start = fastem.GaussianMixture(**shape, **settings, max_iter=0).fit(X)
    settings = shape | {
        "weights_init": start.weights_, "means_init": start.means_,
        "precisions_init": start.precisions_, "max_iter": n_iter, "tol": 0.0,
    }  # fmt: skip
    ours = fastem.GaussianMixture(**settings, n_jobs=model.n_jobs)
    theirs = mixture.GaussianMixture(**settings)
    return _timed(ours, theirs, X, n_iter, model.n_components, "lower_bound_")


def of_topics(X, model):
    """Time PLSA beside scikit-learn's NMF, whose updates are the same; LDA beside its LDA."""
    from sklearn import decomposition

    import fastem

    k, seed = model.n_components, model.random_state
    X = X.astype(float)
    if isinstance(model, fastem.LatentDirichletAllocation):
        settings = {"n_components": k, "max_iter": 2, "random_state": seed}
        ours = fastem.LatentDirichletAllocation(**settings, n_jobs=model.n_jobs)
        theirs = decomposition.LatentDirichletAllocation(**settings)
        return _timed(ours, theirs, X, 2, k, "bound_")
    if not isinstance(model, fastem.PLSA):
        raise CommandError("--compare is for --model plsa and lda; leave it out")
    n_iter = 20
    ours = fastem.PLSA(k, max_iter=n_iter, tol=0.0, random_state=seed, n_jobs=model.n_jobs)
    theirs = decomposition.NMF(k, solver="mu", beta_loss="kullback-leibler", init="random",
                               max_iter=n_iter, tol=0.0, random_state=seed)  # fmt: skip
    return _timed(ours, theirs, X, n_iter, k, None)


def _timed(ours, theirs, X, n_iter, k, bound):
    """Let both fit in turns, and keep each one's shortest time."""
    import warnings

    runs = {"fastem": ours, f"scikit-learn {sklearn.__version__}": theirs}
    times: dict[str, float] = {}
    end = perf_counter() + _BUDGET
    for round_ in range(_ROUNDS):
        # Small products are faster on one BLAS thread, large ones on all: the rival tries both.
        with threadpool_limits(1 if round_ % 2 == 0 else None, user_api="blas"):
            for name, run in runs.items():
                if name in times and perf_counter() > end:
                    continue
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # tol=0: no fit converges
                    begin = perf_counter()
                    try:
                        run.fit(X)
                    except ValueError as error:
                        raise CommandError(f"--compare: {name}: {one_line(error)}") from error
                times[name] = min(times.get(name, float("inf")), perf_counter() - begin)
    work = f"{count(n_iter, 'iteration')}, {X.shape[0]:,} × {X.shape[1]:,}, K = {k}"
    found = (
        {} if bound is None else {name: float(getattr(run, bound)) for name, run in runs.items()}
    )
    return Compared(work, times, found)


def show(screen, compared):
    """Print the times as bars and ratios, and whether the bounds agree."""
    screen.heading("The time", f"{compared.work}; the shortest of several runs that took turns")
    ours, slowest = compared.times["fastem"], max(compared.times.values())
    rows = [["", "time", "", ""]]
    for name, time in compared.times.items():
        ratio = "" if name == "fastem" else f"{time / ours:.1f} × as long"
        rows.append([name, seconds(time), bar(time / slowest, screen.width - 55), ratio])
    screen.table(rows, left=[0, 2], mark=0)
    if compared.bounds:
        low, high = min(compared.bounds.values()), max(compared.bounds.values())
        spread = (high - low) / (abs(low) or 1.0)
        agree = f"agree to {spread:.0e}" if spread else "agree exactly"
        if spread > _TOLERANCE:
            agree = f"DIFFER by {spread:.0e}: this is not equal work"
        screen.print(f"  the bounds that they reach {agree}")
