"""Checkpoints: a fit that was killed, begun again, ends with the bits of one that never was."""

import errno
import os
import pickle
import random
import signal
import subprocess
import sys
import textwrap
import time
import warnings

import numpy as np
import pytest
from cases import CASES
from numpy.testing import assert_array_equal

from fastem import (
    GMMHMM,
    PLSA,
    BayesianGaussianMixture,
    BernoulliMixture,
    Blocks,
    CategoricalHMM,
    CategoricalMixture,
    GaussianHMM,
    GaussianLDA,
    GaussianMixture,
    KMeans,
    LatentDirichletAllocation,
    MultinomialMixture,
    PoissonMixture,
    StudentMixture,
    em,
)
from fastem._engine import checkpoints

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Killed(Exception):
    pass


def killing(n):
    """Return a callback that ends the program, as it were, at the n-th iteration of a fit."""
    seen = []

    def kill(state):
        seen.append(state.iteration)
        if len(seen) == n:
            raise Killed

    return kill


def bits(value):
    """Return all numbers within a value, bit for bit."""
    if isinstance(value, np.ndarray):
        return [value.dtype.str, value.shape, value.tobytes()]
    if isinstance(value, dict):
        return [(k, bits(v)) for k, v in sorted(value.items(), key=repr)]
    if isinstance(value, (list, tuple)):
        return [bits(one) for one in value]
    if isinstance(value, np.random.RandomState):
        return repr(value.get_state())
    if hasattr(value, "state") and type(value).__name__ == "GammaStream":
        return repr(value.state)
    if hasattr(type(value), "__slots__"):
        return [bits(getattr(value, name)) for name in type(value).__slots__]
    if hasattr(value, "__dict__") and not isinstance(value, type):
        return bits(vars(value))
    return repr(value)


# ---- every model and schedule, interrupted after every iteration -----------------------------

SMALL = {}
for one in CASES:
    key = type(one).__name__, one.dtype, getattr(one, "kind", getattr(one, "family", None))
    SMALL.setdefault((*key, getattr(one, "bounded", None)), one)


@pytest.mark.parametrize("schedule", ["batch", "incremental", "squarem"])
@pytest.mark.parametrize("case", SMALL.values(), ids=lambda c: repr(c)[:70])
def test_every_model_goes_on_with_the_same_bits(case, schedule, tmp_path):
    X = case.data()
    if schedule == "squarem" and (
        isinstance(case.model(), em.RowState) or type(case).__name__ == "LDACase"
    ):
        pytest.skip("not for this model")

    def fit(checkpoint=None, callbacks=()):
        return em.fit(
            case.model(), [case.block(X), case.block(X[: len(X) // 2])], lambda _: case.start(X),
            schedule=schedule, n_init=3, tol=0, max_iter=3, callbacks=callbacks,
            checkpoint=checkpoint,
        )  # fmt: skip

    iterations = []
    expected = bits(fit(callbacks=[lambda state: iterations.append(state.init)]))
    n_first = iterations.count(0)
    for n in {n_first, n_first + 2}:  # between two restarts, and within the second
        file = em.Checkpoint(tmp_path / str(n), iterations=1)
        with pytest.raises(Killed):
            fit(file, [killing(n)])
        left = []
        assert bits(fit(file, [lambda state, left=left: left.append(state.init)])) == expected
        assert len(left) <= len(iterations) - n + 1  # it went on, and did not start again
        assert bits(fit(file, [killing(1)])) == expected  # it only reads the end


RNG = np.random.RandomState(0)
X = RNG.normal(size=(300, 3)) + 2 * RNG.randint(3, size=(300, 1))
COUNTS = RNG.poisson(0.7, size=(60, 30)).astype(float)
CATEGORIES = RNG.randint(3, size=(200, 4)).astype(float)
SYMBOLS = RNG.randint(3, size=(200, 1))
WEIGHT = np.linspace(0.5, 2, 300)

ESTIMATORS = {
    **{
        f"{kind}-{algorithm}": (
            GaussianMixture(3, covariance_type=kind, n_init=3, algorithm=algorithm, max_iter=6,
                            init_params="random_from_data", random_state=0, tol=0), X)
        for kind in ("full", "tied", "diag", "spherical")
        for algorithm in ("em", "squarem", "incremental")
    },
    "noise": (GaussianMixture(3, noise=True, n_init=3, max_iter=5, tol=0, random_state=0), X),
    "student": (StudentMixture(3, n_init=3, max_iter=5, tol=0, random_state=0), X),
    "bayesian": (BayesianGaussianMixture(3, n_init=3, max_iter=5, tol=0, random_state=0), X),
    "bernoulli": (BernoulliMixture(3, n_init=3, max_iter=5, random_state=0), COUNTS > 0),
    "categorical": (CategoricalMixture(3, n_init=3, max_iter=5, random_state=0), CATEGORIES),
    "multinomial": (MultinomialMixture(3, n_init=3, max_iter=5, random_state=0), COUNTS),
    "poisson": (PoissonMixture(3, n_init=3, max_iter=5, algorithm="squarem", random_state=0),
                COUNTS),
    "kmeans": (KMeans(9, n_init=3, init="random", random_state=0, tol=0), X),
    "kmeans-elkan": (KMeans(5, n_init=3, random_state=1, algorithm="elkan"), X),
    "plsa": (PLSA(4, n_init=3, max_iter=5, random_state=0), COUNTS),
    "plsa-incremental": (PLSA(4, n_init=3, max_iter=5, algorithm="incremental", batch_size=20,
                              random_state=0), COUNTS),
    "plsa-held-out": (PLSA(4, n_init=2, max_iter=8, beta="held-out", random_state=0), COUNTS),
    **{
        f"lda-{method}": (
            LatentDirichletAllocation(3, learning_method=method, max_iter=5, batch_size=20,
                                      random_state=0, evaluate_every=every), COUNTS)
        for method in ("batch", "online", "incremental", "cvb0", "stochastic")
        for every in (1,)
    },
    "lda-auto": (LatentDirichletAllocation(3, doc_topic_prior="auto", topic_word_prior="auto",
                                           max_iter=6, random_state=0), COUNTS),
    "gaussian-lda": (GaussianLDA(3, vectors=RNG.normal(size=(30, 2)), n_init=3, max_iter=4,
                                 random_state=0), COUNTS),
    "hmm": (GaussianHMM(3, n_init=3, n_iter=5, tol=-np.inf, random_state=0), X),
    "gmmhmm": (GMMHMM(2, n_mix=2, n_init=2, n_iter=4, tol=-np.inf, random_state=0), X),
    "categorical-hmm": (CategoricalHMM(3, n_init=3, n_iter=5, tol=-np.inf, random_state=0),
                        SYMBOLS),
}  # fmt: skip


def fresh(estimator):
    from sklearn.base import clone

    return clone(estimator)


def fitted(estimator):
    """Return everything that a fit has set."""
    found = {k: v for k, v in vars(estimator).items() if k not in estimator.get_params()}
    found.pop("_keeper", None)
    return bits(found)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_goes_on_with_the_same_bits(name, tmp_path):
    estimator, data = ESTIMATORS[name]
    states = []
    with em.watch(lambda state: states.append(state.init)):
        whole = fresh(estimator).fit(data)
    expected = fitted(whole)
    first = states.count(0)
    for n in {1, 2, first, first + 1, first + 2, len(states) - 1} & set(range(1, len(states) + 1)):
        file = em.Checkpoint(tmp_path / str(n), iterations=1)
        killed = fresh(estimator)
        with pytest.raises(Killed), em.watch(killing(n)):
            killed.fit(data, checkpoint=file)
        assert not hasattr(killed, "n_iter_")
        left = []
        with em.watch(lambda state, left=left: left.append(state.init)):
            again = fresh(estimator).fit(data, checkpoint=file)
        assert fitted(again) == expected
        assert len(left) <= len(states) - n + 1
        with em.watch(killing(1)):
            assert fitted(fresh(estimator).fit(data, checkpoint=file)) == expected
    assert "_keeper" not in vars(whole)


def test_a_path_alone_is_enough_and_weights_count(tmp_path):
    mixture = GaussianMixture(3, random_state=0)
    path = tmp_path / "fit"
    expected = fresh(mixture).fit(X, sample_weight=WEIGHT)
    assert fitted(fresh(mixture).fit(X, sample_weight=WEIGHT, checkpoint=path)) == fitted(expected)
    assert sorted(os.listdir(tmp_path)) == ["fit"]
    assert fitted(fresh(mixture).fit(X, sample_weight=WEIGHT, checkpoint=str(path))) == fitted(
        expected
    )
    with pytest.raises(ValueError, match=r"another fit: its .*sample_weight is .*, here None"):
        fresh(mixture).fit(X, checkpoint=path)


def test_a_small_k_means_is_written_too(tmp_path):
    kmeans = KMeans(3, random_state=0)
    expected = fitted(fresh(kmeans).fit(X))
    again = fresh(kmeans).fit(X, checkpoint=tmp_path / "fit")
    assert os.listdir(tmp_path) == ["fit"]
    assert "_keeper" not in vars(again)
    assert fitted(again) == expected


def test_blocks_go_on_with_the_same_bits(tmp_path):
    mixture = GaussianMixture(3, random_state=0, tol=0, max_iter=6, n_init=2)
    blocks = Blocks.from_arrays(X, batch_rows=70)
    expected = fitted(fresh(mixture).fit(blocks))
    file = em.Checkpoint(tmp_path / "fit", iterations=1)
    with pytest.raises(Killed), em.watch(killing(8)):
        fresh(mixture).fit(blocks, checkpoint=file)
    assert fitted(fresh(mixture).fit(blocks, checkpoint=file)) == expected


def test_threads_do_not_matter(tmp_path):
    mixture = GaussianMixture(3, random_state=0, n_jobs=1)
    first = fresh(mixture).fit(X, checkpoint=tmp_path / "fit")
    again = fresh(mixture).set_params(n_jobs=2, verbose=0).fit(X, checkpoint=tmp_path / "fit")
    assert_array_equal(first.means_, again.means_)


# ---- files that are damaged, or of something else ---------------------------------------------


def two_checkpoints(tmp_path):
    """Return the path of a fit that was killed, with its last two checkpoints."""
    path = tmp_path / "fit"
    with pytest.raises(Killed), em.watch(killing(4)):
        MIXTURE().fit(X, checkpoint=em.Checkpoint(path, iterations=1))
    assert sorted(os.listdir(tmp_path)) == ["fit", "fit.previous"]
    return path


def MIXTURE(n_components=3):
    return GaussianMixture(n_components, random_state=0, tol=0, max_iter=6)


def cut(content):
    return content[: len(content) // 2]


def one_bit(content):
    at = len(content) // 2
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize(
    ("damage", "words"),
    [(cut, "checksum is wrong"), (one_bit, "checksum is wrong"), (lambda _: b"", "no checkpoint"),
     (lambda _: pickle.dumps({"params": 3}), "no checkpoint")],
)  # fmt: skip
def test_a_damaged_checkpoint_is_refused_and_the_previous_one_used(damage, words, tmp_path):
    expected = fitted(MIXTURE().fit(X))
    path = two_checkpoints(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(RuntimeWarning, match=rf"fit is damaged: .*{words}.*goes on from.*previous"):
        again = MIXTURE().fit(X, checkpoint=path)
    assert fitted(again) == expected
    assert (tmp_path / "fit.refused").exists()  # nothing is lost
    assert fitted(MIXTURE().fit(X, checkpoint=path)) == expected


def test_two_damaged_checkpoints_are_an_error_and_stay(tmp_path):
    path = two_checkpoints(tmp_path)
    for file in (path, tmp_path / "fit.previous"):
        file.write_bytes(cut(file.read_bytes()))
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"checkpoint: .*fit is damaged: .*Nothing was changed"):
        MIXTURE().fit(X, checkpoint=path)
    assert path.read_bytes() == before


def test_a_kill_between_two_names_loses_nothing(tmp_path):
    expected = fitted(MIXTURE().fit(X))
    path = two_checkpoints(tmp_path)
    os.unlink(path)
    assert fitted(MIXTURE().fit(X, checkpoint=path)) == expected


@pytest.mark.parametrize(
    ("estimator", "data", "words"),
    [
        (MIXTURE(4), X, "n_components is 3, here 4"),
        (MIXTURE().set_params(tol=1e-3), X, "tol is 0"),
        (MIXTURE(), X[:-1], "X is"),
        (MIXTURE(), X + 1e-9, "X is"),
        (BayesianGaussianMixture(3, random_state=0), X, "GaussianMixture is"),
    ],
)
def test_a_checkpoint_of_another_fit_is_refused(estimator, data, words, tmp_path):
    path = two_checkpoints(tmp_path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"is of another fit: its.*{words}"):
        estimator.fit(data, checkpoint=path)
    assert path.read_bytes() == before
    assert not hasattr(estimator, "means_")


@pytest.mark.parametrize("name", ["plsa", "lda-batch", "lda-online", "gaussian-lda", "categorical",
                                  "categorical-hmm", "hmm", "kmeans"])  # fmt: skip
def test_blocks_of_other_data_are_noticed(name, tmp_path):
    estimator, rows = ESTIMATORS[name]
    file = em.Checkpoint(tmp_path / "f", iterations=1)

    def fit(rows):
        fresh(estimator).fit(Blocks(lambda: iter([rows[:20], rows[20:]])), checkpoint=file)

    fit(rows)
    with pytest.raises(ValueError, match="is of a fit with another start: random_state, the data"):
        fit(rows[::-1].copy())
    fit(rows)


def test_another_start_is_noticed(tmp_path):
    case = next(iter(SMALL.values()))
    data = case.data()
    settings = {"tol": 0, "max_iter": 2, "checkpoint": tmp_path / "fit"}
    start = case.start(data)
    em.fit(case.model(), [case.block(data)], start, **settings)
    other = start._replace(means=start.means + 1)
    with pytest.raises(ValueError, match="of a fit with another start"):
        em.fit(case.model(), [case.block(data)], other, **settings)


def test_another_version_is_refused(tmp_path, monkeypatch):
    path = two_checkpoints(tmp_path)
    monkeypatch.setattr(checkpoints, "__version__", "0.0.1")
    with pytest.raises(ValueError, match=r"its version is '.*', here '0.0.1'"):
        MIXTURE().fit(X, checkpoint=path)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"iterations": 0}, "iterations must be an integer and at least 1"),
        ({"iterations": 1.5}, "iterations must be an integer.*got 1.5"),
        ({"iterations": "3"}, "iterations must be an integer.*got '3'"),
        ({"seconds": -1}, "seconds must be"),
        ({"seconds": None}, "seconds must be a number.*got None"),
    ],
)
def test_bad_settings_are_refused(settings, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        em.Checkpoint(tmp_path / "fit", **settings)


def test_bad_paths_are_refused_before_any_work(tmp_path):
    with pytest.raises(ValueError, match="there is no folder"):
        MIXTURE().fit(X, checkpoint=tmp_path / "nowhere" / "fit")
    with pytest.raises(ValueError, match="must be a file"):
        MIXTURE().fit(X, checkpoint=tmp_path)
    for path in (3, b"fit", ["fit"]):
        with pytest.raises(TypeError, match=r"a path or em\.Checkpoint, got"):
            MIXTURE().fit(X, checkpoint=path)
    with pytest.raises(ValueError, match="random_state must be an integer"):
        GaussianMixture(3).fit(X, checkpoint=tmp_path / "fit")


# ---- writing that fails -------------------------------------------------------------------------


def test_a_full_disk_leaves_the_last_checkpoint_and_the_fit_goes_on(tmp_path, monkeypatch):
    expected = fitted(MIXTURE().fit(X))
    path = two_checkpoints(tmp_path)
    before = path.read_bytes()

    def full(number):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints.os, "fsync", full)
    often = em.Checkpoint(path, iterations=1)
    with pytest.warns(RuntimeWarning, match="could not be written: .*No space left") as warned:
        again = MIXTURE().fit(X, checkpoint=often)
    assert sum(w.category is RuntimeWarning for w in warned) == 1
    assert fitted(again) == expected
    assert path.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["fit", "fit.previous"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupt_while_writing_leaves_the_last_checkpoint(error, tmp_path, monkeypatch):
    expected = fitted(MIXTURE().fit(X))
    path = two_checkpoints(tmp_path)
    before, pieces = path.read_bytes(), checkpoints._pieces

    def interrupted(text, arrays):
        for number, piece in enumerate(pieces(text, arrays)):
            if number == 3:
                raise error
            yield piece

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "_pieces", interrupted)
        with pytest.raises(error):
            MIXTURE().fit(X, checkpoint=em.Checkpoint(path, iterations=1))
    assert path.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["fit", "fit.previous"]
    assert fitted(MIXTURE().fit(X, checkpoint=path)) == expected


def test_seconds_and_iterations(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: clock[0])
    written = []
    keep = checkpoints.Keeper.write

    def write(self, state):
        written.append(None if state["current"] is None else state["current"].n_iter)
        keep(self, state)

    monkeypatch.setattr(checkpoints.Keeper, "write", write)

    def fit(name, **settings):
        written.clear()
        clock[0] = 0.0
        mixture = GaussianMixture(3, random_state=0, tol=0, max_iter=9)
        with em.watch(lambda state: clock.__setitem__(0, clock[0] + 1.0)):
            mixture.fit(X, checkpoint=em.Checkpoint(tmp_path / name, **settings))
        return list(written)

    assert fit("a", seconds=3.0) == [3, 6, 9, None]
    assert fit("b", iterations=4) == [4, 8, None]
    assert fit("c") == [None]


# ---- real kills --------------------------------------------------------------------------------

PROGRAM = """
    import sys, time, zlib
    import numpy as np
    from fastem import GaussianMixture, KMeans, PLSA, em
    rng = np.random.RandomState(0)
    X = rng.normal(size=(2000, 4)) + 2 * rng.randint(3, size=(2000, 1))
    counts = rng.poisson(0.7, size=(200, 50)).astype(float)
    estimator, data, names = {{
        "mixture": (GaussianMixture(4, n_init=3, max_iter=40, tol=0, random_state=0), X,
                    ["means_", "covariances_"]),
        "squarem": (GaussianMixture(4, n_init=3, max_iter=40, tol=0, random_state=0,
                                    algorithm="squarem"), X, ["means_", "covariances_"]),
        "kmeans": (KMeans(30, n_init=3, init="random", random_state=0), X, ["cluster_centers_"]),
        "plsa": (PLSA(5, algorithm="incremental", batch_size=50, n_init=2, max_iter=40, tol=0,
                      random_state=0), counts, ["components_"]),
    }}["{name}"]
    import warnings
    warnings.simplefilter("ignore")
    path, wait = sys.argv[1], float(sys.argv[2])
    with em.watch(lambda state: time.sleep(wait)):
        print("begun", flush=True)
        estimator.fit(data, checkpoint=em.Checkpoint(path, iterations=1) if path else None)
    print(*(zlib.crc32(getattr(estimator, name).tobytes()) for name in names),
          repr(estimator.lower_bounds_))
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is of POSIX")
@pytest.mark.parametrize("name", ["mixture", "squarem", "kmeans", "plsa"])
def test_a_fit_that_is_killed_ends_with_the_same_bits(name, tmp_path, run_python):
    code = textwrap.dedent(PROGRAM).format(name=name)
    path = tmp_path / "fit"

    def run(*arguments):
        return [sys.executable, "-c", code, *arguments]

    whole = subprocess.run(run("", "0"), capture_output=True, text=True, timeout=100, check=True)
    moments, kills = random.Random(name), 0
    for _ in range(3):
        process = subprocess.Popen(run(str(path), "0.01"), stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()  # it has begun
        time.sleep(moments.uniform(0.05, 0.4))
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    assert kills > 0
    last = subprocess.run(run(str(path), "0"), capture_output=True, text=True, timeout=100)
    assert last.returncode == 0, last.stderr
    assert last.stdout == whole.stdout


def test_a_fit_without_a_checkpoint_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        MIXTURE().fit(X)
    assert os.listdir(tmp_path) == []
