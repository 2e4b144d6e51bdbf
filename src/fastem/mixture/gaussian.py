"""Gaussian mixture by EM, a drop-in for scikit-learn's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from sklearn.utils import check_random_state

from fastem._base import check_flag
from fastem._compat import Interval, StrOptions
from fastem._typing import MatrixLike, RandomStateLike
from fastem.components import gaussian
from fastem.components.fixed import n_free, read_fixed
from fastem.components.gaussian import GaussianEM, GaussianParams
from fastem.components.gaussian_map import GaussianMAP
from fastem.components.gaussian_missing import imputed
from fastem.components.noise import noise_of
from fastem.components.prior import ConjugatePrior, resolve
from fastem.mixture.algorithms import COMPLETE, check_samples
from fastem.mixture.base import ALGORITHMS
from fastem.mixture.by_blocks import begin
from fastem.mixture.elliptical import EllipticalMixture
from fastem.mixture.errors import GaussianErrors
from fastem.mixture.gaussian_base import GaussianBase
from fastem.mixture.multiresolution import grid_of, start_on_cells, start_on_cells_of_blocks
from fastem.mixture.truncated import moments_of_clusters, truncated_model

__all__ = ["GaussianMixture", "mixture_of"]


class GaussianMixture(GaussianErrors, EllipticalMixture, GaussianBase):
    r"""Gaussian mixture fitted by expectation-maximisation.

    The density is :math:`p(x) = \sum_k \alpha_k \, \mathcal{N}(x \mid \mu_k, \Sigma_k)`. The
    E-step computes the responsibilities

    .. math:: \gamma_{jk} = \frac{\alpha_k \mathcal{N}(x_j \mid \mu_k, \Sigma_k)}{
        \sum_l \alpha_l \mathcal{N}(x_j \mid \mu_l, \Sigma_l)}

    and the M-step the weights, means and covariances of the samples weighted by them (Bishop
    2006, *Pattern Recognition and Machine Learning*, equations 9.23-9.27). Parameters,
    attributes and results are those of :class:`sklearn.mixture.GaussianMixture`; `n_jobs`, `prior`,
    `fixed` and `sample_weight` are additions.

    Parameters
    ----------
    n_components : int, default=1
        Number of components.
    covariance_type : {'full', 'tied', 'diag', 'spherical'}, default='full'
        Each component has its own covariance matrix; all share one; each has its own diagonal
        one; each has its own single variance.
    tol : float, default=1e-3
        EM stops when the mean log-likelihood per sample changes by less than this.
    reg_covar : float, default=1e-6
        Added to the diagonal of the covariances, in squared units of X; it keeps them positive.
    max_iter : int, default=100
        Largest number of EM iterations; 0 only computes the start.
    n_init : int, default=1
        Number of restarts; the one with the largest bound is kept.
    init_params : {'kmeans', 'k-means++', 'random', 'random_from_data'}, default='kmeans'
        How the first responsibilities are chosen. For 'kmeans' clusters are found first: those of
        scikit-learn's :class:`KMeans <sklearn.cluster.KMeans>`, which itself runs (and copies X
        twice meanwhile) where X is float32, or rounding might decide to which a sample belongs.
    weights_init : array-like of shape (n_components,), default=None
        First weights, in place of those from `init_params`.
    means_init : array-like of shape (n_components, n_features), default=None
        First means.
    precisions_init : array-like, default=None
        First precisions (inverse covariances), shaped as `precisions_`.
    random_state : int, RandomState instance or None, default=None
        Seed of the start and of `sample`.
    warm_start : bool, default=False
        Go on from the last fit; then `n_init` is 1.
    verbose : int, default=0
        1 prints each restart and every `verbose_interval`-th iteration, 2 also times and bounds.
    verbose_interval : int, default=10
        Number of iterations between two lines.
    n_jobs : int, default=None
        Number of threads. None and -1: all physical cores, or what OMP_NUM_THREADS and
        threadpoolctl allow. The result has the same bits for every number.
    algorithm : {'em', 'squarem', 'incremental', 'multiresolution', 'truncated'}, default='em'
        'em': an M-step after each pass over the samples. 'squarem': beside it, extrapolates the
        sums that the M-step is made of (Varadhan & Roland 2008), and goes back where the bound is
        then lower: a third of the passes where EM converges slowly, as with components that
        overlap; it may end in another optimum. 'incremental': an M-step after each twentieth of the
        samples (Neal & Hinton 1998): fewer passes to a rough `tol`, best for many samples.
        'multiresolution', for up to three features and many samples without NaN: EM on the cells of
        a grid first (Moore 1999), then on all samples, of which iterations and bounds are counted.
        'truncated', for a thousand components of type 'diag' or 'spherical': samples compare some
        of them (Hirschberger, Forster & Lücke 2022), in the last two or three iterations all.
    learning_decay : float, default=0.7
        Of `partial_fit`, whose step is (learning_offset + number of the step)^-learning_decay; in
        (0.5, 1].
    learning_offset : float, default=10.0
        Slows the first steps of `partial_fit`; at least 1.
    prior : 'conjugate', ConjugatePrior or None, default=None
        None: maximum likelihood. Else the mode of the posterior is fitted, in which no component
        collapses; `reg_covar` is then not used, because the prior does what it is for. 'conjugate'
        stands for a :class:`ConjugatePrior` of default values, which come from the data.
    fixed : sequence or dict, default=()
        Parameters that the fit leaves alone: some of 'weights', 'means' and 'covariances', whose
        values are `weights_init`, `means_init` and `precisions_init`. A dict has for each a mask,
        booleans of shape (n_components,), True where a component's is fixed; covariances that
        components share are fixed for all or for none.
    noise : bool or float, default=False
        Whether there is noise beside the components: samples from anywhere, whose density is
        `noise_weight_` by a volume (Banfield & Raftery 1993, *Model-based Gaussian and non-Gaussian
        clustering*, Biometrics 49:803). True: the volume of the data, as mclust has it: of the
        smaller one of two boxes that hold all samples, along the features or along the principal
        axes (where values are missing, of the former). A number: the volume itself, in units of X.

    Attributes
    ----------
    weights_ : ndarray of shape (n_components,)
        Weights of the components; they sum to 1, with noise to 1 - `noise_weight_`.
    means_ : ndarray of shape (n_components, n_features)
        Means of the components.
    covariances_ : ndarray
        Covariances, of shape (n_components, n_features, n_features) for 'full', (n_features,
        n_features) for 'tied', (n_components, n_features) for 'diag', (n_components,) for
        'spherical'.
    precisions_ : ndarray
        Inverses of the covariances, same shape.
    precisions_cholesky_ : ndarray
        Upper triangular U with precision = U U^T; for 'diag' and 'spherical' the square roots.
    noise_weight_ : float
        With noise alone: its weight, the share of the samples that belong to no component.
    noise_box_ : ndarray of shape (2, n_features), float64
        With noise alone: the lowest and the highest corner of the box that it fills: the data's
        box along the features, or one of its proportions that has the noise's volume.
    converged_ : bool
        Whether the best restart converged.
    n_iter_ : int
        Number of its iterations.
    lower_bound_ : float
        Its last mean log-likelihood per sample; with a prior, plus its log-density up to a constant
        by the number (total weight) of samples.
    lower_bounds_ : list of float
        The same at each iteration.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if X had names that are all strings.

    See Also
    --------
    fastem.em.fit : The driver that fits this model, and yours.

    Notes
    -----
    Differences from scikit-learn: covariances are summed about the means, so data far from zero
    lose no digits; NaN is a value that is missing at random, and all that is computed is of the
    distribution of what is there; for float32 data everything but the densities themselves is
    computed in float64; no array of shape (n_samples, n_components) is made.

    With `noise`, the label of what is noise is -1, as in scikit-learn's DBSCAN, and
    responsibilities have a column more, the last. The noise's density goes on outside of its box,
    so that a sample far from everything is noise; samples are drawn in the box.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import GaussianMixture
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> gm = GaussianMixture(n_components=2, random_state=0).fit(X)
    >>> gm.means_
    array([[10.,  2.],
           [ 1.,  2.]])
    >>> gm.predict([[0, 0], [12, 3]])
    array([1, 0])
    """

    prior: Literal["conjugate"] | ConjugatePrior | None
    fixed: Sequence[str] | Mapping[str, npt.ArrayLike]
    noise: bool | float
    noise_weight_: float
    noise_box_: np.ndarray

    _allow_nan = True
    _parameter_constraints: ClassVar[dict] = {
        **EllipticalMixture._parameter_constraints,
        "algorithm": [StrOptions({*ALGORITHMS, "multiresolution", "truncated"})],
        "prior": [StrOptions({"conjugate"}), ConjugatePrior, None],
        "fixed": [list, tuple, dict],
        "noise": ["boolean", Interval(Real, 0.0, None, closed="neither")],
    }

    @property
    def _takes_nan(self):
        return self._allow_nan and self.algorithm not in COMPLETE

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        weights_init: npt.ArrayLike | None = None,
        means_init: npt.ArrayLike | None = None,
        precisions_init: npt.ArrayLike | None = None,
        random_state: RandomStateLike = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        n_jobs: int | None = None,
        algorithm: str = "em",
        learning_decay: float = 0.7,
        learning_offset: float = 10.0,
        prior: Literal["conjugate"] | ConjugatePrior | None = None,
        fixed: Sequence[str] | Mapping[str, npt.ArrayLike] = (),
        noise: bool | float = False,
    ) -> None:
        self._keep(locals())

    # ---- fitting ---------------------------------------------------------------------------

    def _scales_weights(self):
        return self.prior is None  # else weights are counts beside the prior's

    def _read(self, X):
        return check_samples(self, super()._read(X))

    def _read_block(self, X, reset=True):
        return check_samples(self, super()._read_block(X, reset))

    def _start_of_fit(self, model, block, start):
        if self.algorithm == "multiresolution":
            return start_on_cells(self, model, block, start)
        return start

    def _fit_em(self, model, blocks, start, **settings):
        if self.algorithm == "truncated":
            model = truncated_model(self, model)
            return super()._fit_em(model, blocks, lambda i: model.begin(start(i)), **settings)
        return super()._fit_em(model, blocks, start, **settings)

    def _attributes(self, params):
        return super()._attributes(getattr(params, "components", params))

    def _begin_source(self, source, found, n_starts):
        if self.algorithm != "multiresolution" or not n_starts:
            return super()._begin_source(source, found, n_starts)
        sample = source.sample
        grid = source.call(grid_of, sample, found.n_rows)
        model, blocks, _ = super()._begin_source(source, found, 0)
        given = self._check_start(found.n_features)

        def start(random_state, cells):
            return self._start(model, cells, given, random_state)

        def of_sample():
            return source.call(begin, self, found, n_starts, sample).starts

        begun = start_on_cells_of_blocks(self, model, blocks, grid, start, of_sample)
        return model, blocks, begun

    def _model(self, block, given):
        kind, dtype, n_threads = self.covariance_type, block.X.dtype, self._n_threads(block.X)
        fixed = read_fixed(self.fixed, kind, self.n_components, given) if self.fixed else None
        noise = self._noise(block, fixed) if self.noise else None
        if self.prior is None:
            return GaussianEM(kind, self.reg_covar, dtype, n_threads, fixed, noise)
        prior = self.prior if isinstance(self.prior, ConjugatePrior) else ConjugatePrior()
        prior, pseudo_counts = resolve(prior, kind, self.n_components, block)
        return GaussianMAP(kind, prior, pseudo_counts, dtype, n_threads, fixed, noise)

    def _noise(self, block, fixed):
        """Return the noise as a fit begins with it, or as a stream has it."""
        if fixed is not None and fixed.weights is not None:
            raise ValueError(
                "fixed has 'weights', beside which noise would have none: leave it out, or set "
                "noise=False"
            )
        if vars(self).get("_stream", {}).get("sums") is not None:
            return self._densities().noise
        volume = True if isinstance(self.noise, bool | np.bool_) else float(self.noise)
        return noise_of(block.X, block.sample_weight, volume, 1 / (self.n_components + 1))

    def _fit_source(self, source, resume):
        if isinstance(self.noise, bool | np.bool_) and self.noise:
            raise ValueError(
                "noise=True is not known of data in blocks, for its volume is of all samples: give "
                "noise the volume, a number"
            )
        return super()._fit_source(source, resume)

    def _start(self, model, block, given, random_state):
        complete = all(part is not None for part in given)
        if self.algorithm == "truncated" and self.init_params == "kmeans" and not complete:
            moments = moments_of_clusters(model, block, self.n_components, random_state)
            return self._start_from(model, block, given, moments)
        return super()._start(model, block, given, random_state)

    def _mixture(self, params, names):
        return mixture_of(self, params, names)

    # ---- missing values --------------------------------------------------------------------

    def impute(
        self, X: MatrixLike, draw: bool = False, random_state: RandomStateLike = None
    ) -> np.ndarray:
        r"""Return samples with values in place of NaN.

        In component k what is missing has mean :math:`\mu_m + \Sigma_{mo} \Sigma_{oo}^{-1} (x_o -
        \mu_o)`; the components are weighted by their responsibilities for what is there.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The samples, with NaN for what is missing.
        draw : bool, default=False
            Whether to draw what is missing, as multiple imputation needs it: a component, and
            values from its distribution given the rest. Expected values vary too little.
        random_state : int, RandomState instance or None, default=None
            Seed of the draws; None: the mixture's.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features), float64
            The samples, complete; a copy.

        Examples
        --------
        >>> import numpy as np
        >>> from fastem import GaussianMixture
        >>> X = np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 4.1], [3.0, np.nan], [4.0, 8.1]])
        >>> GaussianMixture(random_state=0, tol=1e-6, max_iter=1000).fit(X).impute(X)[3].round(1)
        array([3. , 6.1])
        """
        check_flag("draw", draw)
        X = self._validated(X)
        share = self._rows(X, "responsibilities").astype(np.float64, copy=False)
        rng = None
        if draw:
            rng = check_random_state(self.random_state if random_state is None else random_state)
        return imputed(X, self._densities(), self.covariance_type, share, rng)

    # ---- what scikit-learn's own tests reach for -------------------------------------------

    def _n_parameters(self):
        """Return the number of free parameters."""
        k, d = self.means_.shape
        return int(n_free(self.fixed, self.covariance_type, k, d)) + hasattr(self, "noise_weight_")

    def _initialize(self, X, resp):
        """Set the parameters that responsibilities give."""
        block = gaussian.GaussianBlock.of(X, None)
        model = GaussianEM(self.covariance_type, self.reg_covar, X.dtype, 1)
        given = (self.weights_init, self.means_init, self.precisions_init)
        moments = model.given_moments(np.asarray(resp, dtype=np.float64), block)
        self._set_fitted(self._attributes(self._start_from(model, block, given, moments)))

    def _set_parameters(self, params):
        """Set weights, means, covariances and precisions_cholesky."""
        self._set_fitted(self._attributes(GaussianParams.of(*params)))


def mixture_of(estimator, params, names):
    """Return a fitted GaussianMixture with some parameters, of an estimator's covariance type."""
    mixture = GaussianMixture(
        len(params.weights),
        covariance_type=estimator.covariance_type,
        random_state=estimator.random_state,
        n_jobs=estimator.n_jobs,
        noise=params.noise is not None,
    )
    mixture.n_features_in_ = params.means.shape[1]
    if names is not None:
        mixture.feature_names_in_ = names
    mixture._set_fitted(mixture._attributes(params))
    return mixture
