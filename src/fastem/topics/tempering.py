"""Tempered EM by held-out annealing (Hofmann 2001, section 3.5): a callback that lowers beta."""

from __future__ import annotations

import numpy as np

from fastem import em
from fastem.topics.documents import with_counts

__all__ = ["Annealing", "hold_out"]

_COOLING = 0.9
_PATIENCE = 5  # lowerings without a new best score, before annealing ends


def hold_out(X, fraction, random_state):
    """Return the counts to fit and those held out: each entry of X goes to one of them."""
    held = random_state.uniform(size=X.nnz) < fraction
    kept, out = (with_counts(X, np.where(mask, X.data, 0)) for mask in (~held, held))
    for part in (kept, out):
        if part.nnz == 0:
            raise ValueError(
                f"validation_fraction={fraction} leaves no counts to fit or none to hold out, of "
                f"the {X.nnz} counts of X: choose another fraction, or a number as beta"
            )
    return kept, out


class Annealing(em.Callback):
    """Lowers a model's beta when held-out words become less probable; keeps the best topics.

    Parameters
    ----------
    model : object
        Its attribute `beta` is set.
    score : callable
        The mean log-likelihood per held-out token at some parameters and states of rows.

    Attributes
    ----------
    scores : list of float
        The score of every iteration of the best restart.
    best_params : object
        The parameters with the largest score, None before the first iteration.
    """

    def __init__(self, model, score):
        self.model, self.score = model, score
        self.best_score, self.best_params = -np.inf, None
        self.scores: list[float] = []

    def on_init_begin(self, init):
        self.model.beta = 1.0
        self.current: list[float] = []
        self.lowered = 0  # times since the last best score

    def get_state(self):
        best = self.best_score, self.best_params, self.scores
        return [self.model.beta, self.current, self.lowered, *best]

    def set_state(self, state):
        self.model.beta, self.current, self.lowered, *best = state
        self.best_score, self.best_params, self.scores = best

    def on_iteration_end(self, state):
        score = self.score(state.params, state.states)
        if not self.current or score > max(self.current):
            self.lowered = 0
        falls = bool(self.current) and score <= self.current[-1]
        self.current.append(score)
        if score > self.best_score:
            self.best_score, self.best_params, self.scores = score, state.params, self.current
        if falls and self.lowered == _PATIENCE:
            return True
        if falls:
            self.model.beta *= _COOLING
            self.lowered += 1
        return False
