"""What the contract tests ask of a case."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fastem import em


@dataclass(frozen=True)
class Case(ABC):
    """A model with data, a start and an oracle."""

    dtype: type

    #: The most rows that the kernel takes as one piece, and rows enough for 32 strips of them.
    chunk_rows: ClassVar[int] = 2048
    many_rows: ClassVar[int] = 66_667
    #: Whether the model has a scale and an origin: `moved` and `move_sums` are then there.
    equivariant: ClassVar[bool] = False

    @property
    def tolerance(self):
        """Relative error of a sum, some hundred times what rounding makes."""
        return 1e-12 if self.dtype == np.float64 else 2e-5

    @property
    def fitted_dtype(self):
        """Dtype of fitted arrays of reals."""
        return self.dtype

    @abstractmethod
    def data(self, n_samples=None, seed=0) -> np.ndarray:
        """Return X, of the case's dtype; of its own number of rows if that is not given."""

    @abstractmethod
    def start(self, X) -> Any:
        """Return parameters, not yet converged."""

    @abstractmethod
    def model(self, reg_covar=0.0, n_threads=1) -> Any:
        """Return fastem's model: e_step and m_step."""

    @abstractmethod
    def block(self, X, sample_weight=None) -> Any:
        """Return what e_step takes."""

    @abstractmethod
    def sums(self, statistics) -> dict[str, np.ndarray]:
        """Return fastem's statistics as plain sums by name, comparable with `expected`."""

    @abstractmethod
    def expected(self, X, params, sample_weight=None) -> dict[str, np.ndarray]:
        """Return the oracle's sums."""

    @abstractmethod
    def estimator(self, X, **parameters) -> Any:
        """Return the public estimator that starts from `start(X)` and takes three iterations."""

    def first_state(self, model, params, block) -> Any:
        """Return the state of a block's rows before their first E-step; None of a model without."""
        return model.first_state(params, block) if isinstance(model, em.RowState) else None

    def statistics(self, model, params, block) -> em.Statistics:
        """Return the statistics of a block's first E-step."""
        return call_e_step(model, params, block, self.first_state(model, params, block))[0]

    def e_step(self, X, params, sample_weight=None, n_threads=1):
        """Return the sums of one E-step of fastem."""
        model = self.model(n_threads=n_threads)
        return self.sums(self.statistics(model, params, self.block(X, sample_weight)))


def call_e_step(model, params, block, state):
    """Return the statistics and the rows' next state, which is None of a model without."""
    if isinstance(model, em.RowState):
        return model.e_step(params, block, state)
    return model.e_step(params, block), None
