"""Hidden Markov models whose states emit rows of a mixture of Gaussians."""

from __future__ import annotations

from numbers import Integral, Real
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from fastem._compat import Interval, StrOptions
from fastem._engine.random_states import lent_random_state
from fastem._engine.statistics import Statistics
from fastem._typing import RandomStateLike
from fastem.components.covariances import KINDS
from fastem.components.prior import ConjugatePrior, GaussianPrior
from fastem.sequence.conjugate import WithPrior
from fastem.sequence.covariances import (
    check_covars,
    limits_of,
    normal_drawer,
    spread_covariance,
)
from fastem.sequence.documented import documented
from fastem.sequence.errors import MixtureHMMErrors, of_mixtures
from fastem.sequence.features import WithFeatures
from fastem.sequence.gaussian import check_means, check_reals
from fastem.sequence.hmm import HMM
from fastem.sequence.mixture_emissions import MixtureEmissions
from fastem.sequence.reading import as_numbers, broadcast_prior, check_distribution
from fastem.sequence.start import centers_of, counted, covariance_of, filled
from fastem.sequence.streaming import StreamingHMM

__all__ = ["GMMHMM"]

_NUMBER = [Interval(Real, 0, None, closed="left"), "array-like"]


@documented
class GMMHMM(WithPrior, WithFeatures, StreamingHMM, HMM[MixtureHMMErrors]):
    r"""Hidden Markov model with a mixture of Gaussians for each state.

    A state :math:`k` emits a row of density :math:`\sum_m w_{km} \mathcal{N}(x \mid \mu_{km},
    \Sigma_{km})` (Rabiner 1989, *A tutorial on hidden Markov models*, Proceedings of the IEEE
    77:257, equations 49-54). Parameters, attributes and results are those of hmmlearn's class; what
    follows `implementation` is an addition.

    Parameters
    ----------
    n_components : int, default=1
        Number of states.
    n_mix : int, default=1
        Number of Gaussians of each state.
    min_covar : float, default=1e-3
        Added to the variances of the start, and the least variance that a Gaussian may have: in
        squared units of X or, where a feature's variance over all rows is less than 1, as a part of
        that.
    {chain_priors}
    weights_prior : float or array-like of shape (n_components, n_mix), default=1.0
        Parameters of the Dirichlet priors of `weights_`: pseudo-counts plus 1.
    means_prior : float or array-like of shape (n_components, n_mix, n_features), default=0.0
        Means of the normal priors of `means_`.
    means_weight : float or array-like of shape (n_components, n_mix), default=0.0
        How many rows at `means_prior` each Gaussian has beside its own.
    covars_prior, covars_weight : float or array-like, default=None
        For 'diag' and 'spherical' shape alpha and scale beta of inverse gamma priors of the
        variances; for 'full' and 'tied' scale matrix and degrees of freedom of inverse Wishart
        priors. None: no prior, maximum likelihood.
    {course}
    covariance_type : {'diag', 'full', 'tied', 'spherical'}, default='diag'
        Each Gaussian has its own diagonal covariance matrix; its own full one; those of a state
        share a full one; each has its own single variance.
    prior : 'conjugate', ConjugatePrior or None, default=None
        The prior of the Gaussians and of their weights as :class:`fastem.GaussianMixture` has it,
        in place of `weights_prior`, `means_prior`, `means_weight`, `covars_prior` and
        `covars_weight`, which must be at their defaults then, and of the floor of `min_covar`.
        'conjugate' is a :class:`fastem.ConjugatePrior` of default values, which come from the data.

    Attributes
    ----------
    {chain}
    weights_ : ndarray of shape (n_components, n_mix)
        Weights of the Gaussians of each state; rows sum to 1.
    means_ : ndarray of shape (n_components, n_mix, n_features)
        Their means.
    covars_ : ndarray
        Their covariances, of shape (n_components, n_mix, n_features) for 'diag', (n_components,
        n_mix, n_features, n_features) for 'full', (n_components, n_features, n_features) for
        'tied', (n_components, n_mix) for 'spherical'.
    {fitted}

    See Also
    --------
    GaussianHMM : One Gaussian for each state; begin with that.

    Notes
    -----
    An iteration fits the covariances about the means that it found, and then the means, as
    hmmlearn does: the bound rises all the same. Unlike hmmlearn, what `means_weight` adds to the
    covariances is about those means, too; 'spherical' without a prior is maximum likelihood
    whatever the number of features; and `aic` and `bic` count the weights of every state.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import GMMHMM
    >>> X = np.array([0.0, 9.1, 0.2, 8.9, 4.0, 4.1, 3.9, 4.2, 9.0, 0.1, 9.2, 0.0])[:, None]
    >>> model = GMMHMM(2, n_mix=2, n_iter=50, random_state=1).fit(X)
    >>> model.weights_.sum(axis=1)
    array([1., 1.])
    """

    n_mix: int
    covariance_type: str
    min_covar: float
    weights_prior: npt.ArrayLike
    means_prior: npt.ArrayLike
    means_weight: npt.ArrayLike
    covars_prior: npt.ArrayLike | None
    covars_weight: npt.ArrayLike | None
    weights_: np.ndarray
    means_: np.ndarray
    covars_: np.ndarray

    _values_name: ClassVar[str] = "means_"
    _letters: ClassVar[dict] = {"w": "weights_", "m": "means_", "c": "covars_"}

    _parameter_constraints: ClassVar[dict] = {
        **HMM._parameter_constraints,
        **StreamingHMM._step_constraints,
        "n_mix": [Interval(Integral, 1, None, closed="left")],
        "covariance_type": [StrOptions(set(KINDS))],
        "min_covar": [Interval(Real, 0, None, closed="left")],
        "weights_prior": _NUMBER,
        "means_prior": [Real, "array-like"],
        "means_weight": _NUMBER,
        "covars_prior": [Real, "array-like", None],
        "covars_weight": [Real, "array-like", None],
        **WithPrior._prior_constraint,
    }

    def __init__(
        self,
        n_components: int = 1,
        n_mix: int = 1,
        min_covar: float = 1e-3,
        startprob_prior: npt.ArrayLike = 1.0,
        transmat_prior: npt.ArrayLike = 1.0,
        weights_prior: npt.ArrayLike = 1.0,
        means_prior: npt.ArrayLike = 0.0,
        means_weight: npt.ArrayLike = 0.0,
        covars_prior: npt.ArrayLike | None = None,
        covars_weight: npt.ArrayLike | None = None,
        algorithm: str = "viterbi",
        covariance_type: str = "diag",
        random_state: RandomStateLike = None,
        n_iter: int = 10,
        tol: float = 1e-2,
        verbose: bool = False,
        params: str = "stmcw",
        init_params: str = "stmcw",
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

    def _check_rows(self, X, fresh):
        check_reals(X)

    def _check_values(self, values, n_features):
        k, m, kind = self.n_components, self.n_mix, self.covariance_type
        means = check_means(values["means_"], n_features, (k, m))
        d = means.shape[-1]
        covars = check_covars(values["covars_"], kind, self._lead() + KINDS[kind].one(d))
        weights = check_distribution("weights_", values["weights_"], (k, m))
        return {"weights_": weights, "means_": means, "covars_": covars}

    def _lead(self):
        """Return the axes that number covariances."""
        k, m = self.n_components, self.n_mix
        return (k,) if KINDS[self.covariance_type].shared else (k, m)

    def _start_emission(self, X, weight, seed, init):
        k, m = self.n_components, self.n_mix
        X, weight = counted(X, weight)
        X, n_init = filled(X), 10 if init == 0 else 1
        covariance = covariance_of(X, self.min_covar, weight)
        centers, labels = centers_of(X, k, seed, weight, n_init, self.n_jobs)
        means, few = np.empty((k, m, X.shape[1])), []
        for state in range(k):
            rows = labels == state
            if rows.sum() >= m:
                own = None if weight is None else weight[rows]
                means[state] = centers_of(X[rows], m, seed, own, n_init, self.n_jobs)[0]
            else:  # too few for as many clusters
                few.append(state)
        if few:  # of one draw: a seed would give each state the same means
            with lent_random_state(seed) as random_state:
                means[few] = random_state.multivariate_normal(
                    centers.mean(axis=0), covariance, size=(len(few), m)
                )
        covars = spread_covariance(covariance, self.covariance_type, self._lead())
        return {"weights_": np.full((k, m), 1 / m), "means_": means, "covars_": covars}

    def _family(self, values, learn, n_threads, X, weight=None):
        kind, (k, m, d) = self.covariance_type, values["means_"].shape
        settings = {}
        if learn is not None:
            if self.prior is None:
                prior, floor, weights_prior = self._prior(d), self.min_covar, self._weights_prior()
            else:
                (prior, counts), floor = self._conjugate(X, weight, m), 0
                weights_prior = np.tile(counts + 1, (k, 1))
            least, most = limits_of(X, floor, values["covars_"], kind, prior)
            settings = {
                "prior": prior,
                "weights_prior": weights_prior,
                "min_covar": least,
                "most": most,
            }
        names = {"w": "weights", "m": "means", "c": "covars"}
        family = MixtureEmissions(
            kind,
            m,
            learn=frozenset(names[letter] for letter in learn or ()),
            n_threads=n_threads,
            **settings,
        )
        params = family.params(values["weights_"], values["means_"], values["covars_"])
        family.held = params
        return family, params

    def _weights_prior(self):
        """Return the Dirichlet parameters of the states' weights, (K, M)."""
        k, m = self.n_components, self.n_mix
        given = as_numbers("weights_prior", self.weights_prior)
        given = np.tile(given, (k, 1)) if given.shape == (m,) else given
        return broadcast_prior("weights_prior", given, (k, m))

    def _prior(self, d):
        """Return the prior of all Gaussians, state after state, in the family's terms."""
        k, m, kind, shape = self.n_components, self.n_mix, KINDS[self.covariance_type], self._lead()
        least = -np.inf
        prior, weight = self.covars_prior, self.covars_weight
        if not kind.dense:
            width = kind.width(d)
            none = -(width + 2) / 2
            alpha, beta = none if prior is None else prior, 0.0 if weight is None else weight
            count = 1 + 2 * (_per_gaussian("covars_prior", alpha, shape) + 1) / width
            scale = 2 * broadcast_prior("covars_weight", beta, shape + kind.one(d))
        else:
            offset = d + 1 + (m if kind.shared else 1)
            nu = -float(offset) if weight is None else weight
            count = offset + broadcast_prior("covars_weight", nu, shape, least=least)
            scale = broadcast_prior(
                "covars_prior", 0.0 if prior is None else prior, (*shape, d, d), least=least
            )
        if np.any(count < -1e-9):
            raise ValueError(
                "covars_prior or covars_weight make the prior of the covariances take away rows "
                f"({count.min():.6g} of them): make it larger, or leave it at None"
            )
        mean = broadcast_prior("means_prior", self.means_prior, (k, m, d), least=least)
        strength = broadcast_prior("means_weight", self.means_weight, (k, m))
        scale = scale if kind.shared else scale.reshape(-1, *kind.one(d))
        return GaussianPrior(
            mean.reshape(-1, d), strength.reshape(-1), scale, np.maximum(count, 0).reshape(-1)
        )

    def _values(self, emission):
        family = MixtureEmissions(self.covariance_type, self.n_mix)
        return {
            "weights_": emission.weights,
            "means_": emission.gaussians.means.reshape(*emission.weights.shape, -1),
            "covars_": family.covariances(emission),
        }

    def _drawer(self, values):
        k, m, d = values["means_"].shape
        kind, covars = KINDS[self.covariance_type], values["covars_"]
        if kind.shared:
            kind, covars = KINDS[kind.inner], np.repeat(covars, m, axis=0)
        covars = kind.matrices(covars.reshape(kind.shape(k * m, d)), k * m, d)
        draw, weights = normal_drawer(values["means_"].reshape(-1, d), covars), values["weights_"]
        return lambda state, rng: draw(state * m + rng.choice(m, p=weights[state]), rng)

    def _emission(self, params):
        return of_mixtures(params.emission, self.covariance_type)

    def _streamed(self, statistics):
        # Covariances about the means of the E-step are for one E-step: a stream's are about the
        # new means, from which nothing has moved.
        return Statistics(**{**vars(statistics), "moved": 0.0 * statistics.moved})

    def _expectation(self, values):
        return np.einsum("km,kmd->kd", values["weights_"], values["means_"])

    def _n_emission_parameters(self, n_features):
        k, m, lead = self.n_components, self.n_mix, self._lead()
        d = self.n_features if n_features is None else n_features
        covars = np.prod(lead) * KINDS[self.covariance_type].n_parameters(1, d)
        return {"w": k * (m - 1), "m": k * m * d, "c": int(covars)}


def _per_gaussian(name, value, shape):
    """Return a prior's parameter, one number for each Gaussian; it may come for each feature."""
    array = as_numbers(name, value)
    if array.ndim == len(shape) + 1 and np.all(array == array[..., :1]):
        array = array[..., 0]
    return broadcast_prior(name, array, shape, least=-np.inf)
