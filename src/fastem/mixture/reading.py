"""What can be read off any mixture: how sure labels are, and which components belong together."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from scipy.special import entr
from sklearn.utils import check_random_state

from fastem._base import check_sample_weight
from fastem._data.sources import by_blocks, scores
from fastem._summary import Summary
from fastem._typing import MatrixLike, SamplerLike
from fastem.mixture.summary import summary

__all__ = ["Merging", "Reading", "sampler"]

_PART = 1 << 19  # responsibilities that are made at a time


class Merging(NamedTuple):
    """Components put together into clusters: see :meth:`fastem.GaussianMixture.merge`."""

    clusters: np.ndarray  # (n_components,): the cluster of each component
    entropies: np.ndarray  # (n_components - n_clusters + 1,): with all components, one less, ...

    @property
    def membership(self) -> np.ndarray:
        """1 where a component belongs to a cluster, (n_components, n_clusters).

        ``mixture.predict_proba(X) @ merging.membership`` are the clusters' probabilities. (With
        noise, whose column is the last, ``mixture.predict_proba(X)[:, :-1]``.)
        """
        return np.eye(int(self.clusters.max()) + 1)[self.clusters]


class Reading:
    """Mixin of the mixtures: what responsibilities say, and the order of the components.

    A subclass has `_validated`, `_rows` and ``_of_each_component()``, the names of its attributes
    whose first axis is the components.
    """

    weights_: np.ndarray

    @by_blocks
    def uncertainty(self, X: MatrixLike) -> np.ndarray:
        """Return how unsure the label of each sample is.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The samples.

        Returns
        -------
        uncertainty : ndarray of shape (n_samples,)
            1 less the largest responsibility: from 0, where one component is certain, to
            1 - 1 / n_components, where all are equally probable.
        """
        X = self._validated(X)
        out = np.empty(X.shape[0])
        for some, responsibilities in self._parts(X):
            out[some] = np.maximum(1 - responsibilities.max(axis=1), 0)
        return out

    def entropy(self, X: MatrixLike, sample_weight: npt.ArrayLike | None = None) -> float:
        """Return the entropy of the labels given the samples.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The samples.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the sum.

        Returns
        -------
        entropy : float
            Minus the sum of r log r over all samples and components, where r are the
            responsibilities; natural logarithm. 0 where components do not overlap,
            n_samples log n_components at most.
        """
        parts = scores(self, type(self).entropy, X, sample_weight)
        if parts is not None:
            return sum(parts)
        X = self._validated(X)
        weight = check_sample_weight(sample_weight, X)
        total = 0.0
        for some, responsibilities in self._parts(X):
            each = entr(responsibilities.astype(np.float64)).sum(axis=1)
            total += float(each.sum() if weight is None else weight[some] @ each)
        return total

    def summary(self, X: MatrixLike, sample_weight: npt.ArrayLike | None = None) -> Summary:
        """Return the fitted mixture as a compact table.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The samples, of which likelihood, criteria and sizes are: those of the fit.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights.

        Returns
        -------
        summary : str
            The fit in figures, and a row for each component: its weight, the number of samples
            whose most probable component it is, and what is typical of it: of Gaussians means and
            standard deviations, of discrete families their values, of categories the most probable
            one.
        """
        return summary(self, X, sample_weight)

    @abstractmethod
    def _described(self) -> tuple[list[str], list[list[Any]]]:
        """Return names of columns, and what a summary says of each component in them."""

    def _parts(self, X):
        """Yield slices of validated samples and their responsibilities, of limited memory."""
        self._params()  # type: ignore[attr-defined]  # says so if an attribute was altered
        size = max(1, _PART // len(self.weights_))
        for begin in range(0, X.shape[0], size):
            some = slice(begin, min(begin + size, X.shape[0]))
            yield some, self._rows(X[some], "responsibilities")

    def merge(
        self, X: MatrixLike, n_clusters: int = 1, sample_weight: npt.ArrayLike | None = None
    ) -> Merging:
        """Put components together into clusters, those first that overlap most.

        The number of components that a density needs may be larger than the number of clusters:
        one cluster that is no Gaussian takes several. Each step joins the two whose union lowers
        the entropy of the labels most (Baudry et al. 2010, *Combining mixture components for
        clustering*, J. Comput. Graph. Stat. 19:332, section 4.1). The density stays what it is.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The samples: those of the fit. Their responsibilities are held in memory.
        n_clusters : int, default=1
            Number of clusters to end with.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights.

        Returns
        -------
        merging : Merging
            `clusters`, the cluster of each component, numbered by their first components;
            `entropies`, of the labels with all components, with one cluster less, and so on: the
            number of clusters is where they begin to fall slowly; `membership`, a matrix by which
            responsibilities become those of clusters.

        Raises
        ------
        ValueError
            Unless `n_clusters` is from 1 to the number of components.
        """
        X = self._validated(X)
        weight = check_sample_weight(sample_weight, X)
        k = len(self.weights_)
        whole = isinstance(n_clusters, int | np.integer) and not isinstance(n_clusters, bool)
        if not whole or not 1 <= n_clusters <= k:
            raise ValueError(f"n_clusters must be an integer from 1 to {k}, got {n_clusters!r}")
        columns = np.empty((k, X.shape[0]))
        for some, responsibilities in self._parts(X):
            columns[:, some] = responsibilities[:, :k].T  # noise is no component
        return _merged(columns, np.ones(X.shape[0]) if weight is None else weight, int(n_clusters))

    def reorder(self, order: str | npt.ArrayLike = "weight") -> Self:
        """Give the components of the fitted mixture other numbers.

        A fit numbers them as it finds them: another seed, another order.

        Parameters
        ----------
        order : 'weight' or array-like of shape (n_components,), default='weight'
            The components' present numbers in their new order; 'weight': by falling weight.

        Returns
        -------
        self : object
            The mixture itself, whose attributes have changed.

        Raises
        ------
        ValueError
            Unless `order` has every component once.
        """
        weights = self._fitted_weights()  # type: ignore[attr-defined]
        self._params()  # type: ignore[attr-defined]  # says so if another was altered
        k = len(weights)
        if isinstance(order, str):
            if order != "weight":
                raise ValueError(f"order must be 'weight' or components' numbers, got {order!r}")
            numbers = np.argsort(-weights, kind="stable")
        else:
            numbers = np.asarray(order)
            whole = numbers.dtype.kind in "iu" and numbers.shape == (k,)
            if not whole or not np.array_equal(np.sort(numbers), np.arange(k)):
                raise ValueError(
                    f"order must have each number from 0 to {k - 1} once, got {order!r}"
                )
        self._permute(numbers)
        stream = vars(self).get("_stream")
        if stream and stream["sums"] is not None:  # whose sums stay as they are
            before = np.arange(k) if stream["order"] is None else stream["order"]
            self._stream = stream | {"order": before[numbers]}
        return self

    def _permute(self, numbers):
        """Put the components into another order."""
        names = self._of_each_component()
        for name in names:
            shape = np.shape(getattr(self, name))
            if shape[:1] != (len(numbers),):
                raise ValueError(
                    f"{name} of this fitted {type(self).__name__} must have a row for each of the "
                    f"{len(numbers)} components, got shape {shape}: fit again, or set the attribute"
                )
        for name in names:
            setattr(self, name, np.asarray(getattr(self, name))[numbers])

    @abstractmethod
    def _validated(self, X) -> Any:
        """Return samples as the mixture reads them."""

    @abstractmethod
    def _rows(self, X, output) -> np.ndarray:
        """Return what the E-step tells of each row."""

    @abstractmethod
    def _of_each_component(self) -> tuple[str, ...]:
        """Return the names of the attributes with a row for each component."""


def _merged(columns, weight, n_clusters):
    """Return the Merging of (K, n) responsibilities, which are changed."""
    groups = [[k] for k in range(len(columns))]
    own = [float(entr(column) @ weight) for column in columns]
    entropies = [sum(own)]
    fall = np.full((len(columns), len(columns)), -np.inf)

    def look(i, others):
        for j in others:
            joint = float(entr(columns[i] + columns[j]) @ weight)
            fall[min(i, j), max(i, j)] = own[i] + own[j] - joint

    for i in range(len(columns)):
        look(i, range(i + 1, len(columns)))
    alive = list(range(len(columns)))
    while len(alive) > n_clusters:
        i, j = (int(index) for index in np.unravel_index(np.argmax(fall), fall.shape))
        columns[i] += columns[j]
        groups[i] += groups[j]
        own[i] = float(entr(columns[i]) @ weight)
        alive.remove(j)
        fall[j, :] = fall[:, j] = -np.inf
        look(i, [other for other in alive if other != i])
        entropies.append(sum(own[one] for one in alive))
    clusters = np.empty(len(columns), dtype=np.int64)
    for number, i in enumerate(alive):
        clusters[groups[i]] = number
    return Merging(clusters, np.maximum(entropies, 0))


def sampler(random_state: SamplerLike, default: Any) -> np.random.RandomState:
    """Return what random numbers are drawn from; None: by the estimator's own `random_state`.

    A Generator's own bits are used, and move on.
    """
    if random_state is None:
        random_state = default
    if isinstance(random_state, np.random.Generator):
        return np.random.RandomState(random_state.bit_generator)
    return check_random_state(random_state)
