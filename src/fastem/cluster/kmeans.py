"""K-means, the hard limit of EM for a mixture of equal spheres; a drop-in for scikit-learn's."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from sklearn.base import ClusterMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from fastem import em
from fastem._base import (
    EMEstimator,
    check_fitted_array,
    known_features,
    refuse_unknown_features,
    unchanged_on_error,
)
from fastem._compat import Interval, StrOptions, fit_context, has_callbacks
from fastem._data.sources import in_blocks, source_of
from fastem._engine.ending import better
from fastem._engine.random_states import lent_random_state
from fastem._engine.sparse import validate_sparse
from fastem._engine.threads import single_threaded_blas, useful_n_jobs
from fastem._onnx import ToOnnx, kmeans_nodes
from fastem._typing import CheckpointLike, MatrixLike, RandomStateLike
from fastem.cluster.by_blocks import fit_source
from fastem.cluster.data import (
    centered,
    check_weights,
    refuse_overflow,
    stays_where_it_is,
)
from fastem.cluster.first_centers import FirstCenters
from fastem.cluster.lloyd import (
    KMeansBlock,
    KMeansEM,
    KMeansParams,
    useful_threads,
)
from fastem.cluster.missing import IncompleteBlock, IncompleteKMeansEM, refuse_negative
from fastem.cluster.one_call import fit_restarts, in_one_call
from fastem.cluster.reading import KMeansReading
from fastem.cluster.streaming import StreamingKMeans
from fastem.cluster.truncated import check_samples, truncated_model
from fastem.cluster.watch import Printer, Restarts

__all__ = ["KMeans"]


class KMeans(
    KMeansReading,
    FirstCenters,
    StreamingKMeans,
    ToOnnx,
    ClusterMixin,
    EMEstimator,
):
    r"""K-means clustering.

    Minimises the inertia :math:`\sum_j w_j \min_k \|x_j - \mu_k\|^2`. The E-step assigns every
    sample to its nearest center, the M-step moves the centers to the means of their samples (Lloyd
    1982): EM for a mixture of equal spheres whose variance goes to 0 (Bishop 2006, *Pattern
    Recognition and Machine Learning*, equations 9.2-9.4). Parameters, attributes and results are
    those of :class:`sklearn.cluster.KMeans`, from the same start for the same `random_state`;
    `n_jobs` is an addition, and so are missing values, NaN in X: distances and means are then those
    of the values that are there (Chi, Chi & Baraniuk 2016, *k-POD: a method for k-means clustering
    of missing data*).

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters.
    init : {'k-means++', 'random', 'k-means||'}, callable or array-like, default='k-means++'
        The first centers: drawn far from each other (Arthur & Vassilvitskii 2007); drawn from the
        samples; ``init(X, n_clusters, random_state=...)``; or given, of shape (n_clusters,
        n_features). Of :class:`fastem.Blocks` and Dask collections they are drawn from a sample of
        100,000 rows, or, by 'k-means||', from all rows in three passes more, which finds clusters
        that are rare (Bahmani et al. 2012).
    n_init : 'auto' or int, default='auto'
        Number of starts, of which the one with the lowest inertia is kept. 'auto': 10 for 'random'
        and a callable, else 1.
    max_iter : int, default=300
        Largest number of iterations of each start.
    tol : float, default=1e-4
        Stop when the squared shifts of the centers sum to no more than this times the mean variance
        of the features; also when no label changes.
    verbose : int, default=0
        1 prints the inertia of each iteration.
    random_state : int, RandomState instance or None, default=None
        Seed of the starts.
    copy_x : bool, default=True
        Dense data are centered during the fit, in a copy of X; with False in X itself, which is
        put back up to rounding.
    algorithm : {'lloyd', 'elkan', 'truncated'}, default='lloyd'
        'truncated', for a thousand clusters of dense samples: samples compare some of the centers
        (Hirschberger, Forster & Lücke 2022), in the last two or three iterations all. The others
        give the same result, in the same way: samples whose center cannot have changed are
        passed over where that saves time (Hamerly 2010; Ding et al. 2015).
    n_jobs : int, default=None
        Number of threads. None and -1: all physical cores, or what OMP_NUM_THREADS and
        threadpoolctl allow. The result has the same bits for every number.
    learning_decay : float, default=0.7
        Of `partial_fit`, whose step is (learning_offset + number of the step)^-learning_decay; in
        (0.5, 1].
    learning_offset : float, default=10.0
        Slows the first steps of `partial_fit`; at least 1.

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (n_clusters, n_features)
        Means of the clusters.
    labels_ : ndarray of shape (n_samples,), int32
        The nearest center of each sample.
    inertia_ : float
        Sum of the samples' squared distances to it, times their weights.
    n_iter_ : int
        Number of iterations of the best start.
    converged_ : bool
        Whether it converged.
    lower_bound_ : float
        Minus the inertia per unit weight that its last E-step saw, before the last M-step.
    lower_bounds_ : list of float
        The same at each iteration.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if X had names that are all strings.

    See Also
    --------
    fastem.GaussianMixture : Clusters with shapes, and probabilities in place of labels.
    fastem.em.fit : The driver that fits this model, and yours.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import KMeans
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> kmeans = KMeans(n_clusters=2, random_state=0).fit(X)
    >>> kmeans.labels_
    array([1, 1, 1, 0, 0, 0], dtype=int32)
    >>> kmeans.predict([[0, 0], [12, 3]])
    array([1, 0], dtype=int32)
    >>> kmeans.cluster_centers_
    array([[10.,  2.],
           [ 1.,  2.]])
    """

    cluster_centers_: np.ndarray
    labels_: np.ndarray
    inertia_: float
    _allow_nan: ClassVar[bool] = True  # NaN is what is missing; else it is refused

    _parameter_constraints: ClassVar[dict] = {
        "n_clusters": [Interval(Integral, 1, None, closed="left")],
        "init": [StrOptions({"k-means++", "k-means||", "random"}), callable, "array-like"],
        "n_init": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
        "copy_x": ["boolean"],
        "algorithm": [StrOptions({"lloyd", "elkan", "truncated"})],
        "n_jobs": [Integral, None],
        **StreamingKMeans._step_constraints,
    }

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: str | Callable[..., Any] | npt.ArrayLike = "k-means++",
        n_init: int | str = "auto",
        max_iter: int = 300,
        tol: float = 1e-4,
        verbose: int = 0,
        random_state: RandomStateLike = None,
        copy_x: bool = True,
        algorithm: str = "lloyd",
        n_jobs: int | None = None,
        learning_decay: float = 0.7,
        learning_offset: float = 10.0,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.verbose = verbose
        self.random_state = random_state
        self.copy_x = copy_x
        self.algorithm = algorithm
        self.n_jobs = n_jobs
        self.learning_decay, self.learning_offset = learning_decay, learning_offset

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = self._allow_nan
        return tags

    # ---- fitting ---------------------------------------------------------------------------

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: MatrixLike,
        y: Any = None,
        sample_weight: npt.ArrayLike | None = None,
        *,
        checkpoint: CheckpointLike = None,
    ) -> Self:
        """Find the clusters.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or Blocks
            The samples, float32 or float64; other types are converted to float64. Dense data are
            copied into C order, sparse ones into CSR, if they are not in it. NaN in dense data is
            a value that is missing. Of :class:`numpy.memmap` in C order, of these types, no copy
            is made, unless values are missing, `init` is a callable or `algorithm` 'truncated'.
            :class:`fastem.Blocks` are read again in each pass; there are no `labels_` then.
        y : Ignored
            Present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights, of X's dtype: a sample of weight 2 counts as two equal samples. A start that is
            given or a callable does not see them, and lets negative ones pass.
        checkpoint : em.Checkpoint or path, default=None
            Where the fit is written to as it goes. A fit that was killed goes on from there and
            ends with the same bits: see :class:`fastem.em.Checkpoint`. `random_state` must be set.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            If an argument is invalid, or a feature has no value but NaN.

        Warns
        -----
        ConvergenceWarning
            If some clusters have no sample, because too few samples differ.
        """
        with unchanged_on_error(self):
            useful_n_jobs(self.n_jobs, 0)  # complains before any work
            self._open_checkpoint(checkpoint, X, sample_weight=sample_weight)
            source = source_of(self, X, sample_weight)
            n_found = (
                self._fit_array(X, sample_weight) if source is None else fit_source(self, source)
            )
        if n_found < self.n_clusters:
            warnings.warn(
                f"Number of distinct clusters ({n_found}) found smaller than "
                f"n_clusters ({self.n_clusters}). Possibly due to duplicate points in X.",
                ConvergenceWarning,
                stacklevel=3,  # the caller of fit, which scikit-learn wraps
            )
        return self

    def _read_block(self, X, copy=False):
        X = self._validated_block(X, copy)
        if self.algorithm == "truncated":
            check_samples(X)
        return X

    def _validated_block(self, X, copy=False, reset=True):
        return validate_sparse(
            self,
            X,
            reset=reset,
            dtype=[np.float64, np.float32],
            order="C",
            copy=copy,
            accept_large_sparse=False,
            ensure_all_finite=self._finite(X),
        )

    def _finite(self, X):
        """Return what scikit-learn's validation is to ask of X."""
        return "allow-nan" if self._allow_nan and not sp.issparse(X) else True

    @property
    def _takes_nan(self):
        """Whether `fit` takes NaN for missing values."""
        return self._allow_nan and self.algorithm != "truncated"

    def _fit_array(self, X, sample_weight):
        """Fit to data in memory; return how many clusters have a sample."""
        stays = stays_where_it_is(self, X)
        X = self._read_block(X, self.copy_x and not stays and not sp.issparse(X))  # see `centered`
        if X.shape[0] < self.n_clusters:
            raise ValueError(f"n_samples={X.shape[0]} should be >= n_clusters={self.n_clusters}.")
        sample_weight = check_weights(sample_weight, X)
        missing = refuse_overflow("X", X, sample_weight)
        if missing:
            refuse_negative(sample_weight)
            refuse_unknown_features(self, known_features(X, sample_weight))
            X, stays = X.copy() if stays else X, False
        if isinstance(self.init, str) and self.init == "k-means||":
            raise ValueError("init='k-means||' is for blocks: take 'k-means++' for data in memory")
        self._n_init = self._check_n_init()  # scikit-learn's tests read it
        init = self._check_init(X)
        random_state = self.random_state
        if callable(init):  # which may keep it
            random_state = check_random_state(random_state)
        with (
            centered(X, self.copy_x, missing, sample_weight, stays) as mean,
            lent_random_state(random_state) as random_state,
        ):
            best = self._fit(X, mean, sample_weight, init, random_state, missing, stays)
        return len(np.unique(best["labels_"]))

    def _fit(self, X, mean, sample_weight, init, random_state, missing, stays):
        """Fit data, centered unless X `stays`; return the fitted attributes of the best start."""
        n_threads = useful_threads(self.n_jobs, X.shape, self.n_clusters)
        block = (
            IncompleteBlock(X, sample_weight, n_threads)
            if missing
            else KMeansBlock(X, sample_weight, n_threads, mean if stays else None)
        )
        self._tol = self.tol * block.mean_variance()
        model = (IncompleteKMeansEM if missing else KMeansEM)(self._tol, X.dtype, n_threads)
        begin = None
        if self.algorithm == "truncated":
            model = truncated_model(self, model)
            begin = model.begin
        X, sample_weight = block.drawn_from, block.sample_weight
        restarts = Restarts(self, block, model, mean)
        rows, n_init = self._rows_to_draw(X, sample_weight, block), self._n_init

        def start(_):
            centers = self._first_centers(
                X, init, mean, sample_weight, random_state, self.n_clusters, rows
            )
            if rows is not None and n_init == 1:
                rows.release()
            params = KMeansParams(centers, X.shape[0])
            return params if begin is None else begin(params)

        self._restarts = restarts
        try:
            one_call = begin is None and in_one_call(block, self.n_clusters)
            if one_call and not self._is_watched():
                self._fit_in_one_call(model, block, start, restarts)
            else:
                printer = [Printer(block.total_weight, model)] if self.verbose else []
                self._fit_em(
                    model,
                    [block],
                    start,
                    tol=0.0,
                    verbose=0,
                    n_init=self._n_init,
                    callbacks=[restarts, *printer],
                    X=X,
                    sample_weight=sample_weight,
                )
            self._set_fitted(self._result_attributes(restarts.best))
        finally:
            del self._restarts
        self._n_features_out = self.n_clusters
        return restarts.attributes

    def _is_watched(self):
        """Return whether anybody is to be told of each iteration, or a file."""
        watched = em.is_watched() or has_callbacks(self) or "_keeper" in vars(self)
        return watched or bool(self.verbose)

    def _fit_in_one_call(self, model, block, start, restarts):
        """Fit samples by whole fits of the kernel: the same in less time, if nobody watches."""
        self.__dict__.pop("_stream", None)
        try:
            with single_threaded_blas():  # which starts of float32 samples use
                fit_restarts(model, block, start, self._n_init, self.max_iter, restarts)
        except KeyboardInterrupt as interrupt:
            best, current = restarts.best, getattr(interrupt, "result", None)
            if current is not None:
                best = better(best, current)
            if best is not None:
                self._set_fitted(self._result_attributes(best))
                interrupt.keep_fitted = True  # type: ignore[attr-defined]
            raise

    def _attributes(self, params) -> dict[str, Any]:
        return self._restarts.read(params)

    @fit_context(prefer_skip_nested_validation=True)
    def fit_predict(
        self, X: MatrixLike, y: Any = None, sample_weight: npt.ArrayLike | None = None
    ) -> np.ndarray:
        """Find the clusters and return the label of each sample.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The samples.
        y : Ignored
            Present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int32
            The nearest center of each sample.
        """
        self.fit(X, sample_weight=sample_weight)
        return self.predict(X) if in_blocks(X) else self.labels_

    def fit_transform(
        self, X: MatrixLike, y: Any = None, sample_weight: npt.ArrayLike | None = None
    ) -> np.ndarray:
        """Find the clusters and return the distances to their centers.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The samples.
        y : Ignored
            Present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights.

        Returns
        -------
        distances : ndarray of shape (n_samples, n_clusters)
            Of each sample to each center.
        """
        return self.fit(X, sample_weight=sample_weight).transform(X)

    _onnx_scores = "scores", "cluster_centers_"  # skl2onnx's name of distances

    def _onnx_nodes(self, X, dtype, names, opset):
        centers = check_fitted_array(self, "cluster_centers_", (None, None))
        return kmeans_nodes(centers.astype(np.float64), X, dtype, names, opset)
