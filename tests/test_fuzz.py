"""Some hundred cases of the fuzz (see fuzz.py), and that it sees what it must see."""

import numpy as np
import pytest
from fuzz import fuzz, run_case
from fuzz_checks import ESTIMATORS, Case, Fault

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


def _kills(self, X, y=None, sample_weight=None):
    import os

    os.abort()


def _forgets(self, X, y=None, sample_weight=None):
    self.means_ = None
    raise ValueError("after the fact")


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
