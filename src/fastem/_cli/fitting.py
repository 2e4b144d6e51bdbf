"""Fits with a line of progress on a terminal, which Ctrl-C ends after the iteration under way.

And ``--compare``: equal iterations of scikit-learn's estimator beside them, from one start.
"""

import signal
import sys
import threading
import warnings
from contextlib import ExitStack
from time import perf_counter
from typing import Any

import sklearn
from sklearn import cluster, decomposition, mixture
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

import fastem
from fastem import em
from fastem._cli import CommandError, count, one_line
from fastem._cli.screen import bar, seconds

BUDGET = 2.0  # seconds, after which no further run of a comparison begins
_ROUNDS = 20
_TOLERANCE = 1e-6  # of bounds that are alike


class Fitting(em.Callback):
    """Watches all fits of a ``with`` block.

    Parameters
    ----------
    what : str
        What is being done.
    keeps : bool
        Whether Ctrl-C leaves something that is worth keeping: every fit then ends after its
        iteration, `interrupted` is true, and a second Ctrl-C is an error. Else the first one is.
    """

    def __init__(self, what="fitting", *, keeps=True):
        self.what, self.keeps, self.interrupted, self.n_fits = what, keeps, False, 0
        self.status = None

    def __enter__(self):
        self.begin, self.closing = perf_counter(), ExitStack()
        if sys.stderr.isatty():
            from rich.console import Console

            status = Console(stderr=True, markup=False).status(self.what)
            self.status = self.closing.enter_context(status)
        # Python handles signals in its main thread alone; another's handler stays as it is.
        here = threading.current_thread() is threading.main_thread()
        before = signal.getsignal(signal.SIGINT)
        if self.keeps and here and before is signal.default_int_handler:
            self.closing.callback(signal.signal, signal.SIGINT, before)
            signal.signal(signal.SIGINT, self._interrupt)
        self.closing.enter_context(em.watch(self))
        self.closing.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", ConvergenceWarning)  # the report says it,
        warnings.filterwarnings("ignore", "the best .* that was tried", UserWarning)  # and that
        return self

    def __exit__(self, *error):
        self.seconds = perf_counter() - self.begin
        self.closing.close()

    def show(self, text):
        """Say what is being done."""
        if self.status is not None:
            self.status.update(text)

    def on_init_begin(self, init):
        """Count the fits."""
        self.n_fits += 1

    def on_iteration_end(self, state):
        """Show the bound; end the fit if Ctrl-C came."""
        where = f"fit {self.n_fits}, iteration {state.iteration}"
        self.show(f"{self.what}: {where}, bound {state.lower_bound:.6g}")
        return self.interrupted

    def _interrupt(self, *_):
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        print("fastem: ending with this iteration; Ctrl-C again gives up", file=sys.stderr)


# ---- comparisons --------------------------------------------------------------------------------


def _rivals(X, model):
    """Return fastem's estimator, scikit-learn's, what both are given, each one's own, the bound."""
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
    ours, theirs, given, own, bound = _rivals(X, model)
    runs: dict[str, Any] = {"fastem": ours(**given, n_jobs=model.n_jobs)}
    runs[f"scikit-learn {sklearn.__version__}"] = theirs(**given, **own)
    times: dict[str, float] = {}
    end = perf_counter() + BUDGET
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


def show_comparison(screen, X, model):
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
