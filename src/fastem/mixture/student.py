"""Mixture of Student-t distributions by EM."""

from __future__ import annotations

from numbers import Real
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from fastem._base import check_fitted_array
from fastem._compat import Interval, StrOptions
from fastem._typing import RandomStateLike
from fastem.components.covariances import KINDS
from fastem.components.student import StudentEM
from fastem.mixture.elliptical import EllipticalMixture

__all__ = ["StudentMixture"]

_LARGEST = 1e8  # a given number: what a density has beside a Gaussian's is lost in rounding above


class StudentMixture(EllipticalMixture):
    r"""Mixture of multivariate Student-t distributions, for data with outliers.

    The density is :math:`p(x) = \sum_k \alpha_k \, t(x \mid \mu_k, \Sigma_k, \nu_k)`, with

    .. math:: t(x \mid \mu, \Sigma, \nu) = \frac{\Gamma(\frac{\nu + D}{2})}{\Gamma(\frac{\nu}{2})
        (\nu \pi)^{D/2} |\Sigma|^{1/2}} \left(1 + \frac{\delta}{\nu}\right)^{-\frac{\nu + D}{2}},
        \qquad \delta = (x - \mu)^\top \Sigma^{-1} (x - \mu).

    In the M-step a sample counts for the mean and the scale matrix of a component by its
    responsibility times :math:`u = (\nu + D) / (\nu + \delta)`, so that one far away counts little:
    means and matrices are robust, where those of Gaussians follow every outlier (Peel & McLachlan
    2000, *Robust mixture modelling using the t distribution*, Statistics and Computing 10:339). The
    degrees of freedom :math:`\nu` are learned or given; with many of them a component is Gaussian.

    Parameters
    ----------
    n_components : int, default=1
        Number of components.
    covariance_type : {'full', 'tied', 'diag', 'spherical'}, default='full'
        Each component has its own scale matrix; all share one; each has its own diagonal one; each
        has its own multiple of the identity.
    df : {'each', 'shared'}, float or array-like of shape (n_components,), default='each'
        Degrees of freedom: 'each' learns them for each component, 'shared' one number for all, both
        in [1, 10000]. Or given, a number or one for each, in (0, 1e8]: 1 are Cauchy distributions.
    tol : float, default=1e-3
        EM stops when the mean log-likelihood per sample changes by less than this.
    reg_covar : float, default=1e-6
        Added to the diagonal of the scale matrices, in squared units of X; it keeps them positive.
    max_iter : int, default=100
        Largest number of EM iterations; 0 only computes the start.
    n_init : int, default=1
        Number of restarts; the one with the largest bound is kept.
    init_params : {'kmeans', 'k-means++', 'random', 'random_from_data'}, default='kmeans'
        How the first responsibilities are chosen, as in :class:`GaussianMixture`.
    weights_init : array-like of shape (n_components,), default=None
        First weights, in place of those from `init_params`.
    means_init : array-like of shape (n_components, n_features), default=None
        First means.
    precisions_init : array-like, default=None
        First inverses of the scale matrices, shaped as `precisions_`.
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
    algorithm : {'em', 'squarem', 'incremental'}, default='em'
        'em': an M-step after each pass over the samples. 'squarem': beside it, extrapolates the
        sums that the M-step is made of (Varadhan & Roland 2008), and goes back where the bound is
        then lower; it may end in another optimum. 'incremental': an M-step after each twentieth of
        the samples (Neal & Hinton 1998): fewer passes to a rough `tol`, best for many samples.
    learning_decay : float, default=0.7
        Of `partial_fit`, whose step is (learning_offset + number of the step)^-learning_decay; in
        (0.5, 1].
    learning_offset : float, default=10.0
        Slows the first steps of `partial_fit`; at least 1.

    Attributes
    ----------
    weights_ : ndarray of shape (n_components,)
        Weights of the components; they sum to 1.
    means_ : ndarray of shape (n_components, n_features)
        Centers of the components: their means, where these have more than 1 degree of freedom.
    scales_ : ndarray
        Scale matrices, of shape (n_components, n_features, n_features) for 'full', (n_features,
        n_features) for 'tied', (n_components, n_features) for 'diag', (n_components,) for
        'spherical'. With df > 2 a component's covariance is df / (df - 2) times its scale matrix;
        else it has none.
    precisions_ : ndarray
        Inverses of the scale matrices, same shape.
    precisions_cholesky_ : ndarray
        Upper triangular U with precision = U U^T; for 'diag' and 'spherical' the square roots.
    df_ : ndarray of shape (n_components,)
        Degrees of freedom of the components.
    converged_ : bool
        Whether the best restart converged.
    n_iter_ : int
        Number of its iterations.
    lower_bound_ : float
        Its last mean log-likelihood per sample.
    lower_bounds_ : list of float
        The same at each iteration.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if X had names that are all strings.

    See Also
    --------
    GaussianMixture : With ``noise=True``, what lies anywhere is a component of its own.

    Notes
    -----
    The fit is EM with parameters expanded by a scale of :math:`u` (Liu, Rubin & Wu 1998, *Parameter
    expansion to accelerate EM*, Biometrika 85:755), but for 'tied'; the likelihood never falls.
    Missing values are refused. An iteration takes about twice as long as one of Gaussians, of
    'tied' as long as one of 'full'. The likelihood can grow without limit where a component
    collapses to few samples, as that of Gaussians.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import GaussianMixture, StudentMixture
    >>> rng = np.random.default_rng(0)
    >>> X = np.vstack([rng.normal(size=(200, 2)), rng.uniform(-50, 50, (10, 2))])
    >>> bool(np.diag(GaussianMixture().fit(X).covariances_[0]).max() > 10)
    True
    >>> student = StudentMixture().fit(X)
    >>> bool(np.diag(student.scales_[0]).max() < 1.2), bool(student.df_[0] < 3)
    (True, True)
    """

    df: str | float | npt.ArrayLike
    df_: np.ndarray
    scales_: np.ndarray

    _matrices = "scales_"
    _parameter_constraints: ClassVar[dict] = {
        **EllipticalMixture._parameter_constraints,
        "df": [
            StrOptions({"each", "shared"}),
            Interval(Real, 0.0, _LARGEST, closed="right"),
            "array-like",
        ],
    }

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        df: str | float | npt.ArrayLike = "each",
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
    ) -> None:
        self._keep(locals())

    # ---- fitting ---------------------------------------------------------------------------

    def _model(self, block, given):
        kind, n_threads = self.covariance_type, self._n_threads(block.X)
        return StudentEM(kind, self.reg_covar, block.X.dtype, n_threads, self._degrees())

    def _degrees(self):
        """Return `df`, checked: a word, or an array of shape (n_components,)."""
        if isinstance(self.df, str):
            return self.df
        k = self.n_components
        try:
            df = np.asarray(self.df, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"df must be numbers, got {self.df!r}") from error
        if df.shape not in ((), (k,)) or not np.all((df > 0) & (df <= _LARGEST)):
            raise ValueError(
                f"df must be 'each', 'shared', or in (0, {_LARGEST:g}], a number or of shape "
                f"({k},), got {self.df!r}"
            )
        return np.array(np.broadcast_to(df, k))

    # ---- reading ---------------------------------------------------------------------------

    def _attributes_as(self, dtype, params):
        return super()._attributes_as(dtype, params) | {"df_": params.df.astype(dtype)}

    def _densities(self):
        return super()._densities()._replace(df=np.asarray(self.df_, dtype=np.float64))

    def _check_attributes(self):
        super()._check_attributes()
        check_fitted_array(self, "df_", (len(self.means_),), positive=True, at_most=_LARGEST)

    def _of_each_component(self):
        return *super()._of_each_component(), "df_"

    def _described(self):
        heads, rows = super()._described()
        return ["df", *heads], [
            [f"{df:.3g}", *row] for df, row in zip(self.df_, rows, strict=True)
        ]  # fmt: skip

    def _draw(self, counts, random_state, **settings):
        df = np.repeat(np.asarray(self.df_, dtype=np.float64), counts)
        means = np.repeat(np.asarray(self.means_, dtype=np.float64), counts, axis=0)
        gaussian = super()._draw(counts, random_state) - means
        return means + gaussian / np.sqrt(random_state.chisquare(df) / df)[:, None]

    def _n_parameters(self):
        k, d = self.means_.shape
        learned = {"each": k, "shared": 1}.get(self.df, 0) if isinstance(self.df, str) else 0
        return KINDS[self.covariance_type].n_parameters(k, d) + k * d + k - 1 + learned
