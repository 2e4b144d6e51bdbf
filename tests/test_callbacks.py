"""scikit-learn's callbacks (1.9 and later) on GaussianMixture."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastem import GaussianMixture

callback = pytest.importorskip("sklearn.callback", reason="scikit-learn has no callbacks yet")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, y = load_iris(return_X_y=True)


class Recorder:
    """Follows scikit-learn's protocol; asks to stop at an iteration."""

    def __init__(self, stop_at=None):
        self.stop_at, self.log, self.fitted, self.seen = stop_at, [], [], []

    def setup(self, estimator, context):
        self.log.append("setup")

    def teardown(self, estimator, context):
        self.log.append("teardown")

    def on_fit_task_begin(self, estimator, context, *, X=None):
        self.log.append(f"{context.task_name} {context.task_id} begins")
        self.seen.append(X)

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None, metadata=None):
        self.log.append(f"{context.task_name} {context.task_id} ends")
        self.fitted.append((context.task_name, fitted_estimator))
        self.metadata = metadata
        return context.task_name == "iteration" and context.task_id + 1 == self.stop_at


def mixture(**parameters):
    return GaussianMixture(3, **({"random_state": 0} | parameters))


def test_hooks_are_called_in_order():
    """The tree is fit > initialization > iteration, each begun and ended once."""
    recorder = Recorder()
    mixture(max_iter=2, n_init=2).set_callbacks(recorder).fit(X)
    expected = ["setup", "fit 0 begins"]
    for init in (0, 1):
        expected.append(f"initialization {init} begins")
        for iteration in (0, 1):
            expected += [f"iteration {iteration} begins", f"iteration {iteration} ends"]
        expected.append(f"initialization {init} ends")
    assert recorder.log == [*expected, "fit 0 ends", "teardown"]
    assert all(seen is not None and np.array_equal(seen, X) for seen in recorder.seen)


def test_each_iteration_shows_a_fitted_estimator():
    """At an iteration's end callbacks may see the mixture as if max_iter had been that."""
    recorder = Recorder()
    final = mixture().set_callbacks(recorder).fit(X)
    shown = [fitted for task, fitted in recorder.fitted if task == "iteration"]
    assert len(shown) == final.n_iter_ > 3
    for n_iter, fitted in enumerate(shown[:-1], 1):
        expected = mixture(max_iter=n_iter).fit(X)
        assert fitted.score(X) == expected.score(X)
        assert fitted.lower_bounds_ == expected.lower_bounds_
        assert fitted.n_iter_ == n_iter
    assert recorder.fitted[-1][1].score(X) == final.score(X)


def test_a_callback_that_returns_true_stops():
    """The fit ends there, not converged, and is what max_iter would have given."""
    stopped = mixture().set_callbacks(Recorder(stop_at=3)).fit(X)
    expected = mixture(max_iter=3).fit(X)
    assert (stopped.n_iter_, stopped.converged_) == (3, False)
    assert np.array_equal(stopped.means_, expected.means_)


def test_teardown_comes_also_after_an_error():
    """A fit that fails tears its callbacks down, and leaves nothing of the run behind."""
    recorder = Recorder()
    model = mixture(reg_covar=0, init_params="random").set_callbacks(recorder)
    with pytest.raises(ValueError, match="ill-defined"):
        model.fit(np.ones((9, 2)))
    assert recorder.log[-1] == "teardown"
    assert not any("callback" in name and name != "_skl_callbacks" for name in vars(model))


def test_callbacks_do_not_change_the_fit():
    """With and without them: the same bits."""
    with_callback = mixture(n_init=2).set_callbacks(Recorder()).fit(X)
    assert np.array_equal(with_callback.covariances_, mixture(n_init=2).fit(X).covariances_)


def test_sample_weight_reaches_callbacks():
    """Weights are shown as metadata, as scikit-learn's own estimators do."""
    recorder, weight = Recorder(), np.arange(150.0)
    mixture().set_callbacks(recorder).fit(X, sample_weight=weight)
    assert np.array_equal(recorder.metadata["sample_weight"], weight)


def logged(scoring, labels=None, **fit):
    """Return the final mixture, and what ScoringMonitor noted at each iteration's end."""
    monitor = callback.ScoringMonitor(scoring=scoring)
    final = mixture().set_callbacks(monitor).fit(X, labels, **fit)
    rows = [row for row in monitor.get_logs().data if row["task_name"] == "iteration"]
    assert len(rows) == final.n_iter_ > 3
    return final, rows


def mean_log_density(estimator, X, y, sample_weight=None):
    return {"score": estimator.score(X, sample_weight=sample_weight)}


@pytest.mark.parametrize("weight", [None, np.arange(1.0, 151)], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("labels", [None, y], ids=["without y", "with y"])
def test_scoring_monitor_logs_the_score_of_each_iteration(labels, weight):
    """ScoringMonitor's values are the scores of mixtures fitted with that many iterations."""
    final, rows = logged(mean_log_density, labels, sample_weight=weight)
    expected = [
        mixture(max_iter=n).fit(X, sample_weight=weight).score(X, sample_weight=weight)
        for n in range(1, final.n_iter_ + 1)
    ]
    assert [row["score"] for row in rows] == pytest.approx(expected, rel=1e-12)


def test_scoring_monitor_compares_with_labels():
    """The y given to fit reaches scores that need it."""
    final, rows = logged("adjusted_rand_score", y)
    assert rows[-1]["adjusted_rand_score"] == adjusted_rand_score(y, final.predict(X)) > 0.5


def test_progress_bar_shows_the_fit(capsys):
    """ProgressBar has a line for the fit and one for each restart, and reaches the end."""
    pytest.importorskip("rich")
    mixture(n_init=2).set_callbacks(callback.ProgressBar()).fit(X)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("━")[0].strip() for line in lines if "━" in line] == [
        "GaussianMixture - fit",
        "GaussianMixture - initialization #0",
        "GaussianMixture - initialization #1",
    ]
    assert all("100%" in line for line in lines if "━" in line)


def test_callbacks_survive_clone_and_pickle_as_scikit_learn_s_do():
    """A clone shares its callbacks, a pickle has its own; StandardScaler does the same."""
    recorder = Recorder()
    for estimator in (StandardScaler(), mixture()):
        estimator.set_callbacks(recorder)
        assert clone(estimator)._skl_callbacks == [recorder]
        (copied,) = pickle.loads(pickle.dumps(estimator))._skl_callbacks
        assert type(copied) is Recorder
        assert estimator.set_callbacks() is estimator
        assert not hasattr(clone(estimator), "_skl_callbacks")


def test_what_is_no_callback_is_refused():
    """set_callbacks checks for the protocol, as everywhere in scikit-learn."""
    with pytest.raises(TypeError, match="FitCallback protocol"):
        mixture().set_callbacks(print)


def test_works_within_meta_estimators(capsys):
    """A ProgressBar set on a pipeline in a grid search shows the mixtures too."""
    pytest.importorskip("rich")
    pipeline = make_pipeline(StandardScaler(), mixture(max_iter=3))
    grid = {"gaussianmixture__n_components": [1, 2]}
    search = GridSearchCV(pipeline, grid, cv=2)
    search.set_callbacks(callback.ProgressBar(max_propagation_depth=None)).fit(X)
    assert "GaussianMixture - fit" in capsys.readouterr().out
