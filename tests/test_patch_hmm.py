"""Programs that use hmmlearn: its classes run on ours, and read what ours fitted."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastem

hmm = pytest.importorskip("hmmlearn.hmm", reason="hmmlearn is not installed")

RNG = np.random.default_rng(0)
REALS = np.concatenate([RNG.normal(size=(60, 2)), RNG.normal(4, 1, (60, 2))])
COUNTS = RNG.poisson(np.repeat([2, 9], 60)[:, None] * np.ones(2))
CLASSES = {
    "GaussianHMM": ({"covariance_type": "full"}, REALS),
    "GMMHMM": ({"n_mix": 2}, REALS),
    "CategoricalHMM": ({}, COUNTS[:, :1]),
    "MultinomialHMM": ({}, COUNTS),
    "PoissonHMM": ({}, COUNTS),
}
LENGTHS = [50, 70]


def fitted(name):
    settings, X = CLASSES[name]
    return getattr(hmm, name)(2, random_state=0, n_iter=8, **settings).fit(X, LENGTHS), X


def answers(model, X):
    return model.score(X, LENGTHS), model.predict_proba(X, LENGTHS), model.bic(X, LENGTHS)


@pytest.mark.parametrize("name", CLASSES)
def test_a_program_gets_the_same(name, caplog):
    """The same fit, the same attributes and kinds of attributes, and no fallback."""
    expected, X = fitted(name)
    theirs = answers(expected, X)
    caplog.set_level("INFO", logger="fastem")
    with fastem.patched():
        model, _ = fitted(name)
        assert isinstance(model, getattr(fastem, name))
        assert type(model) is getattr(hmm, name)
        ours = answers(model, X)
        path = model.predict(X, LENGTHS)
    assert "fit was run by fastem" in caplog.text
    assert "runs its own code" not in caplog.text
    names = {key for key in vars(expected) if key not in ("random_state", "n_trials")}
    assert names <= set(vars(model))
    assert set(vars(model)) <= {*vars(expected)}
    for key in ("startprob_", "transmat_", "means_", "_covars_", "emissionprob_", "lambdas_"):
        if hasattr(expected, key):
            assert_allclose(getattr(model, key), getattr(expected, key), rtol=1e-7, atol=1e-9)
    assert_allclose(model.monitor_.history, expected.monitor_.history, rtol=1e-10)
    assert type(model.monitor_) is type(expected.monitor_)
    if name != "GMMHMM":  # whose weights hmmlearn counts once for all states
        assert_allclose(ours[2], theirs[2], rtol=1e-9)
    assert_allclose(ours[0], theirs[0], rtol=1e-9)
    assert_allclose(ours[1], theirs[1], atol=1e-9)
    # After the patch, hmmlearn's own code goes on with what ours left.
    assert_allclose(answers(model, X)[1], theirs[1], atol=1e-9)
    assert_array_equal(model.predict(X, LENGTHS), path)
    if name != "MultinomialHMM":  # whose rows have totals of their own here
        assert model.sample(3, random_state=0)[0].shape == (3, X.shape[1])


def test_a_variational_model_is_left_alone():
    from hmmlearn import vhmm

    with fastem.patched():
        model = vhmm.VariationalGaussianHMM(2, random_state=0).fit(REALS)
        assert not isinstance(model, fastem.GaussianHMM)
        assert model.predict(REALS).shape == (120,)


@pytest.mark.parametrize("name", CLASSES)
def test_missing_values_are_refused_as_before(name):
    """A program that relies on the error would go on with data that it never meant to take."""
    model, X = fitted(name)
    holes = X.astype(float)
    holes[7] = np.nan
    with fastem.patched():
        for call in (model.score, model.predict, model.predict_proba, model.decode, model.fit):
            with pytest.raises(ValueError, match="contains NaN"):
                call(holes, LENGTHS)
    settings = CLASSES[name][0]
    getattr(fastem, name)(2, random_state=0, **settings).fit(holes, LENGTHS)
