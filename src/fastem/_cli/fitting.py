"""Fits with a line of progress on a terminal, which Ctrl-C ends after the iteration under way."""

import signal
import sys
import threading
import warnings
from contextlib import ExitStack
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
        Whether Ctrl-C leaves something that is worth keeping: every fit then ends after its
        iteration, `interrupted` is true, and a second Ctrl-C is an error. Else the first one is.
    """

    def __init__(self, what="fitting", *, keeps=True):
        self.what, self.keeps, self.interrupted, self.n_fits = what, keeps, False, 0
        self.status = None

    def __enter__(self):
        self.begin, self.closing = perf_counter(), ExitStack()
        if sys.stderr.isatty():
            from rich.console import Console

            status = Console(stderr=True, markup=False).status(self.what)
            self.status = self.closing.enter_context(status)
        # Python handles signals in its main thread alone; another's handler stays as it is.
        here = threading.current_thread() is threading.main_thread()
        before = signal.getsignal(signal.SIGINT)
        if self.keeps and here and before is signal.default_int_handler:
            self.closing.callback(signal.signal, signal.SIGINT, before)
            signal.signal(signal.SIGINT, self._interrupt)
        self.closing.enter_context(em.watch(self))
        self.closing.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", ConvergenceWarning)  # the report says it,
        warnings.filterwarnings("ignore", "the best .* that was tried", UserWarning)  # and that
        return self

    def __exit__(self, *error):
        self.seconds = perf_counter() - self.begin
        self.closing.close()

    def show(self, text):
        """Say what is being done."""
        if self.status is not None:
            self.status.update(text)

    def on_init_begin(self, init):
        """Count the fits."""
        self.n_fits += 1

    def on_iteration_end(self, state):
        """Show the bound; end the fit if Ctrl-C came."""
        where = f"fit {self.n_fits}, iteration {state.iteration}"
        self.show(f"{self.what}: {where}, bound {state.lower_bound:.6g}")
        return self.interrupted

    def _interrupt(self, *_):
        if self.interrupted:
            raise KeyboardInterrupt
        self.interrupted = True
        print("fastem: ending with this iteration; Ctrl-C again gives up", file=sys.stderr)
