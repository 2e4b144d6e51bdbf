"""Choosing by cross-validation: samples that a fold's fit does not know, or calls impossible."""

import numpy as np
import pytest

from fastem import CategoricalHMM, CategoricalMixture, GaussianMixture, select

RNG = np.random.default_rng(0)
SEQUENCES = [RNG.integers(0, 2, size=(10, 1)) for _ in range(5)]
SEQUENCES[0][3] = 2  # a symbol that the fit without this sequence has not seen


def test_symbols_that_a_fold_does_not_know_are_that_candidates_error():
    with pytest.raises(ValueError, match="no candidate could be fitted; the first said: X must"):
        select.hmm(SEQUENCES, n_components=[1, 2], criterion="cv", estimator=CategoricalHMM())
    rows = np.vstack(SEQUENCES)
    with pytest.raises(ValueError, match=r"the first said: .*pass n_categories"):
        select.discrete(rows, [1, 2], "cv", estimator=CategoricalMixture(), random_state=0)


def test_folds_that_are_impossible_have_minus_infinity_and_no_deviation():
    model = CategoricalHMM(n_features=3, n_iter=100, random_state=0)
    selection = select.hmm(SEQUENCES, n_components=1, criterion="cv", estimator=model)
    row = selection.table[0]
    assert row["cv"] == -np.inf
    assert np.isnan(row["cv_std"])
    assert row["error"] is None


def test_a_component_that_knows_nothing_of_a_feature_can_be_split():
    """The mean of no value was a warning of NumPy's."""
    X = np.vstack([RNG.normal(size=(40, 2)), RNG.normal(9, 1, size=(40, 2))])
    X[40:, 1] = np.nan
    selection = select.mixture(X, [1, 2, 3], "diag", estimator=GaussianMixture(), random_state=0)
    assert selection.best_params_["n_components"] == 2


@pytest.mark.parametrize("sizes", [[10, 20], 2.5, True])
def test_a_number_of_samples_is_one_integer(sizes):
    with pytest.raises(TypeError, match="sample_size must be an integer, got"):
        select.kmeans(np.eye(9), [2, 3], sample_size=sizes)
