"""What notebooks show of an estimator: how its fit ended, in scikit-learn's own frame."""

import re
import sys

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastem import (
    PLSA,
    BayesianGaussianMixture,
    BernoulliMixture,
    GaussianHMM,
    GaussianMixture,
    KMeans,
    LatentDirichletAllocation,
    PoissonHMM,
)

X = np.random.default_rng(0).integers(0, 2, (60, 4)).astype(float) + 0.0


def captions(estimator):
    return re.findall(r'<div class="caption">([^<]*)', estimator._repr_html_())


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "estimator",
    [
        GaussianMixture(2, random_state=0),
        GaussianMixture(3, random_state=0, max_iter=1),
        BayesianGaussianMixture(2, covariance_type="tied", random_state=0),
        KMeans(2, random_state=0),
        BernoulliMixture(2, random_state=0),
        PLSA(2, random_state=0),
        LatentDirichletAllocation(2, random_state=0),
        GaussianHMM(2, random_state=0),
        PoissonHMM(2, random_state=0, n_iter=1),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_the_fit_is_shown(estimator):
    assert captions(estimator) == []
    estimator.fit(X)
    n = estimator.n_iter_
    state = "converged" if estimator.converged_ else "not converged"
    assert captions(estimator) == [
        f"fitted: {n} iteration{'' if n == 1 else 's'}, {state}, "
        f"lower bound {estimator.lower_bound_:.6g}"
    ]
    assert type(estimator).__name__ in estimator._repr_html_()


def test_in_a_pipeline():
    pipeline = make_pipeline(StandardScaler(), GaussianMixture(2, random_state=0)).fit(X)
    assert len(captions(pipeline)) == 1


def test_a_model_without_a_bound_shows_scikit_learns_frame():
    lda = LatentDirichletAllocation(2, random_state=0).partial_fit(X)
    assert captions(lda) == []
    assert "LatentDirichletAllocation" in lda._repr_html_()


def test_where_scikit_learn_has_moved_its_block_only_the_line_is_missing(monkeypatch):
    mixture = GaussianMixture(2, random_state=0).fit(X)
    for module in ("sklearn.utils._repr_html.estimator", "sklearn.utils._estimator_html_repr"):
        monkeypatch.setitem(sys.modules, module, None)
    assert captions(mixture) == []
    assert "GaussianMixture" in mixture._repr_html_()
