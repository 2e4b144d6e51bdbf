"""Topics as bars of words, and the topic map of pyLDAvis."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from fastem._engine.sparse import canonical_csr
from fastem._typing import MatrixLike
from fastem.plot._style import INK, axes_or_new, palette
from fastem.topics.documents import words_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import BarContainer
    from matplotlib.figure import Figure

__all__ = ["TopicsDisplay", "grid_of", "prepare_topics"]

_FLOOR = 1e-12  # of a word's probability: logarithms of it must be numbers


class TopicsDisplay:
    """The most probable words of each topic as bars. Make one by :meth:`from_estimator`.

    Parameters
    ----------
    words : list of list of str
        Words of each topic, by falling probability.
    probabilities : list of array-like
        Their probabilities p(word | topic).
    titles : list of str
        The titles of the topics.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes that the grid of topics lies in; itself it shows nothing.
    figure_ : matplotlib Figure
        The figure of the axes.
    axes_ : ndarray of matplotlib Axes, of shape (n_topics,)
        One for each topic.
    bars_ : list of matplotlib BarContainer
        The bars of each topic.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import PLSA
    >>> from fastem.plot import TopicsDisplay
    >>> X = np.array([[3, 2, 0, 0], [2, 3, 0, 0], [0, 0, 4, 1], [0, 0, 1, 4]])
    >>> plsa = PLSA(2, random_state=0).fit(X)
    >>> names = ["oven", "dough", "cello", "chord"]
    >>> display = TopicsDisplay.from_estimator(plsa, feature_names=names, n_words=2)
    >>> sorted(map(sorted, display.words))
    [['cello', 'chord'], ['dough', 'oven']]
    """

    ax_: Axes
    figure_: Figure
    axes_: np.ndarray
    bars_: list[BarContainer]

    def __init__(
        self,
        words: Sequence[Sequence[str]],
        probabilities: Sequence[npt.ArrayLike],
        *,
        titles: Sequence[str],
    ) -> None:
        self.words = words
        self.probabilities = probabilities
        self.titles = titles

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        feature_names: Any = None,
        *,
        topics: Iterable[int] | None = None,
        titles: Iterable[str] | None = None,
        n_words: int = 10,
        ax: Axes | None = None,
        **bar_kw: Any,
    ) -> Self:
        """Draw the topics of a fitted model.

        Parameters
        ----------
        estimator : PLSA or LatentDirichletAllocation
            A fitted one.
        feature_names : array-like of shape (n_features,), default=None
            The words; None: ``feature_names_in_``, or the columns' numbers.
        topics : sequence of int, default=None
            The topics to draw, in this order; None: all.
        titles : sequence of str, default=None
            A title for each of them; None: "topic 0", "topic 1", ...
        n_words : int, default=10
            Number of words of each.
        ax : matplotlib Axes, default=None
            The place of the grid; None: a new figure, as large as the grid needs.
        **bar_kw : dict
            Arguments of matplotlib's `barh`.

        Returns
        -------
        display : TopicsDisplay
            Drawn.

        Raises
        ------
        ImportError
            Without matplotlib.
        ValueError
            If `topics`, `titles`, `n_words` or `feature_names` do not fit the model.
        """
        _check_topic_model(estimator)
        n_topics = len(estimator.components_)
        topics = _check_topics(topics, n_topics)
        if not isinstance(n_words, Integral) or n_words < 1:
            raise ValueError(f"n_words must be an integer >= 1, got {n_words!r}")
        titles = [f"topic {k}" for k in topics] if titles is None else list(titles)
        if len(titles) != len(topics):
            raise ValueError(f"titles must have {len(topics)} entries, got {len(titles)}")
        words = estimator.top_words(feature_names, n_words)
        top = -np.sort(-_probabilities(estimator), axis=1)[:, :n_words]
        display = cls(
            [[str(word) for word in words[k]] for k in topics],
            [top[k] for k in topics],
            titles=titles,
        )
        return display.plot(ax, **bar_kw)

    def plot(self, ax: Axes | None = None, **bar_kw: Any) -> Self:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            The place of the grid; None: a new figure, as large as the grid needs.
        **bar_kw : dict
            Arguments of matplotlib's `barh`.

        Returns
        -------
        display : TopicsDisplay
            Itself.
        """
        n_bars = max(map(len, self.words))
        n_rows, n_columns, size = grid_of(len(self.words), n_bars)
        self.ax_ = axes = axes_or_new(ax, size)
        self.figure_ = axes.figure
        place = axes.get_subplotspec()
        if place is None:
            raise ValueError(
                "ax must be in a grid that can be divided, as pyplot.subplots makes it"
            )
        self.ax_.set_axis_off()
        grid = place.subgridspec(n_rows, n_columns, wspace=0.08, hspace=0.12)
        widest = max(float(np.max(p)) for p in self.probabilities)
        style = {"color": palette(1)[0], "height": 0.78} | bar_kw
        self.axes_ = np.empty(len(self.words), dtype=object)
        self.bars_ = []
        for i, (words, values) in enumerate(zip(self.words, self.probabilities, strict=True)):
            self.axes_[i] = one = self.figure_.add_subplot(grid[divmod(i, n_columns)])
            rows = np.arange(len(words))
            self.bars_.append(one.barh(rows, values, **style))
            labels = [_short(word) for word in words]
            one.set_yticks(rows, labels, fontsize=9, color=INK, parse_math=False)
            one.set_ylim(n_bars - 0.4, -0.6)  # the first word on top
            one.set_xlim(0, 1.05 * widest)  # one scale for all
            one.set_title(self.titles[i], fontsize=10, loc="left", color=INK, parse_math=False)
            one.spines[["top", "right", "left"]].set_visible(False)
            one.tick_params(axis="y", length=0)
            one.tick_params(axis="x", labelsize=8, colors=INK)
            one.locator_params(axis="x", nbins=3)
            if i >= len(self.words) - n_columns:
                one.set_xlabel("p(word | topic)", fontsize=8, color=INK)
        return self


def grid_of(n_topics, n_words):
    """Return the rows and columns of a grid of topics, and its size in inches."""
    n_columns = min(4, n_topics)
    n_rows = -(-n_topics // n_columns)
    return n_rows, n_columns, (2.5 * n_columns, n_rows * (0.7 + 0.19 * n_words))


def prepare_topics(estimator: Any, X: MatrixLike, vocabulary: Any = None) -> dict[str, Any]:
    """Return what :func:`pyLDAvis.prepare` takes, for the interactive map of the topics.

    ``pyLDAvis.display(pyLDAvis.prepare(**prepare_topics(lda, X, words)))`` shows it in a notebook
    (Sievert & Shirley 2014, *LDAvis: A method for visualizing and interpreting topics*).

    Parameters
    ----------
    estimator : PLSA or LatentDirichletAllocation
        A fitted one, with two topics at least.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Counts of words (columns) in documents (rows): those of the fit, or others.
    vocabulary : array-like of shape (n_features,), default=None
        The words; None: ``feature_names_in_``, or the columns' numbers.

    Returns
    -------
    arguments : dict
        `topic_term_dists` of shape (n_topics, n_words), `doc_topic_dists` of shape (n_documents,
        n_topics), `doc_lengths`, `vocab` and `term_frequency`. Words and documents without any
        count are left out; probabilities of words are 1e-12 at least, for pyLDAvis takes their
        logarithms; rows sum to 1.

    Raises
    ------
    ValueError
        If the model has one topic only, or X or `vocabulary` does not fit it.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import PLSA
    >>> from fastem.plot import prepare_topics
    >>> X = np.array([[3, 2, 0, 0], [2, 3, 0, 0], [0, 0, 4, 1], [0, 0, 1, 4]])
    >>> plsa = PLSA(2, random_state=0).fit(X)
    >>> arguments = prepare_topics(plsa, X, ["oven", "dough", "cello", "chord"])
    >>> arguments["term_frequency"]
    array([5., 5., 5., 5.])
    """
    _check_topic_model(estimator)
    if len(estimator.components_) < 2:
        raise ValueError("estimator must have 2 topics at least for a map of them, got 1")
    vocabulary = words_of(estimator, vocabulary, "vocabulary")
    doc_topic = np.asarray(estimator.transform(X), dtype=np.float64)
    counts = check_array(canonical_csr(X), accept_sparse="csr")
    lengths = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel()
    frequency = np.asarray(counts.sum(axis=0, dtype=np.float64)).ravel()
    documents, words = np.flatnonzero(lengths), np.flatnonzero(frequency)
    if not len(words):
        raise ValueError("X has no count above 0: there is nothing to map")
    topic_word = np.maximum(_probabilities(estimator)[:, words], _FLOOR)
    doc_topic = doc_topic[documents]
    return {
        "topic_term_dists": topic_word / topic_word.sum(axis=1, keepdims=True),
        "doc_topic_dists": doc_topic / doc_topic.sum(axis=1, keepdims=True),
        "doc_lengths": lengths[documents],
        "vocab": [str(vocabulary[word]) for word in words],
        "term_frequency": frequency[words],
    }


def _check_topic_model(estimator):
    """Refuse what is no fitted topic model of ours."""
    if not hasattr(estimator, "top_words"):
        raise TypeError(
            "estimator must be a topic model of fastem (PLSA, LatentDirichletAllocation), got "
            f"{type(estimator).__name__}"
        )
    check_is_fitted(estimator)


def _check_topics(topics, n_topics):
    """Return the numbers of topics to draw."""
    if topics is None:
        return list(range(n_topics))
    given: list[Any] = list(topics) if isinstance(topics, Iterable) else [topics]
    if not given or not all(isinstance(k, Integral) and 0 <= int(k) < n_topics for k in given):
        raise ValueError(
            f"topics must be a list of integers from 0 to {n_topics - 1}, got {topics!r}"
        )
    return given


def _probabilities(estimator):
    """Return p(word | topic), (K, V) of float64, which LDA's components_ are up to a factor."""
    weights = np.asarray(estimator.components_, dtype=np.float64)
    totals = weights.sum(axis=1, keepdims=True)
    return np.divide(weights, totals, out=np.zeros_like(weights), where=totals > 0)


def _short(word, length=18):
    """Return a word, shortened to leave room for the bars."""
    return word if len(word) <= length else word[: length - 1] + "…"
