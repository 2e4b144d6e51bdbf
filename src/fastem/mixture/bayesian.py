"""Bayesian Gaussian mixture by variational EM, a drop-in for scikit-learn's."""

from __future__ import annotations

from functools import partial
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.utils import check_array

from fastem._base import check_fitted_array
from fastem._compat import Interval, StrOptions
from fastem._typing import RandomStateLike
from fastem.components import gaussian
from fastem.components.covariances import KINDS
from fastem.components.gaussian_data import block_of
from fastem.components.gaussian_start import Labels, moments_of
from fastem.mixture.bayesian_em import BayesianEM, BayesianParams, BayesianPrior
from fastem.mixture.gaussian import mixture_of
from fastem.mixture.gaussian_base import GaussianBase
from fastem.mixture.streaming import StreamingMixture

__all__ = ["BayesianGaussianMixture"]

_PROCESS = "dirichlet_process"
_POSITIVE = Interval(Real, 0.0, None, closed="neither")


class BayesianGaussianMixture(StreamingMixture, GaussianBase):
    r"""Gaussian mixture fitted by variational Bayes, which leaves components unused.

    Weights, means and precisions have distributions. The fit finds those that are as near to the
    posterior as a product of a distribution of the components of the samples and one of the
    parameters can be (Bishop 2006, *Pattern Recognition and Machine Learning*, section 10.2): a
    Dirichlet distribution of the weights, or a Dirichlet process, cut off after `n_components`
    (Blei & Jordan 2006, *Variational inference for Dirichlet process mixtures*, Bayesian Analysis
    1:121), and for each component

    .. math:: q(\mu_k, \Lambda_k) = \mathcal{N}(\mu_k \mid m_k, (\beta_k \Lambda_k)^{-1}) \,
        \mathcal{W}(\Lambda_k \mid W_k, \nu_k).

    Parameters, attributes and results are those of
    :class:`sklearn.mixture.BayesianGaussianMixture`; `n_jobs` and `sample_weight` are additions.

    Parameters
    ----------
    n_components : int, default=1
        Largest number of components.
    covariance_type : {'full', 'tied', 'diag', 'spherical'}, default='full'
        Each component has its own covariance matrix; all share one; each has its own diagonal
        one; each has its own single variance.
    tol : float, default=1e-3
        The fit stops when the bound, a sum over the samples, changes by less than this.
    reg_covar : float, default=1e-6
        Added to the variances of the data in each component, in squared units of X.
    max_iter : int, default=100
        Largest number of iterations; 0 only computes the start.
    n_init : int, default=1
        Number of restarts; the one with the largest bound is kept.
    init_params : {'kmeans', 'k-means++', 'random', 'random_from_data'}, default='kmeans'
        How the first responsibilities are chosen; see :class:`GaussianMixture`.
    weight_concentration_prior_type : {'dirichlet_process', 'dirichlet_distribution'}
        Prior of the weights, by default 'dirichlet_process', which prefers the first components.
    weight_concentration_prior : float, default=None
        The less it is, the fewer components are used. None: 1 / n_components.
    mean_precision_prior : float, default=None
        How many samples `mean_prior` counts for in each mean. None: 1.
    mean_prior : array-like of shape (n_features,), default=None
        Prior of the means. None: the mean of X.
    degrees_of_freedom_prior : float, default=None
        How many samples `covariance_prior` counts for; more than n_features - 1. None: n_features.
    covariance_prior : float or array-like, default=None
        Prior of the covariances, times the degrees of freedom: of shape (n_features, n_features)
        for 'full' and 'tied', (n_features,) for 'diag', a number for 'spherical'. None: the
        covariance of X, its variances, or their mean.
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
        then lower: a third of the passes where EM converges slowly, as with components that
        overlap; it may end in another optimum. 'incremental': an M-step after each twentieth of the
        samples (Neal & Hinton 1998): fewer passes to a rough `tol`, best for many samples.
    learning_decay : float, default=0.7
        Of `partial_fit`, whose step is (learning_offset + number of the step)^-learning_decay; in
        (0.5, 1].
    learning_offset : float, default=10.0
        Slows the first steps of `partial_fit`; at least 1.

    Attributes
    ----------
    weights_ : ndarray of shape (n_components,)
        Expected weights of the components; they sum to 1. Unused ones are near 0.
    means_ : ndarray of shape (n_components, n_features)
        Expected means of the components.
    covariances_ : ndarray
        Inverses of the expected precisions, shaped by `covariance_type` as in
        :class:`GaussianMixture`.
    precisions_ : ndarray
        Expected precisions, same shape.
    precisions_cholesky_ : ndarray
        Upper triangular U with precision = U U^T; for 'diag' and 'spherical' the square roots.
    weight_concentration_ : ndarray of shape (n_components,) or tuple of two
        Parameters of the weights' Dirichlet distribution; of a process, both parameters of the
        sticks' beta distributions.
    mean_precision_ : ndarray of shape (n_components,)
        How many samples each mean rests on, the prior's among them.
    degrees_of_freedom_ : ndarray of shape (n_components,), or float for 'tied'
        How many samples each covariance rests on, the prior's among them.
    weight_concentration_prior_, mean_precision_prior_, degrees_of_freedom_prior_ : float
        The priors that were used.
    mean_prior_ : ndarray of shape (n_features,)
        The prior of the means that was used.
    covariance_prior_ : ndarray or float
        The prior of the covariances that was used.
    converged_ : bool
        Whether the best restart converged.
    n_iter_ : int
        Number of its iterations.
    lower_bound_ : float
        Its last bound on the log-evidence, except for terms that no parameter changes. After
        `partial_fit`: of as many rows as were seen, which weigh what the steps give them.
    lower_bounds_ : list of float
        Its bound after each iteration.
    n_features_in_ : int
        Number of features seen in `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, if X had names that are all strings.

    See Also
    --------
    GaussianMixture : Maximum likelihood; all components are used.

    Notes
    -----
    Differences from scikit-learn: moments are summed about the means, so data far from zero lose no
    digits; float32 data are computed in float64, part by part; the bound of 'tied' is a number, not
    an array.

    `partial_fit` is stochastic variational inference (Hoffman, Blei, Wang & Paisley 2013,
    *Stochastic variational inference*, Journal of Machine Learning Research 14:1303): each step
    moves the mean sums towards those of its rows, and the posterior is that of as many rows as were
    seen, those of a `fit` before included, beside the prior. Priors that are None are made of the
    rows of the start, or were made by the fit, and stay.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import BayesianGaussianMixture
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [4, 2], [12, 4], [10, 7]])
    >>> mixture = BayesianGaussianMixture(2, random_state=42).fit(X)
    >>> mixture.means_.round(2)
    array([[2.5 , 2.29],
           [8.46, 4.52]])
    >>> mixture.predict([[0, 0], [9, 3]])
    array([0, 1])
    """

    weight_concentration_: np.ndarray | tuple[np.ndarray, np.ndarray]
    mean_precision_: np.ndarray
    degrees_of_freedom_: np.ndarray | float
    weight_concentration_prior_: float
    mean_precision_prior_: float
    degrees_of_freedom_prior_: float
    mean_prior_: np.ndarray
    covariance_prior_: np.ndarray | float

    weight_concentration_prior_type: str
    weight_concentration_prior: float | None
    mean_precision_prior: float | None
    mean_prior: npt.ArrayLike | None
    degrees_of_freedom_prior: float | None
    covariance_prior: npt.ArrayLike | None

    _parameter_constraints: ClassVar[dict] = {
        **GaussianBase._parameter_constraints,
        "weight_concentration_prior_type": [StrOptions({_PROCESS, "dirichlet_distribution"})],
        "weight_concentration_prior": [None, _POSITIVE],
        "mean_precision_prior": [None, _POSITIVE],
        "mean_prior": [None, "array-like"],
        "degrees_of_freedom_prior": [None, _POSITIVE],
        "covariance_prior": [None, "array-like", _POSITIVE],
        **StreamingMixture._step_constraints,
    }
    _least_of_start = 2  # of one there is no covariance, which the prior is made of

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
        weight_concentration_prior_type: str = "dirichlet_process",
        weight_concentration_prior: float | None = None,
        mean_precision_prior: float | None = None,
        mean_prior: npt.ArrayLike | None = None,
        degrees_of_freedom_prior: float | None = None,
        covariance_prior: npt.ArrayLike | None = None,
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

    def _maker(self, block, found):
        return partial(block_of, block.scaling, 0)

    def _look_at(self, X, sample_weight):
        """Return the moments of all samples of a block together, for the priors."""
        block = gaussian.GaussianBlock.of(X, sample_weight)
        return _moments_of_all(self.covariance_type, block, self._n_threads(X))

    def _problem_of(self, X, sample_weight, found):
        return self._problem(X, sample_weight, found.extra)

    def _stream_problem(self, X, sample_weight, stream):
        given = self._given_priors(X.shape[1])
        if stream.mean is not None or stream.resumes:  # then they are known, and not of these rows
            for name in ("mean_prior", "covariance_prior"):
                if given[name] is None and hasattr(self, f"{name}_"):
                    given[name] = self._fitted_prior(name, X.shape[1])
        return self._problem(X, sample_weight, given=given)

    def _fitted_prior(self, name, n_features):
        """Return a prior that was made of data before."""
        shape = (n_features,)
        if name == "covariance_prior":
            shape = KINDS[self.covariance_type].one(n_features)
        value = check_fitted_array(self, f"{name}_", shape)
        return value if shape else float(value)

    def _weight_before(self):
        return float(np.sum(self.mean_precision_) - self.n_components * self.mean_precision_prior_)

    @staticmethod
    def _composition(statistics):
        return statistics.moments.weight

    def _problem(self, X, sample_weight, moments=None, given=None):
        given = self._given_priors(X.shape[1]) if given is None else given
        block = gaussian.GaussianBlock.of(X, sample_weight)
        model = self._model(block, given, moments)
        shape = KINDS[self.covariance_type].shape(self.n_components, X.shape[1])
        gaussian.keep_freed_memory(shape)
        block = model.components.prepared(block)
        return model, block, lambda random_state: self._start(model, block, random_state)

    def _model(self, block, given, of_all=None):
        """Return the model, and set the priors, which are of the data where `given` has None."""
        kind, n_threads = self.covariance_type, self._n_threads(block.X)
        if given["mean_prior"] is None or given["covariance_prior"] is None:
            moments = _moments_of_all(kind, block, n_threads) if of_all is None else of_all
            if given["mean_prior"] is None:
                given["mean_prior"] = moments.mean[0].astype(block.X.dtype)
            if given["covariance_prior"] is None:
                total = block.total_weight if of_all is None else float(of_all.weight.sum())
                given["covariance_prior"] = _covariance(moments, total, block.X)
        self._set_fitted({f"{name}_": value for name, value in given.items()})
        prior = BayesianPrior(
            self.weight_concentration_prior_type == _PROCESS,
            float(self.weight_concentration_prior_),
            float(self.mean_precision_prior_),
            np.asarray(self.mean_prior_, dtype=np.float64),
            float(self.degrees_of_freedom_prior_),
            np.asarray(self.covariance_prior_, dtype=np.float64),
        )
        return BayesianEM(kind, self.reg_covar, prior, block.X.dtype, n_threads)

    def _start(self, model, block, random_state):
        """Return the posterior of the first responsibilities."""
        responsibilities = self._first_responsibilities(block, random_state)
        return model.posterior(
            moments_of(responsibilities, self.n_components, block, model.components)
        )

    def _given_priors(self, n_features):
        """Return the priors by name, validated; None for those that come from the data."""
        numbers = {
            "weight_concentration_prior": 1.0 / self.n_components,
            "mean_precision_prior": 1.0,
            "degrees_of_freedom_prior": n_features,
        }
        for name in numbers:
            given = getattr(self, name)
            numbers[name] = numbers[name] if given is None else given
        freedom = numbers["degrees_of_freedom_prior"]
        if not freedom > n_features - 1:
            raise ValueError(
                "The parameter 'degrees_of_freedom_prior' should be greater than "
                f"{n_features - 1}, but got {freedom:.3f}."
            )
        mean = self.mean_prior
        if mean is not None:
            mean = _check_array("mean_prior", mean, (n_features,), "means")
        return {**numbers, "mean_prior": mean, "covariance_prior": self._given_scale(n_features)}

    def _given_scale(self, n_features):
        """Return `covariance_prior`, validated."""
        given, kind = self.covariance_prior, KINDS[self.covariance_type]
        if given is None:
            return None
        shape = kind.one(n_features)
        if not shape:  # a list of one number has worked in scikit-learn
            given = np.ravel(given)
        given = _check_array(
            "covariance_prior", given, shape or (1,), f"{kind.name} covariance_prior"
        )
        kind.check_definite(given)
        return given if shape else float(given[0])

    def _attributes(self, params) -> dict[str, Any]:
        concentration, freedom = params.concentration, params.degrees_of_freedom
        return super()._attributes(params.gaussians(self.covariance_type)) | {
            "weight_concentration_": concentration if concentration.ndim == 1
            else tuple(concentration),
            "mean_precision_": params.mean_precision,
            "degrees_of_freedom_": float(freedom) if freedom.ndim == 0 else freedom,
        }  # fmt: skip

    def _check_attributes(self):
        super()._check_attributes()
        k, d = np.shape(self.means_)
        process = self.weight_concentration_prior_type == _PROCESS
        shapes = {
            "weight_concentration_": (2, k) if process else (k,),
            "mean_precision_": (k,),
            "degrees_of_freedom_": KINDS[self.covariance_type].lead(k),
        }
        for name, shape in shapes.items():
            lowest = check_fitted_array(self, name, shape).min()
            least = d - 1 if name == "degrees_of_freedom_" else 0
            if not lowest > least:
                raise ValueError(
                    f"{name} must be greater than {least}, got {lowest:.6g}: fit again, or set "
                    "the attribute"
                )

    def _params(self):
        densities = super()._densities()
        concentration, precision, freedom = (
            np.asarray(value, dtype=np.float64)
            for value in (
                self.weight_concentration_, self.mean_precision_, self.degrees_of_freedom_
            )
        )  # fmt: skip
        return BayesianParams(
            concentration, precision, densities.means, freedom, densities.covariances,
            densities.precisions_cholesky,
        )  # fmt: skip

    def _densities(self):
        return self._params().gaussians(self.covariance_type)

    def _mixture(self, params, names):
        return mixture_of(self, params, names)

    def _of_each_component(self):
        return (
            *super()._of_each_component(),
            "weight_concentration_",
            "mean_precision_",
            *([] if KINDS[self.covariance_type].shared else ["degrees_of_freedom_"]),
        )

    def reorder(self, order: str | npt.ArrayLike = "weight") -> Self:
        """Give the components other numbers: see :meth:`GaussianMixture.reorder`.

        A Dirichlet process, whose sticks are broken in the components' order, refuses.

        Parameters
        ----------
        order : 'weight' or array-like of shape (n_components,), default='weight'
            The components' present numbers in their new order; 'weight': by falling weight.

        Returns
        -------
        self : object
            The mixture itself.

        Raises
        ------
        ValueError
            Unless `order` has every component once, and for a Dirichlet process.
        """
        if self.weight_concentration_prior_type == _PROCESS:
            raise ValueError(
                "reorder needs weight_concentration_prior_type='dirichlet_distribution': the order "
                "of the components is part of a Dirichlet process"
            )
        return super().reorder(order)

    # ---- what scikit-learn's own tests reach for -------------------------------------------

    def _check_parameters(self, X):
        """Set the priors."""
        self._model(gaussian.GaussianBlock.of(X, None), self._given_priors(X.shape[1]))

    def _initialize_parameters(self, X, random_state):
        """Set the posterior of the first responsibilities."""
        block = gaussian.GaussianBlock.of(X, None)
        model = self._model(block, self._given_priors(X.shape[1]))
        self._set_fitted(self._attributes(self._start(model, block, random_state)))


def _check_array(name, value, shape, words):
    """Return a given prior as it is, float32 or float64, or say what is wrong with it."""
    if np.ndim(value):
        value = check_array(
            value, dtype=[np.float64, np.float32], ensure_2d=False, allow_nd=True, input_name=name
        )
    if np.shape(value) != shape:
        raise ValueError(
            f"The parameter '{words}' should have the shape of {shape}, but got {np.shape(value)}"
        )
    return value


def _moments_of_all(kind, block, n_threads):
    """Return the moments of all samples of a block together."""
    everyone = Labels(np.broadcast_to(0, len(block.X)))
    one = gaussian.GaussianEM(kind, 0.0, block.X.dtype, n_threads)
    return moments_of(everyone, 1, block, one)


def _covariance(moments, total_weight, X):
    """Return the covariance of the samples, their variances, or the mean variance, by kind.

    Divided by the total weight less 1, as if a weight were a count.
    """
    degrees = total_weight - 1
    if not degrees > 0:
        raise ValueError(
            f"sample_weight must sum to more than 1 for a covariance of X, got "
            f"{total_weight:.6g}: weights are counts of samples; scale them, or give "
            "covariance_prior"
        )
    kind = KINDS[moments.kind]
    covariance = kind.of_component(moments.scatter, 0) / degrees / kind.width(X.shape[1])
    if covariance.ndim == 0:
        return float(covariance)
    if covariance.ndim == 1 and gaussian.fits(covariance, X.dtype):  # scikit-learn's type
        return covariance.astype(X.dtype)
    return covariance
