"""Some hundred cases of the fuzz (see fuzz.py), and that it sees what it must see."""

import numpy as np
import pytest
from fuzz import fuzz, run_case
from fuzz_checks import ESTIMATORS, Case, Fault
from sklearn.utils import check_array

import fastem


def test_some_hundred_cases():
    assert fuzz(seed=0, first=0, n_cases=300, limit=120) == {}


def test_every_estimator_is_drawn():
    drawn = {Case(np.random.default_rng([0, number])).name for number in range(300)}
    assert drawn == {cls.__name__ for cls in ESTIMATORS}


def test_a_case_is_the_same_each_time():
    steps = [], []
    for told in steps:
        run_case(1, 8, told.append)
    assert steps[0] == steps[1]
    assert len(steps[0]) > 2


def _forgets(self, X, y=None, sample_weight=None):
    self.means_ = None
    check_array([[np.nan]])


def _is_nan(self, X, y=None, sample_weight=None):
    self.means_ = np.full((1, 1), np.nan)
    return self


def _falls(self, X, y=None, sample_weight=None):
    self.lower_bounds_ = [1.0, 0.5]
    return self


def _writes(self, X, y=None, sample_weight=None):
    X[0, 0] += 1
    return self


@pytest.mark.parametrize(
    ("fit", "fault"),
    [
        (lambda self, X, y=None: [][0], "IndexError"),
        (lambda self, X, y=None: "a" < 1, "not raised on purpose"),
        (_forgets, "left means_ changed"),
        (_is_nan, "means_ has NaN"),
        (_falls, "the bound fell by 0.5"),
        (_writes, "fit changed X"),
    ],
)
def test_it_sees_faults(monkeypatch, fit, fault):
    case = Case(np.random.default_rng(0))
    case.estimator, case.name = fastem.GaussianMixture(reg_covar=0.0), "GaussianMixture"
    monkeypatch.setattr(fastem.GaussianMixture, "fit", fit)
    with pytest.raises(Fault, match=fault):
        case.call("fit", np.ones((3, 2)), None)


# ---- what it found, and no other test has ------------------------------------------------------


def test_a_score_leaves_out_what_has_no_weight():
    """A row without weight may be impossible in the fit: 0 times -inf is not the score."""
    X = np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    weight = np.array([1.0, 2.0, 0.0, 0.0])
    model = fastem.BernoulliMixture(1).fit(X, sample_weight=weight)
    assert model.score_samples(X)[2] == -np.inf
    expected = (2 * np.log(2 / 3) + np.log(1 / 3)) / 3
    assert model.score(X, sample_weight=weight) == pytest.approx(expected)


@pytest.mark.parametrize("n_samples", [np.nan, np.inf])
def test_a_number_of_samples_is_a_number(n_samples):
    model = fastem.GaussianMixture().fit(np.arange(6.0)[:, None])
    with pytest.raises(TypeError, match="n_samples must be an integer of at least 1, got"):
        model.sample(n_samples)


def test_counts_whose_products_vanish_are_refused():
    """The bound of such a fit fell."""
    X = np.random.default_rng(0).poisson(1.0, size=(11, 4)) * 1e-300
    with pytest.raises(ValueError, match=r"products of such sums vanish: multiply them"):
        fastem.PLSA(2).fit(X)


@pytest.mark.parametrize("weight", ["a", 2.0, {}])
def test_weights_of_sequences_are_numbers_of_each(weight):
    with pytest.raises((TypeError, ValueError), match="sample_weight must"):
        fastem.CategoricalHMM(2).fit([[0], [1], [0]], sample_weight=weight)


# ---- what runs the cases -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "fault"),
    [("os.abort()", "ended with -6"), ("time.sleep(60)", "Timeout")],
    ids=["crash", "hang"],
)
def test_it_survives_crashes_and_hangs(tmp_path, monkeypatch, code, fault):
    """The case is named, and those after it run."""
    import fuzz as module

    script = tmp_path / "fuzz.py"
    script.write_text(
        f"import os, sys, time\nsys.path.insert(0, {str(module.Path(module.__file__).parent)!r})\n"
        "import importlib.util\n"
        f"spec = importlib.util.spec_from_file_location('real', {module.__file__!r})\n"
        "real = importlib.util.module_from_spec(spec)\nspec.loader.exec_module(real)\n"
        f"real.run_case = lambda seed, number, say=None: {code} if number == 1 else None\n"
        "sys.exit(real.main())\n"
    )
    monkeypatch.setattr(module, "__file__", str(script))
    faults = module.fuzz(seed=0, first=0, n_cases=3, limit=1)
    assert list(faults) == [1]
    assert fault in faults[1]
