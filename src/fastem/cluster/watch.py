"""What watches a fit of k-means: it keeps the best start, and prints."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastem import em
from fastem.cluster.lloyd import shift

__all__ = ["Printer", "Restarts"]


class Restarts(em.Callback):
    """Reads off the labels and the inertia of each start, and keeps the best by these.

    The driver compares what the last E-steps saw, before the last M-step.
    """

    def __init__(self, estimator, block, model, mean):
        self.block, self.model, self.mean = block, model, mean
        self.best: Any = None
        self.attributes: dict[str, Any] = {}
        self.params = None  # of which `attributes` are

    def on_init_end(self, init, result):
        """Compare this start with the best."""
        # Where no label changed, the last E-step's labels are those of the last centers.
        settled = result.params.n_changed == 0
        attributes = self._read(result.params, result.states[0].labels if settled else None)
        result = result._replace(states=[])  # with bounds they take memory
        if self.best is None or (
            attributes["inertia_"] < self.attributes["inertia_"]
            and not _same_clusters(attributes["labels_"], self.attributes["labels_"])
        ):
            self.best, self.attributes, self.params = result, attributes, result.params

    def get_state(self):
        return [self.best, self.attributes, self.params]

    def set_state(self, state):
        self.best, self.attributes, self.params = state

    def read(self, params):
        """Return the fitted attributes of some parameters."""
        return self.attributes if params is self.params else self._read(params)

    def _read(self, params, labels=None):
        """Return them; the labels are searched for unless they are known."""
        block, n_threads, centers = self.block, self.model.n_threads, params.centers
        labels = block.labels(centers, n_threads) if labels is None else labels
        return {
            "cluster_centers_": centers + self.mean,
            "labels_": labels,
            "inertia_": block.inertia(centers, labels, n_threads),
        }


def _same_clusters(labels, others):
    """Return whether two labellings differ in the names of the clusters alone."""
    name = np.zeros(labels.max() + 1, dtype=others.dtype)
    name[labels] = others
    return np.array_equal(name[labels], others)


class Printer(em.Callback):
    """Prints progress in scikit-learn's words, which people's log parsers know."""

    def __init__(self, total_weight, model):
        self.total_weight, self.model = total_weight, model

    def on_init_begin(self, init):
        """Say that the first centers are there."""
        print("Initialization complete")
        self.params = None

    def get_state(self):
        return self.params

    def set_state(self, state):
        self.params = state

    def on_iteration_end(self, state):
        """Print the inertia, and why the fit stops."""
        number = state.iteration - 1
        print(f"Iteration {number}, inertia {-state.lower_bound * self.total_weight}.")
        before, self.params = self.params, state.params
        if state.params.n_changed == 0:
            print(f"Converged at iteration {number}: strict convergence.")
        elif before is not None and self.model.converged(before, state.params):
            print(
                f"Converged at iteration {number}: center shift {shift(before, state.params)} "
                f"within tolerance {self.model.tol}."
            )
