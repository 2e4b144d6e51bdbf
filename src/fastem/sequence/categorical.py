"""Hidden Markov models whose states emit symbols."""

from __future__ import annotations

from numbers import Integral
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastem._compat import Interval
from fastem._typing import RandomStateLike
from fastem.components import discrete
from fastem.sequence.decoding import draw_index
from fastem.sequence.discrete import NUMBERS, DiscreteHMM, refuse_but_counts
from fastem.sequence.documented import documented
from fastem.sequence.errors import DiscreteHMMErrors
from fastem.sequence.hmm import HMM
from fastem.sequence.reading import broadcast_prior, check_distribution
from fastem.sequence.start import random_rows
from fastem.sequence.streaming import StreamingHMM

__all__ = ["CategoricalHMM"]

_MOST_SYMBOLS = 1 << 24


@documented
class CategoricalHMM(DiscreteHMM[DiscreteHMMErrors]):
    r"""Hidden Markov model whose states emit symbols.

    A state :math:`k` emits symbol :math:`v` with probability :math:`b_k(v)` (Rabiner 1989, *A
    tutorial on hidden Markov models*, Proceedings of the IEEE 77:257). X is one column of symbols
    0, 1, ..., n_features - 1. Parameters, attributes and results are those of hmmlearn's class;
    what follows `implementation` is an addition.

    Parameters
    ----------
    n_components : int, default=1
        Number of states.
    {chain_priors}
    emissionprob_prior : float or array-like of shape (n_components, n_features), default=1.0
        Parameters of the Dirichlet priors of the rows of `emissionprob_`: pseudo-counts plus 1.
    n_features : int, default=None
        Number of symbols; None: that of `emissionprob_`, or one more than the largest in `fit`.
    {course}

    Attributes
    ----------
    {chain}
    emissionprob_ : ndarray of shape (n_components, n_features)
        Probability of each symbol in each state.
    {fitted}

    See Also
    --------
    MultinomialHMM : Counts of several symbols in each row.
    fastem.CategoricalMixture : Rows that do not depend on those before them.

    Notes
    -----
    NaN is a symbol that is missing. A symbol that did not occur in `fit` has probability 0 without
    a prior, and a sequence that has it a log-likelihood of -inf.

    Examples
    --------
    >>> import numpy as np
    >>> from fastem import CategoricalHMM
    >>> model = CategoricalHMM(2)  # rain or sun; walk, shop or clean
    >>> model.startprob_ = [0.6, 0.4]
    >>> model.transmat_ = [[0.7, 0.3], [0.4, 0.6]]
    >>> model.emissionprob_ = [[0.1, 0.4, 0.5], [0.6, 0.3, 0.1]]
    >>> log_prob, states = model.decode([[0], [1], [2]])
    >>> states.tolist(), round(float(np.exp(log_prob)), 5)
    ([1, 0, 0], 0.01344)
    """

    emissionprob_prior: npt.ArrayLike
    emissionprob_: np.ndarray

    _parameter_constraints: ClassVar[dict] = {
        **HMM._parameter_constraints,
        **StreamingHMM._step_constraints,
        "emissionprob_prior": NUMBERS,
        "n_features": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(
        self,
        n_components: int = 1,
        startprob_prior: npt.ArrayLike = 1.0,
        transmat_prior: npt.ArrayLike = 1.0,
        *,
        emissionprob_prior: npt.ArrayLike = 1.0,
        n_features: int | None = None,
        algorithm: str = "viterbi",
        random_state: RandomStateLike = None,
        n_iter: int = 10,
        tol: float = 1e-2,
        verbose: int = False,
        params: str = "ste",
        init_params: str = "ste",
        implementation: str = "log",
        n_init: int = 1,
        topology: npt.ArrayLike | None = None,
        transmat_fixed: npt.ArrayLike | None = None,
        n_jobs: int | None = None,
        learning_decay: float = 0.7,
        learning_offset: float = 10.0,
        fit_algorithm: str = "em",
    ) -> None:
        self._keep(locals())

    def _known_features(self):
        given = vars(self)["n_features"]
        if given is None and self._is_set("emissionprob_"):
            return np.shape(self.emissionprob_)[-1]
        return given

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters.

        Parameters
        ----------
        deep : bool, default=True
            Ignored: no parameter is an estimator.

        Returns
        -------
        params : dict
            The parameters by name; `n_features` as it was given.
        """
        return super().get_params(deep) | {"n_features": vars(self)["n_features"]}

    def _check_fit(self, X, row_weight):
        """Symbols may all be missing: of the number that was given each is then as likely."""

    def _check_rows(self, X, fresh):
        if X.shape[1] != 1:
            raise ValueError(
                f"X must be one column of symbols, got {X.shape[1]}: pass X.reshape(-1, 1) if they "
                "are one sequence, or see MultinomialHMM for counts of symbols"
            )
        known = vars(self)["n_features"] if fresh else self.n_features
        most = _MOST_SYMBOLS if known is None else known
        remedy = ": number them from 0, for example with LabelEncoder"
        symbols = "symbols 0, 1, 2, ..."
        if known is not None:
            symbols = f"symbols 0 to {most - 1}"
            remedy += f", or pass an n_features larger than {known}"
        refuse_but_counts(X, symbols, most - 1, remedy)

    def _check_values(self, values, n_features):
        given = np.array(values["emissionprob_"], dtype=np.float64)
        width = vars(self)["n_features"] or (given.shape[1] if given.ndim == 2 else "n_features")
        own = check_distribution("emissionprob_", given, (self.n_components, width))
        return {"emissionprob_": own}

    def _start_emission(self, X, weight, seed, init):
        n_symbols = vars(self)["n_features"]
        if n_symbols is None:
            n_symbols = int(np.nanmax(X, initial=0)) + 1
        return {"emissionprob_": random_rows(seed, (self.n_components, n_symbols))}

    def _distributions(self, values):
        prior = broadcast_prior("emissionprob_prior", self.emissionprob_prior, values.shape)
        return discrete.Categorical([values.shape[1]], prior - 1), values[:, None]

    def _n_emission_parameters(self, n_features):
        n_symbols = self.n_features
        return {"e": 0 if n_symbols is None else self.n_components * (n_symbols - 1)}

    def _drawer(self, values):
        steps = values["emissionprob_"].cumsum(axis=1)
        return lambda state, rng: [draw_index(steps[state], rng)]
