"""Fits with a line of progress on a terminal, which Ctrl-C ends after the iteration under way."""

import signal
import sys
import threading
import warnings
from time import perf_counter

from sklearn.exceptions import ConvergenceWarning

from fastem import em


class Fitting(em.Callback):
    """Watches all fits of a ``with`` block.

    Parameters
    ----------
    what : str
        What is being done.
    keeps : bool
        Whether Ctrl-C leaves something that is worth keeping; else it ends the command.

    Attributes
    ----------
    interrupted : bool
        Whether Ctrl-C came: every fit then ends after its iteration. A second one is an error.
    seconds : float
        Since the block began.
    """

    def __init__(self, what="fitting", *, keeps=True):
        self.what, self.keeps, self.interrupted, self.n_fits = what, keeps, False, 0
        self.status = None

    def __enter__(self):
        self.begin = perf_counter()
        if sys.stderr.isatty():
            from rich.console import Console

            self.status = Console(stderr=True, markup=False).status(self.what)
            self.status.start()
        self.before = signal.getsignal(signal.SIGINT)
        # Python handles signals in its main thread alone; another's handler stays as it is.
        self.listens = (
            self.keeps
            and threading.current_thread() is threading.main_thread()
            and self.before is signal.default_int_handler
        )
        if self.listens:
            signal.signal(signal.SIGINT, self._interrupt)
        self.watching = em.watch(self)
        self.watching.__enter__()
        self.filters = warnings.catch_warnings()
        self.filters.__enter__()
        warnings.simplefilter("ignore", ConvergenceWarning)  # the report says it, with the remedy
        return self

    def __exit__(self, *error):
        self.seconds = perf_counter() - self.begin
        self.filters.__exit__(*error)
        self.watching.__exit__(*error)
        if self.listens:
            signal.signal(signal.SIGINT, self.before)
        if self.status is not None:
            self.status.stop()

    def show(self, text):
        """Say what is being done."""
        if self.status is not None:
            self.status.update(text)

    def on_init_begin(self, init):
        """Count the fits."""
        self.n_fits += 1

    def on_iteration_end(self, state):
        """Show the bound; end the fit if Ctrl-C came."""
        self.show(
            f"{self.what}: fit {self.n_fits}, iteration {state.iteration}, "
            f"bound {state.lower_bound:.6g}"
        )
        return self.interrupted

    def _interrupt(self, *_):
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        print("fastem: ending with this iteration; Ctrl-C again gives up", file=sys.stderr)
