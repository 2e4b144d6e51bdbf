"""Threads, processes and memory: how many, how safely, how little."""

import os
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_info, threadpool_limits

import fastem
from fastem import PLSA, GaussianMixture
from fastem._engine.threads import (
    effective_n_jobs,
    single_threaded_blas,
    single_threaded_openmp,
)
from fastem.components import gaussian
from fastem.sequence.start import centers_of

needs_openmp = pytest.mark.skipif(not fastem.has_openmp(), reason="this build has one thread")
X, K = np.random.default_rng(0).normal(size=(40_000, 8)), 10


def blas_threads():
    return {lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"}


def mixture(n_jobs):
    return GaussianMixture(
        K, means_init=X[:K], init_params="random_from_data", random_state=0, tol=0.1, n_jobs=n_jobs
    )


def test_these_fits_are_parallel():
    """The data of this file are enough for the estimator to use its threads."""
    assert gaussian.useful_threads(8, *X.shape, K, "full") == 8
    assert gaussian.useful_threads(8, 100, 2, K, "full") == 1


# ---- how many --------------------------------------------------------------------------------


@needs_openmp
def test_counts_follow_scikit_learn_s_rules():
    """Positive numbers are taken as they are; None and -1 are all; negatives count back to 1."""
    every = effective_n_jobs(None)
    assert 1 <= every <= (os.cpu_count() or 1)
    assert effective_n_jobs(1) == 1
    assert effective_n_jobs(7) == 7
    assert effective_n_jobs(-1) == every
    assert effective_n_jobs(-2) == max(1, every - 1)
    assert effective_n_jobs(-1000) == 1


def test_zero_is_refused_before_any_work():
    """n_jobs=0 is an error that names the parameter, in fit and after it."""
    model = mixture(0)
    with pytest.raises(ValueError, match="n_jobs must not be 0: pass"):
        model.fit(X)
    assert not hasattr(model, "n_features_in_")
    fitted = mixture(1).fit(X).set_params(n_jobs=0)
    with pytest.raises(ValueError, match="n_jobs must not be 0"):
        fitted.predict(X)


@pytest.mark.parametrize("n_jobs", [1.5, "2"])
def test_other_types_are_refused(n_jobs):
    """n_jobs is an integer or None."""
    with pytest.raises(ValueError, match="The 'n_jobs' parameter of GaussianMixture"):
        mixture(n_jobs).fit(X)


@needs_openmp
def test_the_limit_is_read_at_every_call():
    """threadpoolctl's limit holds while it is set, and not longer."""
    every = effective_n_jobs(None)
    with threadpool_limits(1, user_api="openmp"):
        assert effective_n_jobs(None) == effective_n_jobs(-1) == 1
        assert effective_n_jobs(3) == 3
    assert effective_n_jobs(None) == every


@needs_openmp
@pytest.mark.parametrize("threads", ["1", "3"])
def test_omp_num_threads_is_obeyed(threads, run_python):
    """OMP_NUM_THREADS is the number, also above the number of cores."""
    code = "from fastem._engine.threads import effective_n_jobs; print(effective_n_jobs())"
    assert run_python(code, OMP_NUM_THREADS=threads) == threads


# ---- BLAS ------------------------------------------------------------------------------------


def test_blas_has_one_thread_during_a_fit_and_its_own_after():
    """The limit holds in callbacks and is gone after the fit, also after one that failed."""
    during = []

    class Model:
        def e_step(self, params, block):
            during.append(blas_threads())
            return fastem.em.Statistics(bound=-1.0, weight=1)

        def m_step(self, statistics):
            raise ArithmeticError("m_step fails")

    with threadpool_limits(3, user_api="blas"):
        before = blas_threads()
        with pytest.raises(ArithmeticError, match="m_step"), single_threaded_blas():
            fastem.em.fit(Model(), [None], 0)
        assert during == [{1}]
        assert blas_threads() == before
        mixture(1).fit(X)
        assert blas_threads() == before


def test_nested_limits_end_with_the_last():
    """Overlapping fits share the limit: the last to leave restores it."""
    with threadpool_limits(3, user_api="blas"):
        before = blas_threads()
        first, second = single_threaded_blas(), single_threaded_blas()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert blas_threads() == {1}
        second.__exit__(None, None, None)
        assert blas_threads() == before


def test_fits_in_several_python_threads():
    """Fits at the same time do not touch each other, and BLAS is as before after them."""
    before = blas_threads()
    expected = mixture(1).fit(X)
    with ThreadPoolExecutor(4) as pool:
        fitted = list(pool.map(lambda _: mixture(2).fit(X), range(8)))
    for model in fitted:
        assert np.array_equal(model.covariances_, expected.covariances_)
    assert blas_threads() == before


# ---- bits and fork ---------------------------------------------------------------------------


@needs_openmp
def test_whole_fits_have_the_same_bits():
    """Start, iterations, labels and densities: the same for every number of threads."""
    expected = mixture(1).fit(X)
    for n_jobs in (2, 3, 8, None):
        model = mixture(n_jobs).fit(X)
        assert model.lower_bounds_ == expected.lower_bounds_
        for name in ("weights_", "means_", "covariances_"):
            assert np.array_equal(getattr(model, name), getattr(expected, name)), name
        for method in ("predict", "predict_proba", "score_samples"):
            assert np.array_equal(getattr(model, method)(X), getattr(expected, method)(X)), method


FORK = """
import os, signal, sys, threading, traceback, warnings
import numpy as np
import fastem
from fastem._engine import threads as _threads

warnings.simplefilter("ignore")  # a fit of few iterations, and a fork where there are threads
X = np.random.default_rng(0).poisson(3.0, (10_000, 40))

def parameters(name):
    rows = {"n_trials": 40} if name.startswith("Binomial") else {}
    return {"random_state": 0, "n_iter" if name.endswith("HMM") else "max_iter": 2} | rows

def data(name):
    if name.startswith("Bernoulli"):
        return {"X": X % 2}
    if name == "CategoricalHMM":
        return {"X": X[:, :1]}
    if name == "MultinomialHMM":
        return {"X": np.random.default_rng(1).multinomial(20, [0.25] * 4, 10_000)}
    if name == "GaussianLDA":
        return {"X": np.random.default_rng(1).normal(size=(20_000, 8)), "lengths": [50] * 400}
    if name in ("GMMHMM", "GaussianHMM"):
        return {"X": X[:, :4]}
    return {"X": X}

def result(name):
    model = getattr(fastem, name)(10, **parameters(name)).fit(**data(name))
    return {k: np.asarray(v).tobytes() for k, v in vars(model).items()
            if k.endswith("_") and isinstance(v, np.ndarray) and v.dtype != object}

def forked(work, seconds=40):
    child = os.fork()
    if child == 0:
        signal.alarm(seconds)  # ends a child that hangs
        try:
            os._exit(0 if work() else 1)
        except BaseException:
            traceback.print_exc()
            os._exit(2)
    return os.waitpid(child, 0)[1]
"""
FORK_AFTER = """
import sklearn.base, sklearn.utils

def forks_after_fits(name):
    for _ in range(2):  # threads are at work in the parent, before and between forks
        expected = result(name)
        status = forked(lambda: result(name) == expected)
        assert status == 0, (name, status)
    return True

# Each in a process that has fitted nothing before, and without an interpreter's start.
print({name for name in NAMES if forked(lambda: forks_after_fits(name), 90) != 0})
"""
FORK_DURING = """
expected = {name: result(name) for name in ("GaussianMixture", "LatentDirichletAllocation")}
stop = threading.Event()

def fit():
    while not stop.is_set():
        result("GaussianMixture")

thread = threading.Thread(target=fit)
thread.start()
try:
    for _ in range(3):
        status = forked(lambda: not _threads._entered
                        and all(result(name) == expected[name] for name in expected))
        assert status == 0, status
finally:
    stop.set()
    thread.join()
print("done")
"""
ESTIMATORS = [n for n in fastem.__all__ if n[0].isupper() and hasattr(getattr(fastem, n), "fit")]
forks = pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="no fork on this system")


@forks
@needs_openmp
def test_a_process_forked_after_a_fit_can_fit(run_python):
    """As every estimator is by default, its start included, which may be scikit-learn's k-means."""
    code = f"NAMES = {ESTIMATORS!r}\n{FORK}{FORK_AFTER}"
    assert run_python(code, timeout=240, OMP_NUM_THREADS="2") == "set()"


@forks
@needs_openmp
def test_a_process_forked_during_another_thread_s_fit_can_fit(run_python):
    """It has that thread's locks and limits, and not the thread."""
    # OpenBLAS hangs by itself if it is forked while its own threads work.
    one = {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "1"}
    assert run_python(FORK + FORK_DURING, **one) == "done"


@forks
@needs_openmp
def test_an_openmp_without_pause_is_held_to_one_thread_in_a_child(run_python):
    """Libraries older than GCC 9 cannot end their threads: children do without them."""
    code = """
from fastem._engine import threads as _threads
fastem.GaussianMixture

class Old:
    def __init__(self, library):
        self.omp_set_num_threads = library.omp_set_num_threads

found = _threads._find_libgomps()
assert found
for library in found:
    library.omp_set_num_threads(2)
_threads._libgomps = (len(sys.modules), [Old(library) for library in found])
assert forked(lambda: [lib.omp_get_max_threads() for lib in found] == [1] * len(found)) == 0
assert {lib.omp_get_max_threads() for lib in found} == {2}
print("done")
"""
    assert run_python(FORK + code) == "done"


def test_joblib_s_processes_can_fit():
    """n_jobs processes, each with its own threads, as GridSearchCV starts them."""
    joblib = pytest.importorskip("joblib")
    expected = mixture(1).fit(X).means_
    fitted = joblib.Parallel(2)(joblib.delayed(mixture(2).fit)(X) for _ in range(2))
    for model in fitted:
        assert np.array_equal(model.means_, expected)


# ---- memory ------------------------------------------------------------------------------------


MEMORY = """
import warnings
import numpy as np
from fastem import GaussianMixture

warnings.simplefilter("ignore")  # three iterations do not converge
K, D = 16, 8
PRECISIONS = {
    "full": [np.eye(D)] * K, "tied": np.eye(D), "diag": np.ones((K, D)), "spherical": np.ones(K)
}

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))

def fit(X, weight):
    for kind, precisions in PRECISIONS.items():
        model = GaussianMixture(K, covariance_type=kind, precisions_init=precisions, n_jobs=2,
                                weights_init=np.full(K, 1 / K), means_init=X[:K], max_iter=3)
        model.fit(X)
        model.fit(X, sample_weight=weight)

rng = np.random.default_rng(0)
X, weight = rng.normal(size=(400_000, D)), rng.uniform(size=400_000)
fit(X[:5000].copy(), weight[:5000].copy())  # loads libraries, starts threads
before = peak()
fit(X, weight)
used = peak() - before
shown = np.ones(40 << 17)  # 40 MiB must show, or the measure sees nothing
assert peak() - before > 38, peak() - before
print(used)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_fit_needs_little_memory(run_python):
    """Beyond X a fit of any type needs under 20 MiB: no array of the responsibilities, 49 MiB."""
    used = float(run_python(MEMORY))
    assert used < 20


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_fit_has_three_arrays_of_covariances_at_most(dtype):
    """Old factors, second moments, new factors; at the end three attributes."""
    k, d = 32, 128
    X = np.random.default_rng(0).normal(size=(2000, d)).astype(dtype)
    model = GaussianMixture(
        k,
        weights_init=np.full(k, 1 / k),
        means_init=X[:k],
        precisions_init=np.tile(np.eye(d), (k, 1, 1)),
        max_iter=3,
        tol=0,
    )
    tracemalloc.start()
    try:
        model.fit(X)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 2.9 < peak / (8 * k * d * d) < 3.3


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_subnormal_numbers_are_the_caller_s_own(n_jobs):
    """Topic kernels take them for 0, and no other code does after that."""
    counts = np.random.default_rng(0).poisson(2.0, (600, 300))
    PLSA(8, max_iter=2, tol=0, random_state=0, n_jobs=n_jobs).fit(counts)
    assert np.all(np.full(100, 1e-310) * 0.5 > 0)


def openmp_threads():
    return [lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "openmp"]


def test_openmp_is_held_to_one_thread_and_let_go():
    with threadpool_limits(3, user_api="openmp"):
        before = openmp_threads()
        with single_threaded_openmp():
            assert set(openmp_threads()) <= {1}
        assert openmp_threads() == before


@pytest.mark.parametrize("n", [100, 1000])
def test_start_of_few_rows_wakes_no_threads(n, monkeypatch):
    """The centers of float32 rows are scikit-learn's; of few rows they are found by one thread."""
    seen = []

    class Seen(KMeans):
        def fit(self, X, y=None, sample_weight=None):
            seen.append(set(openmp_threads()))
            return super().fit(X, y, sample_weight)

    monkeypatch.setattr("fastem.cluster.start.KMeans", Seen)
    X = np.random.default_rng(0).normal(size=(n, 2)).astype(np.float32)
    with threadpool_limits(2, user_api="openmp"):
        there = set(openmp_threads())
        centers, labels = centers_of(X, 3, 0)
        plain = KMeans(3, random_state=0, n_init=10).fit(X)
    assert seen[0] <= {1} if n == 100 else seen == [there]
    assert_allclose(centers, plain.cluster_centers_, rtol=1e-12)
    assert_array_equal(labels, plain.labels_)
