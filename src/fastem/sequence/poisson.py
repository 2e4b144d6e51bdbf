"""Hidden Markov models whose states emit counts."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from fastem._engine.random_states import lent_random_state
from fastem._typing import RandomStateLike
from fastem.components import discrete
from fastem.sequence.discrete import NUMBERS, DiscreteHMM, refuse_but_counts
from fastem.sequence.documented import documented
from fastem.sequence.errors import PoissonHMMErrors
from fastem.sequence.hmm import HMM
from fastem.sequence.reading import broadcast_prior
from fastem.sequence.start import counted
from fastem.sequence.streaming import StreamingHMM

__all__ = ["PoissonHMM"]


@documented
class PoissonHMM(DiscreteHMM[PoissonHMMErrors]):
    r"""Hidden Markov model whose states emit counts.

    A state :math:`k` emits counts :math:`x_j` with independent Poisson distributions of rates
    :math:`\lambda_{kj}`. Parameters, attributes and results are those of hmmlearn's class; what
    follows `implementation` is an addition.

    Parameters
    ----------
    n_components : int, default=1
        Number of states.
    {chain_priors}
    lambdas_prior, lambdas_weight : float or array-like, default=0.0
        Pseudo-counts, and how many rows they were counted in, of every rate: a gamma prior; of
        shape (n_components, n_features), or one number.
    {course}

    Attributes
    ----------
    {chain}
    lambdas_ : ndarray of shape (n_components, n_features)
        Rates: the mean counts of each state.
    {fitted}

    See Also
    --------
    MultinomialHMM : Counts given their total.
    fastem.PoissonMixture : Rows that do not depend on those before them.

    Notes
    -----
    Unlike hmmlearn, a prior is weighed against the rows of its state, not against all. A state
    whose counts are all 0 has rate 0 and stays finite.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import PoissonHMM
    >>> quakes = np.array([13, 14, 8, 10, 16, 26, 32, 27, 18, 32, 36, 24])[:, None]
    >>> model = PoissonHMM(2, n_iter=50, random_state=0).fit(quakes)
    >>> np.sort(model.lambdas_.ravel()).round(1)
    array([12.1, 27.7])
    """

    lambdas_prior: npt.ArrayLike
    lambdas_weight: npt.ArrayLike
    lambdas_: np.ndarray

    _values_name: ClassVar[str] = "lambdas_"
    _letters: ClassVar[dict] = {"l": "lambdas_"}

    _parameter_constraints: ClassVar[dict] = {
        **HMM._parameter_constraints,
        **StreamingHMM._step_constraints,
        "lambdas_prior": NUMBERS,
        "lambdas_weight": NUMBERS,
    }

    def __init__(
        self,
        n_components: int = 1,
        startprob_prior: npt.ArrayLike = 1.0,
        transmat_prior: npt.ArrayLike = 1.0,
        lambdas_prior: npt.ArrayLike = 0.0,
        lambdas_weight: npt.ArrayLike = 0.0,
        algorithm: str = "viterbi",
        random_state: RandomStateLike = None,
        n_iter: int = 10,
        tol: float = 1e-2,
        verbose: int = False,
        params: str = "stl",
        init_params: str = "stl",
        implementation: str = "log",
        *,
        n_init: int = 1,
        topology: npt.ArrayLike | None = None,
        transmat_fixed: npt.ArrayLike | None = None,
        n_jobs: int | None = None,
        learning_decay: float = 0.7,
        learning_offset: float = 10.0,
        fit_algorithm: str = "em",
    ) -> None:
        self._keep(locals())

    def _check_rows(self, X, fresh):
        refuse_but_counts(X, "counts 0, 1, 2, ... or NaN", remedy=": see GaussianHMM for others")

    def _check_values(self, values, n_features):
        return self._check_range(values, n_features, np.inf)

    def _start_emission(self, X, weight, seed, init):
        shape = self.n_components, X.shape[1]
        X, _ = counted(X, weight)
        known = X[~np.isnan(X)] if X.dtype.kind == "f" else X
        mean, variance = (known.mean(), known.var()) if known.size else (0.0, 0.0)
        if not (mean > 0 and variance > 0):  # hmmlearn's draw is not defined
            return {"lambdas_": np.full(shape, mean)}
        with lent_random_state(seed) as random_state:
            rates = random_state.gamma(shape=mean**2 / variance, scale=variance / mean, size=shape)
        return {"lambdas_": rates}

    def _distributions(self, values):
        prior = tuple(
            broadcast_prior(name, getattr(self, name), values.shape)
            for name in ("lambdas_prior", "lambdas_weight")
        )
        return discrete.Poisson(values.shape[1], prior), values

    def _drawer(self, values):
        return lambda state, rng: rng.poisson(values["lambdas_"][state])
