"""Hidden Markov models whose states emit Gaussian rows."""

from __future__ import annotations

from numbers import Real
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from fastem._compat import Interval, StrOptions
from fastem._typing import RandomStateLike
from fastem.components import gaussian
from fastem.components.covariances import KINDS
from fastem.components.gaussian_data import check_squares, parts
from fastem.components.prior import ConjugatePrior, GaussianPrior
from fastem.sequence.conjugate import WithPrior
from fastem.sequence.covariances import (
    check_covars,
    compact_covars,
    limits_of,
    normal_drawer,
    spread_covariance,
)
from fastem.sequence.documented import documented
from fastem.sequence.emissions import (
    GaussianEmissions,
    gaussian_params,
)
from fastem.sequence.errors import HMMErrors, of_gaussians
from fastem.sequence.features import WithFeatures
from fastem.sequence.hmm import HMM
from fastem.sequence.reading import as_numbers, broadcast_prior
from fastem.sequence.start import centers_of, counted, covariance_of, filled
from fastem.sequence.streaming import StreamingHMM

__all__ = ["GaussianHMM", "check_means", "check_reals"]

_NUMBER = [Interval(Real, 0, None, closed="left"), "array-like"]


def check_reals(X):
    """Raise ValueError where squares overflow."""
    with np.errstate(over="ignore", invalid="ignore"):
        missing = np.isnan(np.add.reduce(X, axis=None))  # without an array of flags
    for some in parts(*X.shape) if missing else [slice(None)]:  # what is missing costs a copy
        check_squares(X[some], "X")


def check_means(means, n_features, shape):
    """Return means of a shape that ends in the number of features, as float64."""
    means = as_numbers("means_", means)
    if means.ndim != len(shape) + 1 or means.shape[:-1] != shape or means.shape[-1] == 0:
        expected = ", ".join(map(str, (*shape, n_features or "n_features")))
        raise ValueError(f"means_ must have shape ({expected}), got {means.shape}")
    if n_features is not None and means.shape[-1] != n_features:
        raise ValueError(
            f"X has {n_features} features, but means_ has {means.shape[-1]}: give X the features "
            "that the model has, or let the means be drawn again ('m' in init_params)"
        )
    if not np.all(np.isfinite(means)):
        raise ValueError("means_ must be finite, got NaN or infinity")
    return means


@documented
class GaussianHMM(WithPrior, WithFeatures, StreamingHMM, HMM[HMMErrors]):
    r"""Hidden Markov model with a Gaussian for each state.

    A chain of states :math:`z_1, z_2, \ldots` begins with probabilities :math:`\pi` and goes on
    with those of a matrix :math:`A`; a state :math:`k` emits a row :math:`x_t \sim
    \mathcal{N}(\mu_k, \Sigma_k)`. The E-step is the forward-backward algorithm, the M-step
    averages (Rabiner 1989, *A tutorial on hidden Markov models*, Proceedings of the IEEE 77:257;
    Bishop 2006, *Pattern Recognition and Machine Learning*, section 13.2). Parameters, attributes
    and results are those of hmmlearn's class; what follows `implementation` is an addition.

    Parameters
    ----------
    n_components : int, default=1
        Number of states.
    covariance_type : {'diag', 'full', 'tied', 'spherical'}, default='diag'
        Each state has its own diagonal covariance matrix; its own full one; all share a full one;
        each has its own single variance.
    min_covar : float, default=1e-3
        Added to the variances of the start, and the least variance that a state may have: in
        squared units of X or, where a feature's variance over all rows is less than 1, as a part of
        that. 0 leaves a state that shrinks to a point an error.
    {chain_priors}
    means_prior : float or array-like of shape (n_components, n_features), default=0
        Means of the normal priors of `means_`.
    means_weight : float or array-like of shape (n_components,), default=0
        How many rows at `means_prior` each state has beside its own.
    covars_prior : float or array-like, default=1e-2
        What is added to each state's sum of squares about its mean: of the shape of `covars_`, or
        one number for all entries of the matrices, as in hmmlearn.
    covars_weight : float or array-like of shape (n_components,), default=1
        What is added to the number of rows that the sum is divided by, plus 1, for 'full' and
        'tied' plus n_features: an inverse gamma or inverse Wishart prior.
    {course}
    prior : 'conjugate', ConjugatePrior or None, default=None
        The prior of the states' Gaussians as :class:`fastem.GaussianMixture` has it, in place of
        `means_prior`, `means_weight`, `covars_prior` and `covars_weight`, which must be at their
        defaults then, and of the floor of `min_covar`. 'conjugate' is a
        :class:`fastem.ConjugatePrior` of default values, which come from the data.

    Attributes
    ----------
    {chain}
    means_ : ndarray of shape (n_components, n_features)
        Means of the states.
    covars_ : ndarray of shape (n_components, n_features, n_features)
        Covariances of the states. To be set in the shape of `covariance_type`: (n_components,
        n_features) for 'diag', (n_components, n_features, n_features) for 'full', (n_features,
        n_features) for 'tied', (n_components,) for 'spherical'; or as it is read.
    {fitted}

    See Also
    --------
    GMMHMM : A mixture of Gaussians for each state.
    fastem.GaussianMixture : Rows that do not depend on those before them.

    Notes
    -----
    Unlike hmmlearn: a state that nobody visits keeps its mean and a finite covariance; no
    likelihood underflows, however many the features; variances are summed about the new means, so
    that data far from zero lose no digits; NaN is a value that is missing at random.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import GaussianHMM
    >>> X = np.array([0.1, -0.2, 0.0, 5.1, 4.9, 5.2, 0.2, -0.1])[:, None]
    >>> model = GaussianHMM(2, random_state=0).fit(X)
    >>> states = model.predict(X)
    >>> (states == states[0]).tolist()
    [True, True, True, False, False, False, True, True]
    >>> np.sort(model.means_.ravel()).round(2)
    array([0.  , 5.07])
    """

    covariance_type: str
    min_covar: float
    means_prior: npt.ArrayLike
    means_weight: npt.ArrayLike
    covars_prior: npt.ArrayLike
    covars_weight: npt.ArrayLike
    means_: np.ndarray

    _values_name: ClassVar[str] = "means_"
    _letters: ClassVar[dict] = {"m": "means_", "c": "_covars_"}

    _parameter_constraints: ClassVar[dict] = {
        **HMM._parameter_constraints,
        **StreamingHMM._step_constraints,
        "covariance_type": [StrOptions(set(KINDS))],
        "min_covar": [Interval(Real, 0, None, closed="left")],
        "means_prior": [Real, "array-like"],
        "means_weight": _NUMBER,
        "covars_prior": _NUMBER,
        "covars_weight": _NUMBER,
        **WithPrior._prior_constraint,
    }

    def __init__(
        self,
        n_components: int = 1,
        covariance_type: str = "diag",
        min_covar: float = 1e-3,
        startprob_prior: npt.ArrayLike = 1.0,
        transmat_prior: npt.ArrayLike = 1.0,
        means_prior: npt.ArrayLike = 0,
        means_weight: npt.ArrayLike = 0,
        covars_prior: npt.ArrayLike = 1e-2,
        covars_weight: npt.ArrayLike = 1,
        algorithm: str = "viterbi",
        random_state: RandomStateLike = None,
        n_iter: int = 10,
        tol: float = 1e-2,
        verbose: int = False,
        params: str = "stmc",
        init_params: str = "stmc",
        implementation: str = "log",
        *,
        n_init: int = 1,
        topology: npt.ArrayLike | None = None,
        transmat_fixed: npt.ArrayLike | None = None,
        n_jobs: int | None = None,
        learning_decay: float = 0.7,
        learning_offset: float = 10.0,
        prior: Literal["conjugate"] | ConjugatePrior | None = None,
        fit_algorithm: str = "em",
    ) -> None:
        self._keep(locals())

    @property
    def covars_(self) -> np.ndarray:
        """Covariances of the states, (n_components, n_features, n_features)."""
        if not hasattr(self, "_covars_"):
            raise AttributeError(f"this {type(self).__name__} has no covars_ before fit")
        covars = self._covars_
        n_features = covars.shape[-1] if covars.ndim > 1 else getattr(self, "n_features", 1)
        return KINDS[self.covariance_type].matrices(covars, self.n_components, n_features)

    @covars_.setter
    def covars_(self, covars: npt.ArrayLike) -> None:
        self._covars_ = compact_covars(covars, self.covariance_type, self.n_components)

    def _check_rows(self, X, fresh):
        check_reals(X)

    def _check_values(self, values, n_features):
        k, kind = self.n_components, self.covariance_type
        means = check_means(values["means_"], n_features, (k,))
        covars = check_covars(values["_covars_"], kind, KINDS[kind].shape(k, means.shape[1]))
        return {"means_": means, "_covars_": covars}

    def _start_emission(self, X, weight, seed, init):
        X, weight = counted(X, weight)
        X = filled(X)
        means, _ = centers_of(
            X, self.n_components, seed, weight, 10 if init == 0 else 1, self.n_jobs
        )
        covariance = covariance_of(X, self.min_covar, weight)
        lead = KINDS[self.covariance_type].lead(self.n_components)
        covars = spread_covariance(covariance, self.covariance_type, lead)
        return {"means_": means, "_covars_": covars}

    def _shared(self):
        return ("_covars_",) if KINDS[self.covariance_type].shared else ()

    def _family(self, values, learn, n_threads, X, weight=None):
        kind = self.covariance_type
        params = gaussian_params(values["means_"], values["_covars_"], kind)
        settings = {}
        if learn is not None:
            if self.prior is None:
                prior, floor = self._prior(params.means.shape[1]), self.min_covar
            else:
                (prior, counts), floor = self._conjugate(X, weight, self.n_components), 0
                if counts.any():
                    raise ValueError(
                        "prior.weight_concentration must be 1 here, for states have no weights: "
                        "startprob_prior and transmat_prior are the chain's"
                    )
            least, most = limits_of(X, floor, values["_covars_"], kind, prior)
            settings = {"prior": prior, "min_covar": least, "most": most}
        names = {"m": "means", "c": "covars"}
        family = GaussianEmissions(
            kind,
            learn=frozenset(names[letter] for letter in learn or ()),
            held=params,
            n_threads=n_threads,
            **settings,
        )
        return family, params

    def _prior(self, d):
        """Return the prior in the family's terms."""
        k, kind = self.n_components, KINDS[self.covariance_type]
        means = as_numbers("means_prior", self.means_prior)
        if not np.all(np.isfinite(means)) or means.shape not in ((), (d,), (k, 1), (k, d)):
            raise ValueError(
                f"means_prior must be finite and a number or of shape {(k, d)}, got shape "
                f"{means.shape}"
            )
        strength = broadcast_prior("means_weight", np.squeeze(self.means_weight), (k,))
        count = broadcast_prior("covars_weight", self.covars_weight, (k,))
        shape = kind.shape(k, d) if kind.dense else (k, d)
        scale = broadcast_prior("covars_prior", self.covars_prior, shape)
        if not kind.dense:
            scale = kind.pool(scale)
        count = np.maximum(count - (d if kind.dense else 1), 0)
        if kind.shared:
            count = count.max()
        return GaussianPrior(np.broadcast_to(means, (k, d)), strength, scale, count)

    def _values(self, emission):
        covars = gaussian.covariances_of(emission, self.covariance_type)
        return {"means_": emission.means, "_covars_": covars}

    def _drawer(self, values):
        k, d = values["means_"].shape
        covars = KINDS[self.covariance_type].matrices(values["_covars_"], k, d)
        return normal_drawer(values["means_"], covars)

    def _emission(self, params):
        return of_gaussians(params.emission, self.covariance_type)

    def _expectation(self, values):
        return values["means_"]

    def _n_emission_parameters(self, n_features):
        k, d = self.n_components, self.n_features if n_features is None else n_features
        return {"m": k * d, "c": KINDS[self.covariance_type].n_parameters(k, d)}
