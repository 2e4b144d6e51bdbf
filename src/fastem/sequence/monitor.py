"""What a fit of a hidden Markov model tells of its course."""

from __future__ import annotations

import math
import sys
from collections import deque
from copy import copy

from fastem import em

__all__ = ["ConvergenceMonitor", "Watcher"]


class ConvergenceMonitor:
    """The course of a fit: the log-likelihood of every iteration, and whether EM converged.

    A monitor of your own, a subclass or any object with ``report``, ``converged`` and ``history``,
    may be set as ``monitor_`` before `fit`, which then stops when it says so.

    Parameters
    ----------
    tol : float
        EM has converged when the log-likelihood rises by less than this.
    n_iter : int
        Largest number of iterations.
    verbose : bool
        Whether each iteration is printed to the standard error output.

    Attributes
    ----------
    history : deque of float
        Log-likelihood of all data at each iteration, without the priors.
    iter : int
        Number of iterations.
    """

    def __init__(self, tol: float, n_iter: int, verbose: bool) -> None:
        self.tol, self.n_iter, self.verbose = tol, n_iter, verbose
        self.history: deque[float] = deque()
        self.iter = 0

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(tol={self.tol!r}, n_iter={self.n_iter!r}, "
            f"verbose={self.verbose!r}, iter={self.iter}, history={list(self.history)})"
        )

    def told(self, history):
        """Return the monitor, which takes down the log-likelihoods of a fit that is over.

        Parameters
        ----------
        history : iterable of float
            Log-likelihood of each iteration.

        Returns
        -------
        self : object
            The monitor.
        """
        self.history.extend(history)
        self.iter = len(self.history)
        return self

    def _reset(self):
        self.history.clear()
        self.iter = 0

    def report(self, log_prob: float) -> None:
        """Take down the log-likelihood of an iteration; print it if `verbose`.

        Parameters
        ----------
        log_prob : float
            The log-likelihood.
        """
        if self.verbose:
            rise = log_prob - self.history[-1] if self.history else math.nan
            print(f"{self.iter + 1:>10d} {log_prob:>16.8f} {rise:>+16.8f}", file=sys.stderr)
        self.history.append(log_prob)
        self.iter += 1

    @property
    def converged(self) -> bool:
        """Whether the last iteration raised the log-likelihood by less than `tol`.

        That the iterations ran out is not convergence.
        """
        return len(self.history) > 1 and self.history[-1] - self.history[-2] < self.tol


class Watcher(em.Callback):
    """Reports the log-likelihood of each iteration to a monitor, which decides when to stop."""

    def __init__(self, monitor, model, total_weight):
        if not {"report", "converged", "history"} <= {*dir(monitor)}:
            raise TypeError(
                "monitor_ must be a ConvergenceMonitor, or have report(log_prob), converged and "
                f"history, a list, got {monitor!r}: delete it for the usual one"
            )
        self.monitor, self.model, self.total_weight = monitor, model, total_weight
        self.before = {k: copy(v) for k, v in getattr(monitor, "__dict__", {}).items()}
        self.courses: list[tuple[em.Result, bool, list[float]]] = []

    def on_start(self, init, params):
        self.params = params
        if hasattr(self.monitor, "_reset"):
            self.monitor._reset()
        else:  # one of somebody's own, with the history of an earlier fit or restart
            self.monitor.history.clear()

    def on_iteration_end(self, state):
        total = state.lower_bound * self.total_weight
        self.monitor.report(total - self.model.log_prior(self.params))
        self.params, self.iteration = state.params, state.iteration
        return bool(self.monitor.converged)

    def get_state(self):
        return [self.params, list(self.monitor.history), self.courses]

    def set_state(self, state):
        self.params, history, self.courses = state
        self.monitor.history.clear()
        self.monitor.history.extend(history)
        self.monitor.iter = len(history)

    def on_init_end(self, init, result):
        self.courses.append((result, self._converged(), list(self.monitor.history)))

    def _converged(self):
        """Return whether EM converged; hmmlearn's monitor says so at the last iteration, too."""
        history, monitor = self.monitor.history, self.monitor
        if not history or not monitor.converged:
            return False
        ran_out = getattr(monitor, "iter", None) == getattr(monitor, "n_iter", math.nan)
        return not ran_out or (len(history) > 1 and history[-1] - history[-2] < monitor.tol)

    def finish(self, best):
        """Leave the monitor with the best restart's course; return whether that converged."""
        for result, converged, history in self.courses:
            if result is best:
                if len(self.courses) > 1:
                    self.monitor.history.clear()
                    self.monitor.history.extend(history)
                    self.monitor.iter = len(history)
                return converged
        return False

    def restore(self):
        """Give the monitor back what it had before."""
        if hasattr(self.monitor, "__dict__"):
            self.monitor.__dict__.clear()
            self.monitor.__dict__.update(self.before)
