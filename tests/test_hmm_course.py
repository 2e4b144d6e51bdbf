"""The course of a fit of a hidden Markov model: why it stops, who watches, what an error leaves."""

import logging
import signal
import threading
import time

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from test_hmm_fit import LENGTHS, attributes, counts, reals

import fastem
from fastem import GaussianHMM, PoissonHMM


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level(logging.ERROR)


def test_why_a_fit_stopped():
    """Convergence is that the likelihood rose by less than tol, never that iterations ran out."""
    X = reals()
    model = GaussianHMM(3, random_state=0, n_iter=1000, tol=1e-3).fit(X, LENGTHS)
    history = model.monitor_.history
    assert model.converged_
    assert model.stop_reason_ == "converged"
    assert model.monitor_.converged
    assert model.n_iter_ == model.monitor_.iter == len(history) == len(model.lower_bounds_) < 1000
    assert history[-1] - history[-2] < 1e-3 <= history[-2] - history[-3]
    model.set_params(n_iter=2).fit(X, LENGTHS)
    assert (model.converged_, model.stop_reason_, model.n_iter_) == (False, "n_iter", 2)
    assert not model.monitor_.converged
    with fastem.em.watch(lambda state: state.iteration == 1):
        model.fit(X, LENGTHS)
    assert (model.converged_, model.stop_reason_, model.n_iter_) == (False, "callback", 1)


def test_a_monitor_of_your_own():
    """Any object with report, history and converged may decide."""

    class Three(type(GaussianHMM().monitor_)):
        @property
        def converged(self):
            return self.iter >= 3

    model = GaussianHMM(3, random_state=0, n_iter=50, tol=-np.inf)
    model.monitor_ = Three(model.monitor_.tol, model.monitor_.n_iter, False)
    model.fit(reals(), LENGTHS)
    assert model.n_iter_ == model.monitor_.iter == 3
    assert (model.converged_, model.stop_reason_) == (True, "converged")
    before = list(model.monitor_.history)
    with pytest.raises(ValueError, match="infinity"):
        model.fit(np.full((4, 2), np.inf))
    assert list(model.monitor_.history) == before


class Plain:
    """What a monitor has to have, and no more."""

    def __init__(self, most):
        self.most, self.history = most, []

    def report(self, log_prob):
        self.history.append(log_prob)

    @property
    def converged(self):
        return len(self.history) >= self.most


def test_a_plain_monitor_sees_each_fit_and_each_restart_from_its_beginning():
    """It has no _reset: with the history of an earlier fit it would end the next at once."""
    model = GaussianHMM(2, random_state=0, n_init=3)
    model.monitor_ = Plain(4)
    for _ in range(2):
        assert model.fit(reals()).n_iter_ == 4
        assert len(model.monitor_.history) == 4
        assert len(model.lower_bounds_) == 4


@pytest.mark.parametrize("monitor", [3, [], "slow"])
def test_what_is_no_monitor_is_refused(monitor):
    model = GaussianHMM(2, random_state=0)
    model.monitor_ = monitor
    with pytest.raises(TypeError, match=r"monitor_ must be a ConvergenceMonitor, or have report"):
        model.fit(reals())
    assert not hasattr(model, "means_")
    del model.monitor_
    assert model.fit(reals()).monitor_.history


def test_verbose_prints_each_iteration(capsys):
    GaussianHMM(2, random_state=0, n_iter=3, tol=-np.inf, verbose=True).fit(reals())
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2", "3"]


def test_restarts_keep_the_best():
    """n_init keeps the largest bound; the first restart is the fit without restarts."""
    X = counts()
    one = PoissonHMM(4, random_state=5, n_iter=20).fit(X, LENGTHS)
    best = PoissonHMM(4, random_state=5, n_iter=20, n_init=6).fit(X, LENGTHS)
    assert best.lower_bound_ >= one.lower_bound_
    assert len(best.monitor_.history) == best.n_iter_ == len(best.lower_bounds_)
    assert_allclose(best.monitor_.history, np.array(best.lower_bounds_) * len(X), rtol=1e-12)
    again = PoissonHMM(4, random_state=5, n_iter=20, n_init=6).fit(X, LENGTHS)
    assert_array_equal(again.lambdas_, best.lambdas_)


def test_no_iterations_leave_the_start():
    model = GaussianHMM(3, n_iter=0, random_state=0).fit(reals(), LENGTHS)
    assert_allclose(model.transmat_.sum(axis=1), 1)
    assert np.isfinite(model.score(reals()))
    assert model.stop_reason_ == "n_iter"


def test_a_failed_fit_leaves_the_model_as_it_was():
    X = reals()
    model = GaussianHMM(3, random_state=0).fit(X, LENGTHS)
    before = {name: np.copy(value) for name, value in attributes(model).items()}
    history = list(model.monitor_.history)
    for bad in ({"X": np.full((9, 2), np.inf)}, {"X": X, "lengths": [3]}, {"X": X[:, :1] + 1e200}):
        with pytest.raises(ValueError, match=r"."):
            model.fit(**bad)
        for name, value in before.items():
            assert_array_equal(attributes(model)[name], value)
        assert list(model.monitor_.history) == history
        assert model.n_features_in_ == 2


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals")
def test_ctrl_c_leaves_the_last_whole_iteration():
    X = reals()
    model = GaussianHMM(3, random_state=0, n_iter=10**6, tol=-np.inf)

    def interrupt(state):
        if state.iteration == 4:
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.01)

    with fastem.em.watch(interrupt), pytest.raises(KeyboardInterrupt):
        model.fit(X, LENGTHS)
    assert model.n_iter_ == 4
    assert model.stop_reason_ == "interrupted"
    assert np.isfinite(model.score(X, LENGTHS))


def test_what_will_be_overwritten_is_told(caplog):
    """A value that was set by hand, and not one that a fit left."""
    caplog.set_level(logging.WARNING)
    model = GaussianHMM(2, random_state=0)
    model.startprob_ = [0.5, 0.5]
    model.fit(reals())
    assert "startprob_ is set, but will be overwritten" in caplog.text
    caplog.clear()
    model.fit(reals())
    assert not caplog.records
