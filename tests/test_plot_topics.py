"""Pictures of topic models."""

import json

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError

from fastem import PLSA, KMeans, LatentDirichletAllocation

pytest.importorskip(
    "matplotlib", reason="fastem.plot draws with matplotlib, which is not installed"
)
from matplotlib import colors
from matplotlib.figure import Figure
from test_plot import WORDS, _no_window, counts  # noqa: F401 (a fixture)

from fastem.plot import TopicsDisplay, prepare_topics


@pytest.mark.parametrize("model", [PLSA, LatentDirichletAllocation])
def test_bars_are_the_top_words(model):
    fitted = model(3, random_state=0, max_iter=20).set_params(**_loose(model)).fit(counts())
    display = TopicsDisplay.from_estimator(
        fitted, feature_names=WORDS, topics=[2, 0], n_words=4, color="#555555"
    )
    expected = fitted.top_words(WORDS, 4)
    components = fitted.components_ / fitted.components_.sum(axis=1, keepdims=True)
    assert display.axes_.shape == (2,)
    for k, axes, bars in zip((2, 0), display.axes_, display.bars_, strict=True):
        assert axes.get_title(loc="left") == f"topic {k}"
        assert [text.get_text() for text in axes.get_yticklabels()] == expected[k]
        widths = [bar.get_width() for bar in bars]
        assert_allclose(widths, [components[k, WORDS.index(w)] for w in expected[k]])
        assert colors.to_hex(bars[0].get_facecolor()) == "#555555"
        low, high = axes.get_ylim()
        assert low > high  # the most probable word is on top
    display.figure_.canvas.draw()


def _loose(model):
    return {"tol": 1.0} if model is PLSA else {}


def test_what_cannot_be_drawn_of_topics():
    plsa = PLSA(2, random_state=0, tol=1.0).fit(counts())
    for settings, message in (
        ({"topics": [2]}, "topics must be a list of integers from 0 to 1"),
        ({"topics": []}, "topics must be a list of integers"),
        ({"n_words": 0}, "n_words must be an integer >= 1"),
        ({"titles": ["a"]}, "titles must have 2 entries, got 1"),
        ({"feature_names": WORDS[:3]}, "feature_names must have 8 entries, got 3"),
        ({"ax": Figure().add_axes((0, 0, 1, 1))}, "ax must be in a grid"),
    ):
        with pytest.raises(ValueError, match=message):
            TopicsDisplay.from_estimator(plsa, **settings)
    with pytest.raises(NotFittedError):
        TopicsDisplay.from_estimator(PLSA())
    with pytest.raises(TypeError, match=r"estimator must be a topic model.*KMeans"):
        TopicsDisplay.from_estimator(KMeans())


@pytest.mark.parametrize("model", [PLSA, LatentDirichletAllocation])
def test_topic_map(model):
    X = counts()
    fitted = model(3, random_state=0, max_iter=100).set_params(**_loose(model)).fit(X)
    arguments = prepare_topics(fitted, X, WORDS)
    assert arguments["vocab"] == WORDS[:-1]  # one never occurs
    assert len(arguments["doc_lengths"]) == 39  # one is empty
    assert_array_equal(arguments["term_frequency"], X.sum(axis=0)[:-1])
    assert arguments["topic_term_dists"].min() > 0
    for name in ("topic_term_dists", "doc_topic_dists"):
        assert_allclose(arguments[name].sum(axis=1), 1)
    some = np.flatnonzero(X.sum(axis=1))
    assert_allclose(arguments["doc_topic_dists"], fitted.transform(X)[some], rtol=1e-5)


@pytest.mark.parametrize("model", [PLSA, LatentDirichletAllocation])
@pytest.mark.parametrize("n_topics", [2, 4])
@pytest.mark.filterwarnings("ignore:::pyLDAvis")
def test_pyldavis_takes_it(model, n_topics):
    pyldavis = pytest.importorskip("pyLDAvis", reason="pyLDAvis, which takes it, is not installed")
    X = counts()
    fitted = model(n_topics, random_state=0, max_iter=100).set_params(**_loose(model)).fit(X)
    prepared = pyldavis.prepare(**prepare_topics(fitted, X, WORDS), n_jobs=1, R=5)
    content = json.loads(prepared.to_json(), parse_constant=pytest.fail)  # no NaN, no Infinity
    assert sorted(content["topic.order"]) == list(range(1, n_topics + 1))
    assert set(content["tinfo"]["Term"]) <= set(WORDS)
    assert_allclose(sum(content["mdsDat"]["Freq"]), 100)


def test_what_has_no_topic_map():
    X = counts()
    plsa = PLSA(2, random_state=0, tol=1.0).fit(X)
    with pytest.raises(ValueError, match="vocabulary must have 8 entries, got 2"):
        prepare_topics(plsa, X, WORDS[:2])
    with pytest.raises(ValueError, match="X has no count above 0"):
        prepare_topics(plsa, 0 * X, WORDS)
    with pytest.raises(ValueError, match="estimator must have 2 topics"):
        prepare_topics(PLSA(1, random_state=0, tol=1.0).fit(X), X)
    with pytest.raises(TypeError, match="topic model of fastem"):
        prepare_topics(KMeans(), X)


def test_words_are_taken_in_their_order_whatever_the_labels_of_a_series():
    """A Series that was sorted has other labels than places: words must not follow the labels."""
    plsa, X = PLSA(2, random_state=0, tol=1.0).fit(counts()[:, :4]), counts()[:, :4]
    words = np.array(["oven", "dough", "cello", "chord"])
    series = pd.Series(words, index=[3, 2, 1, 0])
    assert plsa.top_words(series, 2) == plsa.top_words(words, 2)
    assert prepare_topics(plsa, X, series)["vocab"] == words.tolist()
    by_series = TopicsDisplay.from_estimator(plsa, series, n_words=2)
    assert by_series.words == TopicsDisplay.from_estimator(plsa, words, n_words=2).words
    for call in (plsa.top_words, lambda names: prepare_topics(plsa, X, names)):
        with pytest.raises(TypeError, match="in the order of the columns, got set"):
            call(set(words))


@pytest.mark.parametrize("topics", [[1.0], ["a"], [-1], [2], []])
def test_topics_to_draw_are_numbers_of_topics(topics):
    with pytest.raises(ValueError, match="topics must be a list of integers from 0 to 1"):
        TopicsDisplay.from_estimator(PLSA(2, random_state=0, tol=1.0).fit(counts()), topics=topics)
