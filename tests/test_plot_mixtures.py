"""Pictures of mixtures of one feature, of many, and of categories and counts."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError

from fastem import (
    PLSA,
    BernoulliMixture,
    CategoricalMixture,
    GaussianMixture,
    KMeans,
    LatentDirichletAllocation,
    MultinomialMixture,
    PoissonMixture,
)

pytest.importorskip(
    "matplotlib", reason="fastem.plot draws with matplotlib, which is not installed"
)
from matplotlib import pyplot
from matplotlib.figure import Figure

from fastem.plot import LowerBoundDisplay, MixtureDisplay, ProfilesDisplay, TopicsDisplay
from fastem.plot._style import palette

KINDS = ("full", "tied", "diag", "spherical")
IRIS = load_iris(as_frame=True).data
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def ax():
    return Figure().subplots()


@pytest.fixture(autouse=True)
def _no_window():
    pyplot.switch_backend("agg")
    yield
    pyplot.close("all")


def fitted(X, k=3, kind="full"):
    return GaussianMixture(k, covariance_type=kind, random_state=0).fit(X)


def dense(mixture):
    """Covariances, (K, D, D), of any kind."""
    k, d = mixture.means_.shape
    c = mixture.covariances_
    if mixture.covariance_type in ("full", "tied"):
        return np.broadcast_to(c, (k, d, d))
    return np.broadcast_to(c.reshape(k, -1), (k, d))[:, None] * np.eye(d)


# ---- one feature --------------------------------------------------------------------------------


@every_kind
def test_one_feature_is_a_histogram_with_the_densities(kind, ax):
    X = IRIS[["petal length (cm)"]]
    mixture = fitted(X, kind=kind)
    display = MixtureDisplay.from_estimator(mixture, X, ax=ax)
    assert len(display.lines_) == 3
    deviations = np.sqrt(dense(mixture)[:, 0, 0])
    for k, line in enumerate(display.lines_):
        density = norm(mixture.means_[k, 0], deviations[k]).pdf(line.get_xdata())
        assert_allclose(line.get_ydata(), mixture.weights_[k] * density, rtol=1e-9)
        assert_allclose(line.get_color(), palette(3)[k])
    area = sum(bar.get_width() * bar.get_height() for bar in ax.patches)
    assert area == pytest.approx(1)
    assert ax.get_xlabel() == "petal length (cm)"
    width = ax.patches[0].get_width()
    assert width < 1.3 * max(deviations.min(), np.ptp(X.to_numpy()) / 100)


def test_one_of_several_features(ax):
    mixture = fitted(IRIS)
    display = MixtureDisplay.from_estimator(mixture, IRIS, features="sepal width (cm)", ax=ax)
    x = display.lines_[0].get_xdata()
    density = norm(mixture.means_[0, 1], dense(mixture)[0, 1, 1] ** 0.5).pdf(x)
    assert_allclose(display.lines_[0].get_ydata(), mixture.weights_[0] * density, rtol=1e-9)
    assert display.X.shape == (150, 1)


def test_centers_of_one_feature(ax):
    X = IRIS.to_numpy()[:, :1]
    kmeans = KMeans(3, random_state=0).fit(X)
    display = MixtureDisplay.from_estimator(kmeans, X, ax=ax)
    assert_allclose([line.get_xdata()[0] for line in display.lines_], kmeans.cluster_centers_[:, 0])


# ---- many ---------------------------------------------------------------------------------------


@every_kind
def test_many_features_are_seen_along_principal_axes(kind, ax):
    mixture = fitted(IRIS, kind=kind)
    display = MixtureDisplay.from_estimator(mixture, IRIS, ax=ax)
    X = IRIS.to_numpy()
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    values, vectors = np.linalg.eigh(np.corrcoef(X.T))
    axes = vectors[:, [3, 2]] * np.sign((Z @ vectors[:, [3, 2]] * display.X).sum(axis=0))
    assert_allclose(display.X, Z @ axes, atol=1e-9)
    share = values[2:].sum() / values.sum()
    assert ax.get_title(loc="left") == (
        f"First two principal axes of the 4 standardized features: {share:.0%} of their variance"
    )
    scaled = axes / X.std(axis=0)[:, None]
    assert_allclose(display.means, (mixture.means_ - X.mean(axis=0)) @ scaled, atol=1e-9)
    for k, covariance in enumerate(dense(mixture)):
        expected = np.sqrt(np.linalg.eigvalsh(scaled.T @ covariance @ scaled))
        ellipse = display.ellipses_[k, 0]
        assert_allclose(np.sort([ellipse.width, ellipse.height]) / 2, expected)


def test_a_constant_feature_and_k_means_along_principal_axes(ax):
    X = np.column_stack([IRIS.to_numpy(), np.ones(150)])
    kmeans = KMeans(2, random_state=0).fit(X)
    display = MixtureDisplay.from_estimator(kmeans, X, ax=ax)
    assert np.all(np.isfinite(display.X))
    assert display.ellipses_.shape == (2, 0)


def test_three_features_are_a_grid_of_pairs(ax):
    mixture, columns = fitted(IRIS), [3, 0, 2]
    display = MixtureDisplay.from_estimator(mixture, IRIS, features=columns, ax=ax)
    cells = display.axes_
    assert cells.shape == (3, 3)
    assert cells[0, 1] is None
    names = IRIS.columns[columns]
    assert [cell.get_xlabel() for cell in cells[2]] == list(names)
    assert cells[1, 0].get_ylabel() == names[1]
    (points,) = [c for c in cells[2, 1].collections if len(c.get_offsets()) == 150]
    assert_array_equal(points.get_offsets(), IRIS.to_numpy()[:, [0, 2]])
    ellipse = cells[2, 1].patches[0]
    expected = 2 * np.sqrt(np.linalg.eigvalsh(mixture.covariances_[0][np.ix_([0, 2], [0, 2])]))
    assert_allclose(np.sort([ellipse.width, ellipse.height]) / 2, expected)
    ax.figure.canvas.draw()


def test_a_grid_needs_a_place_that_can_be_divided():
    ax = Figure().add_axes((0, 0, 1, 1))
    with pytest.raises(ValueError, match="can be divided"):
        MixtureDisplay.from_estimator(fitted(IRIS), IRIS, features=[0, 1, 2], ax=ax)
    with pytest.raises(ValueError, match="1 to 8 columns of X, got 9"):
        MixtureDisplay.from_estimator(fitted(IRIS), IRIS, features=range(9))


def test_a_figure_of_its_own_lists_the_components(ax):
    mixture = fitted(IRIS)
    display = MixtureDisplay.from_estimator(mixture, IRIS)
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == [f"{k}  {weight:.0%}" for k, weight in enumerate(mixture.weights_)]
    assert MixtureDisplay.from_estimator(mixture, IRIS, ax=ax).ax_.get_legend() is None
    assert MixtureDisplay.from_estimator(mixture, IRIS, ax=ax, legend=True).ax_.get_legend()
    many = fitted(IRIS, 21, "diag")
    assert MixtureDisplay.from_estimator(many, IRIS).ax_.get_legend() is None


def test_twenty_colours_are_distinct():
    """In Oklab, where 0.02 is a just noticeable difference of neighbours, all are 0.1 apart."""
    linear = palette(20)
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    to_cones = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    to_lab = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    lab = np.cbrt(linear @ np.transpose(to_cones)) @ np.transpose(to_lab)
    apart = np.linalg.norm(lab[:, None] - lab, axis=2) + np.eye(20)
    assert apart.min() > 0.1


# ---- categories and counts ----------------------------------------------------------------------

COUNTS = np.random.default_rng(0).poisson(np.repeat([[1, 9, 2], [6, 2, 2]], 40, axis=0))


@pytest.mark.parametrize("make", [PoissonMixture, MultinomialMixture, BernoulliMixture])
def test_profiles_are_the_values(make, ax):
    X = COUNTS > 3 if make is BernoulliMixture else COUNTS
    mixture = make(2, random_state=0).fit(X)
    display = ProfilesDisplay.from_estimator(mixture, ["a", "b", "$c$"], ax=ax, markersize=3)
    values = mixture.rates_ if make is PoissonMixture else mixture.probabilities_
    for k, dots in enumerate(display.dots_):
        assert_array_equal(dots.get_xdata(), values[k])
        assert_array_equal(dots.get_ydata(), [0, 1, 2])
        assert dots.get_markersize() == 3
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "b", "$c$"]
    assert ax.yaxis_inverted()
    word = "rate" if make is PoissonMixture else "probability"
    assert ax.get_xlabel() == f"{word} in the component"
    ax.figure.canvas.draw()


def test_profiles_of_categories(ax):
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.integers(3, size=100), rng.integers(2, size=100)])
    mixture = CategoricalMixture(2, random_state=0).fit(X)
    display = ProfilesDisplay.from_estimator(mixture, ["colour", "x" * 40], ax=ax)
    assert display.names[:3] == ["colour = 0", "colour = 1", "colour = 2"]
    assert display.names[3].endswith("… = 1")  # of two categories the second says all
    assert_array_equal(display.values[:, :3], mixture.probabilities_[:, 0])
    assert_array_equal(display.values[:, 3], mixture.probabilities_[:, 1, 1])


def test_profiles_of_many_features_are_those_that_differ(ax):
    rng = np.random.default_rng(0)
    X = rng.poisson(2, size=(200, 50))
    X[:100, [7, 30]] += 9
    mixture = PoissonMixture(2, random_state=0).fit(X)
    display = ProfilesDisplay.from_estimator(mixture, n_rows=2, ax=ax)
    assert display.names == ["feature 7", "feature 30"]
    assert ax.get_title(loc="left") == "2 of 50 rows: where components differ most"
    assert len(ProfilesDisplay.from_estimator(mixture, n_rows=None).names) == 50
    gaussian = ProfilesDisplay.from_estimator(fitted(IRIS))
    assert gaussian.names == list(IRIS.columns)


def test_what_has_no_profiles(ax):
    with pytest.raises(TypeError, match="a mixture of fastem, got KMeans"):
        ProfilesDisplay.from_estimator(KMeans(), ax=ax)
    with pytest.raises(NotFittedError):
        ProfilesDisplay.from_estimator(PoissonMixture(), ax=ax)
    mixture = PoissonMixture(2, random_state=0).fit(COUNTS)
    with pytest.raises(ValueError, match="feature_names must have 3 entries, got 1"):
        ProfilesDisplay.from_estimator(mixture, ["a"], ax=ax)
    with pytest.raises(ValueError, match="n_rows must be at least 1"):
        ProfilesDisplay.from_estimator(mixture, n_rows=0, ax=ax)


# ---- topics -------------------------------------------------------------------------------------


def test_one_point_of_a_bound_is_explained(ax):
    lda = LatentDirichletAllocation(2, random_state=0).fit(COUNTS)
    LowerBoundDisplay.from_estimator(lda, ax=ax)
    assert ax.get_title(loc="left") == (
        "The bound was computed at the end only: fit with evaluate_every=1 for a curve."
    )
    looked = LatentDirichletAllocation(2, random_state=0, evaluate_every=1).fit(COUNTS)
    both = LowerBoundDisplay.from_estimator({"a": lda, "b": looked}).ax_
    assert both.get_title(loc="left").startswith("The bound of a was")
    assert LowerBoundDisplay.from_estimator(looked).ax_.get_title(loc="left") == ""


def test_words_are_the_second_argument_as_in_top_words():
    plsa = PLSA(2, random_state=0).fit(COUNTS)
    names = ["oven", "cello", "dough"]
    display = TopicsDisplay.from_estimator(plsa, names)
    assert display.words == plsa.top_words(names)


# ---- uncertainty --------------------------------------------------------------------------------


def test_uncertain_samples_are_large_and_lie_on_top():
    X = np.random.default_rng(0).normal(size=(300, 2)) + np.repeat([[0.0], [2.5]], 150, axis=0)
    mixture = GaussianMixture(2, random_state=0).fit(X)
    points = MixtureDisplay.from_estimator(mixture, X, uncertainty=True).points_
    doubt = np.sort(mixture.uncertainty(X))
    sizes, alphas = points.get_sizes(), points.get_facecolors()[:, 3]
    assert (np.diff(sizes) >= 0).all()
    assert (np.diff(alphas) >= 0).all()
    assert_allclose((sizes - sizes[0]) / np.ptp(sizes), (doubt - doubt[0]) / np.ptp(doubt))
    assert_allclose(points.get_offsets()[-1], X[mixture.uncertainty(X).argmax()])


def test_uncertainty_of_one_feature_is_a_curve():
    X = np.random.default_rng(0).normal(size=(300, 1)) + np.repeat([[0.0], [3.0]], 150, axis=0)
    mixture = GaussianMixture(2, random_state=0).fit(X)
    display = MixtureDisplay.from_estimator(mixture, X, uncertainty=True)
    (other,) = [axes for axes in display.figure_.axes if axes is not display.ax_]
    (area,) = other.collections
    at, doubt = area.get_paths()[0].vertices.T
    some = doubt > 0
    assert_allclose(mixture.uncertainty(at[some, None]), doubt[some], atol=1e-9)
    assert doubt.max() == pytest.approx(0.5, abs=0.02)


def test_k_means_has_no_uncertainty():
    X = np.random.default_rng(0).normal(size=(30, 2))
    with pytest.raises(ValueError, match="uncertainty must be False for k-means"):
        MixtureDisplay.from_estimator(KMeans(2, random_state=0).fit(X), X, uncertainty=True)
