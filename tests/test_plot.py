"""Pictures: what is drawn is what was fitted, and what cannot be drawn is said."""

import doctest
import importlib
import pkgutil
import re

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture as SklearnMixture

from fastem import PLSA, BernoulliMixture, GaussianMixture, KMeans, LatentDirichletAllocation

pytest.importorskip(
    "matplotlib", reason="fastem.plot draws with matplotlib, which is not installed"
)
from matplotlib import colors
from matplotlib.figure import Figure
from PIL import Image

import fastem.plot
from fastem.plot import LowerBoundDisplay, MixtureDisplay, animate
from fastem.plot._style import palette

KINDS = ("full", "tied", "diag", "spherical")
WORDS = ["engine", "wheel", "brake", "flour", "butter", "oven", "$x_1$", "never"]


def samples(n_features=2, n=90, seed=0):
    random = np.random.default_rng(seed)
    X = random.normal(size=(n, n_features)) @ random.normal(size=(n_features, n_features))
    return X + 5 * (np.arange(n) % 3)[:, None] * np.linspace(1, -1, n_features)


def counts(seed=0):
    """Counts of two themes; the last word never occurs, and a document is empty."""
    random = np.random.default_rng(seed)
    X = random.poisson(0.3, (40, len(WORDS)))
    X[:20, :3] += random.poisson(4, (20, 3))
    X[20:, 3:6] += random.poisson(4, (20, 3))
    X[:, -1] = 0
    X[7] = 0
    return sp.csr_array(X)


@pytest.fixture
def ax():
    """Axes of a figure that pyplot does not keep."""
    return Figure().subplots()


@pytest.fixture(autouse=True)
def _no_window(monkeypatch):
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    yield
    pyplot.close("all")


HELPERS = ("fastem.plot._style", "fastem.plot._mixture_parts")  # without examples
MODULES = [m.name for m in pkgutil.iter_modules(fastem.plot.__path__, "fastem.plot.")]


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    results = doctest.testmod(importlib.import_module(name))
    assert results.failed == 0
    assert results.attempted > 0 or name in HELPERS


def test_without_matplotlib_the_error_names_the_extra(run_python):
    printed = run_python("""
        import sys
        sys.modules["matplotlib"] = None
        import numpy as np
        from fastem import KMeans
        from fastem.plot import LowerBoundDisplay, prepare_topics  # which needs none
        km = KMeans(2, random_state=0).fit(np.arange(8.0).reshape(4, 2))
        try:
            LowerBoundDisplay.from_estimator(km)
        except ImportError as error:
            print(error)
    """)
    assert "pip install 'fastem[plot]'" in printed


# ---- mixtures -----------------------------------------------------------------------------------


def covariance_of(mixture, k):
    """Covariance of component k, (D, D)."""
    d = mixture.means_.shape[1]
    return {
        "full": lambda c: c[k],
        "tied": lambda c: c,
        "diag": lambda c: np.diag(c[k]),
        "spherical": lambda c: c[k] * np.eye(d),
    }[mixture.covariance_type](mixture.covariances_)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("features", [(0, 1), (3, 1)])
def test_ellipses_are_the_marginal_covariances(kind, features, ax):
    X = samples(2 if features == (0, 1) else 4)
    mixture = GaussianMixture(3, covariance_type=kind, random_state=0).fit(X)
    display = MixtureDisplay.from_estimator(mixture, X, features=features, ax=ax, n_std=(1, 2.5))
    assert display.ellipses_.shape == (3, 2)
    assert (display.ax_, display.figure_) == (ax, ax.figure)
    for k in range(3):
        covariance = covariance_of(mixture, k)[np.ix_(features, features)]
        for n, ellipse in zip((1, 2.5), display.ellipses_[k], strict=True):
            assert_allclose(ellipse.center, mixture.means_[k][list(features)])
            axes = np.sort([ellipse.width, ellipse.height])
            assert_allclose(axes, 2 * n * np.sqrt(np.linalg.eigvalsh(covariance)))
            # Points of the outline are n standard deviations away: the angle is right too.
            outline = ellipse.get_patch_transform().transform([(1, 0), (0, 1), (-0.6, 0.8)])
            away = outline - ellipse.center
            distances = np.einsum("id,de,ie->i", away, np.linalg.inv(covariance), away)
            assert_allclose(distances, n**2)


def test_colours_mix_as_responsibilities_do(ax):
    X = samples()
    mixture = GaussianMixture(2, random_state=0, tol=10).fit(X)
    display = MixtureDisplay.from_estimator(mixture, X, ax=ax)
    responsibilities = mixture.predict_proba(X)
    assert_array_equal(display.responsibilities, responsibilities)
    drawn = display.points_.get_facecolors()[:, :3]
    assert_allclose(drawn, responsibilities @ palette(2))
    assert_array_equal(display.points_.get_offsets(), X)


def test_kmeans_has_labels_and_no_ellipses(ax):
    X = samples()
    kmeans = KMeans(3, random_state=0).fit(X)
    display = MixtureDisplay.from_estimator(kmeans, X, ax=ax)
    assert display.ellipses_.shape == (3, 0)
    assert_array_equal(display.responsibilities.argmax(axis=1), kmeans.labels_)
    assert_allclose([text.get_position() for text in display.labels_], kmeans.cluster_centers_)


def test_features_by_name_and_the_subsample(ax):
    frame = pd.DataFrame(samples(4, n=300), columns=["a", "b$", "c", "d_1"])
    mixture = GaussianMixture(3, random_state=0).fit(frame)
    display = MixtureDisplay.from_estimator(
        mixture, frame, features=("d_1", "b$"), subsample=50, ax=ax
    )
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("d_1", "b$")
    assert display.X.shape == (50, 2)
    assert set(map(tuple, display.X)) <= set(map(tuple, frame[["d_1", "b$"]].to_numpy()))
    ax.figure.canvas.draw()  # a dollar sign begins no formula


def test_scikit_learns_mixture_can_be_drawn(ax):
    X = samples()
    mixture = SklearnMixture(3, random_state=0).fit(X)
    assert MixtureDisplay.from_estimator(mixture, X, ax=ax).ellipses_.shape == (3, 2)


def test_style_arguments_and_new_axes():
    X = samples()
    mixture = GaussianMixture(2, random_state=0).fit(X)
    display = MixtureDisplay.from_estimator(
        mixture, X, n_std=3, scatter_kw={"marker": "+", "linewidths": 1}, ellipse_kw={"alpha": 0.5}
    )
    assert display.ellipses_[0, 0].get_alpha() == 0.5
    assert display.points_.get_linewidths() == [1]
    again = display.plot()
    assert again is display
    assert again.figure_.axes == [again.ax_]


@pytest.mark.parametrize(
    ("X", "settings", "message"),
    [
        (samples()[:, :1], {}, "1 features, but GaussianMixture is expecting 2"),
        (samples()[:, 0], {}, "X must have shape .*got \\(90,\\)"),
        (samples(), {"features": []}, "features must be 1 to 8 columns of X, got 0"),
        (samples(3), {}, "features"),  # scikit-learn's: not those of the fit
        (samples(), {"features": (0, 2)}, "features must be columns from 0 to 1 of X, got 2"),
        (samples(), {"features": (1, 1)}, "must be different columns"),
        (samples(), {"features": (0, 0.5)}, "features must be columns from 0 to 1 of X, got 0.5"),
        (samples(3), {"features": (0, 2)}, "features"),
        (samples(), {"features": "ab"}, "features has 'ab', but X has feature 0, feature 1"),
        (samples(), {"features": ("a", 1)}, "features has 'a', but X has feature 0, feature 1"),
        (samples(), {"n_std": 0}, "n_std must be numbers > 0"),
        (samples(), {"subsample": 0}, "subsample must be >= 1"),
    ],
)
def test_what_cannot_be_drawn_of_a_mixture(X, settings, message, ax):
    mixture = GaussianMixture(2, random_state=0).fit(samples())
    with pytest.raises(ValueError, match=message):
        MixtureDisplay.from_estimator(mixture, X, ax=ax, **settings)


def test_no_mixture(ax):
    with pytest.raises(NotFittedError):
        MixtureDisplay.from_estimator(GaussianMixture(), samples(), ax=ax)
    kmeans = KMeans(2, random_state=0).fit(samples())
    with pytest.raises(TypeError, match="X must be dense to be drawn"):
        MixtureDisplay.from_estimator(kmeans, sp.csr_array(samples()), ax=ax)
    with pytest.raises(TypeError, match=r"estimator must be a GaussianMixture or a KMeans.*Bern"):
        MixtureDisplay.from_estimator(BernoulliMixture(), samples(), ax=ax)


@pytest.mark.parametrize("n", [1, 6, 7, 30])
def test_palette_is_distinct_and_shows_on_white(n):
    shades = palette(n)
    assert len({colors.to_hex(shade) for shade in shades}) == n
    linear = np.where(shades <= 0.04045, shades / 12.92, ((shades + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    assert np.all(1.05 / (luminance + 0.05) > 1.5)  # WCAG's contrast with white


# ---- bounds -------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_bounds_are_those_of_the_fits(ax):
    X = samples()
    fits = {
        "two": GaussianMixture(2, random_state=0).fit(X),
        "three": GaussianMixture(3, random_state=0, tol=0, max_iter=4).fit(X),
    }
    display = LowerBoundDisplay.from_estimator(fits, ax=ax, linewidth=3)
    assert list(display.lines_) == list(fits)
    for name, mixture in fits.items():
        line = display.lines_[name]
        assert_array_equal(line.get_xdata(), np.arange(1, mixture.n_iter_ + 1))
        assert_array_equal(line.get_ydata(), mixture.lower_bounds_)
        assert line.get_linewidth() == 3
    n = fits["two"].n_iter_
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == [f"two, converged at {n}", "three, stopped at 4"]
    assert display.lines_["three"].get_markerfacecolor() == "white"


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("model", "numbers"),
    [
        (PLSA(2, evaluate_every=3, max_iter=8, tol=0, random_state=0), [3, 6, 8]),
        (LatentDirichletAllocation(2, max_iter=7, random_state=0), [7]),
        (
            LatentDirichletAllocation(2, max_iter=5, evaluate_every=2, perp_tol=0, random_state=0),
            [2, 4, 5],
        ),
        (KMeans(2, max_iter=1, n_init=1, random_state=0), [1]),
    ],
)
def test_iterations_that_had_a_bound(model, numbers, ax):
    model.fit(counts().toarray().astype(float))
    display = LowerBoundDisplay.from_estimator(model, ax=ax)
    (line,) = display.lines_.values()
    assert line.get_xdata().tolist() == numbers
    assert_array_equal(line.get_ydata(), model.lower_bounds_)


def test_names_of_bounds(ax):
    fits = [GaussianMixture(k, random_state=0).fit(samples()) for k in (1, 2)]
    display = LowerBoundDisplay.from_estimator(fits, ax=ax)
    assert list(display.lines_) == ["GaussianMixture 0", "GaussianMixture 1"]
    display = LowerBoundDisplay.from_estimator(fits, name=["a", "b"], ax=ax)
    assert list(display.lines_) == ["a", "b"]
    for estimator, name in ((fits, ["a"]), (fits, ["a", "a"]), ({"a": fits[0]}, "b")):
        with pytest.raises(ValueError, match="name must"):
            LowerBoundDisplay.from_estimator(estimator, name=name, ax=ax)
    with pytest.raises(ValueError, match="estimator must be one at least"):
        LowerBoundDisplay.from_estimator([], ax=ax)


def test_no_bounds(ax):
    with pytest.raises(NotFittedError):
        LowerBoundDisplay.from_estimator(GaussianMixture(), ax=ax)
    lda = LatentDirichletAllocation(2, random_state=0).partial_fit(counts())
    with pytest.raises(ValueError, match=r"LatentDirichletAllocation has no bounds.*use fit"):
        LowerBoundDisplay.from_estimator(lda, ax=ax)


# ---- EM in motion -------------------------------------------------------------------------------


def unwritten(*args, **settings):
    """An animation that may be dropped without being written, of which matplotlib warns."""
    animation = animate(*args, **settings)
    animation._draw_was_started = True
    return animation


def frames_of(animation):
    return list(animation.new_frame_seq())


MOVING = [
    GaussianMixture(3, init_params="random_from_data", random_state=1, n_init=2, tol=1e-4),
    GaussianMixture(3, covariance_type="tied", random_state=0),
    KMeans(3, init="random", n_init=3, random_state=1),
]


@pytest.mark.parametrize("estimator", MOVING, ids=["full", "tied", "kmeans"])
def test_a_frame_for_the_start_and_each_iteration(estimator, tmp_path):
    X = samples()
    path = tmp_path / "em.gif"
    animation = animate(estimator, X, path, dpi=40)
    assert not [name for name in vars(estimator) if name.endswith("_")]  # not fitted: a copy was
    fitted = estimator.fit(X)
    n = fitted.n_iter_
    assert frames_of(animation) == [*range(n + 1), *[n] * 6]  # a second and a half
    with Image.open(path) as image:
        assert image.n_frames == n + 1
        durations = []
        for i in range(n + 1):
            image.seek(i)
            durations.append(image.info["duration"])
        assert durations == [250] * n + [1750]
    left, right = animation._fig.axes
    animation._func(fitted.n_iter_)
    means = getattr(fitted, "means_", getattr(fitted, "cluster_centers_", None))
    labels = [text.get_position() for text in left.texts]
    assert_allclose(labels, means)
    assert_array_equal(right.lines[0].get_ydata(), fitted.lower_bounds_)
    assert "converged" in left.get_title(loc="left")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_frames_are_the_states_of_the_fit():
    X = samples()
    mixture = GaussianMixture(3, init_params="random_from_data", random_state=1, tol=1e-6)
    animation = unwritten(mixture, X)
    left, _ = animation._fig.axes
    for n in (0, 1, 3):
        animation._func(n)
        part = mixture.set_params(max_iter=n, tol=0)
        part.fit(X)
        assert_allclose([text.get_position() for text in left.texts], part.means_)
        ellipses = [patch for patch in left.patches if hasattr(patch, "angle")]
        axes = np.sort([[e.width, e.height] for e in ellipses[::2]], axis=1)
        assert_allclose(axes, 2 * np.sqrt(np.linalg.eigvalsh(part.covariances_)))


def test_html_needs_no_network(tmp_path):
    path = tmp_path / "em.html"
    animate(GaussianMixture(2, random_state=0), samples(3), path, features=(2, 0), dpi=40)
    page = path.read_text(encoding="utf-8")
    assert not re.search(r"https?://|<link|fa-", page)
    assert page.count("data:image/png;base64") > 1
    assert "▶" in page


def test_no_iteration_is_one_frame():
    animation = unwritten(GaussianMixture(2, max_iter=0, random_state=0), samples())
    assert frames_of(animation) == [0]
    animation._func(0)
    assert animation._fig.axes[0].get_title(loc="left") == "GaussianMixture: the start"


def test_few_frames_of_many():
    mixture = GaussianMixture(
        3, init_params="random_from_data", random_state=1, tol=1e-7, max_iter=1000
    )
    animation = unwritten(mixture, samples(), max_frames=4)
    n_iter = mixture.fit(samples()).n_iter_
    shown = frames_of(animation)
    assert len(shown) == 4 < n_iter
    assert (shown[0], shown[-1]) == (0, n_iter)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"filename": "em.mp4"}, "filename must end in .gif or .html, got 'em.mp4'"),
        ({"filename": "nowhere/em.gif"}, "folder that does not exist"),
        ({"max_frames": 1}, "max_frames must be >= 2"),
        ({"fps": 0}, "fps must be > 0"),
        ({"subsample": -1}, "subsample must be >= 1"),
        ({"n_std": (1, -2)}, "n_std must be numbers > 0"),
        ({"features": (0, 9)}, "features must be columns from 0 to 1"),
    ],
)
def test_what_cannot_be_animated(settings, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mixture = GaussianMixture(2)
    monkeypatch.setattr(GaussianMixture, "fit", lambda *_: pytest.fail("work was begun"))
    with pytest.raises(ValueError, match=message):
        animate(mixture, samples(), **settings)
    with pytest.raises(ValueError, match="X must have shape"):
        animate(mixture, samples()[:, :1])


def test_what_has_no_iterations_to_watch():
    with pytest.raises(TypeError, match=r"estimator must be fastem's.*sklearn\.mixture"):
        animate(SklearnMixture(2), samples())
    with (
        fastem.patched(),
        pytest.raises(TypeError, match=r"estimator must be fastem's.*sklearn\.mixture"),
    ):
        animate(SklearnMixture(2), samples())
    with pytest.raises(TypeError, match="estimator must be a GaussianMixture or a KMeans"):
        animate(PLSA(2), samples())


def test_pyplot_is_not_imported_for_given_axes(run_python):
    printed = run_python("""
        import sys
        import numpy as np
        from matplotlib.figure import Figure
        from fastem import KMeans
        from fastem.plot import MixtureDisplay
        X = np.arange(8.0).reshape(4, 2)
        MixtureDisplay.from_estimator(KMeans(2, random_state=0).fit(X), X, ax=Figure().subplots())
        print("matplotlib.pyplot" in sys.modules)
    """)
    assert printed == "False"


# ---- states -------------------------------------------------------------------------------------


def test_states_over_time():
    """Each stay in a state is a span, of the state's colour; names and times are the user's."""
    X = np.repeat([0.0, 5.0, 0.0, 5.0], [3, 4, 2, 1])[:, None]
    model = fastem.GaussianHMM(2, random_state=0).fit(X + np.arange(10)[:, None] / 100)
    first = int(model.predict(X)[0])
    names = ["low", "high"] if first == 0 else ["high", "low"]
    times = np.arange("2000-01-01", "2000-01-11", dtype="datetime64[D]")
    display = fastem.plot.StatesDisplay.from_estimator(model, X, names=names, times=times)
    colors = [span.get_facecolor() for span in display.spans_]
    assert len(colors) == 4
    assert colors[0] == colors[2] != colors[1] == colors[3]
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == ["low", "high"]
    assert len(display.line_.get_xdata()) == 10
    again = fastem.plot.StatesDisplay(display.states, display.values).plot(display.ax_)
    assert again.figure_ is display.figure_
    with pytest.raises(ValueError, match="feature must be an integer from 0 to 0, got 1"):
        fastem.plot.StatesDisplay.from_estimator(model, X, feature=1)
    with pytest.raises(ValueError, match="names must have 2 entries"):
        display.plot(names=["one"])
    with pytest.raises(ValueError, match="times must have 10 entries, got 3"):
        fastem.plot.StatesDisplay(display.states, display.values, times=[1, 2, 3]).plot()
