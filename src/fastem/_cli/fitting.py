"""Fits mixtures, with a progress bar."""

import warnings
from time import perf_counter
from typing import NamedTuple

from sklearn.exceptions import ConvergenceWarning
from tqdm import tqdm

from fastem import GaussianMixture, em


class Fit(NamedTuple):
    """A fitted mixture and what the fit was worth.

    Attributes
    ----------
    mixture : GaussianMixture
    bic : float
    seconds : float
        Wall time of the fit, all restarts together.
    """

    mixture: GaussianMixture
    bic: float
    seconds: float


def fit_each(X, components, **settings):
    """Fit one mixture for each number of components and return the `Fit`s, in that order."""
    fits = []
    n_init = settings.get("n_init", 1)
    max_iter = settings.get("max_iter", 100)
    with ProgressBar(len(components) * n_init, max_iter) as progress:
        for n_components in components:
            progress.announce(f"K = {n_components}")
            mixture = GaussianMixture(n_components, **settings)
            start = perf_counter()
            with em.watch(progress), warnings.catch_warnings():
                # The report says it, with the remedy.
                warnings.simplefilter("ignore", ConvergenceWarning)
                mixture.fit(X)
            elapsed = perf_counter() - start
            fits.append(Fit(mixture, float(mixture.bic(X)), elapsed))
    return fits


class ProgressBar(em.Callback):
    """Progress on stderr, if that is a terminal: one bar over all restarts of several fits."""

    def __init__(self, n_restarts, max_iter):
        self.max_iter = max_iter
        self.done = 0
        self.bar = tqdm(
            total=n_restarts * max_iter,
            desc="fitting",
            disable=None,
            leave=False,
            dynamic_ncols=True,
            bar_format="{desc} {bar} {percentage:3.0f} % [{elapsed}]{postfix}",
        )

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        self.bar.close()

    def announce(self, text):
        """Say what is being done."""
        self.bar.set_postfix_str("", refresh=False)
        self.bar.set_description_str(f"fitting {text}")

    def on_init_begin(self, init):
        """Begin to count this restart's iterations."""
        self.done = 0

    def on_iteration_end(self, state):
        """Show the bound."""
        self.done += 1
        self.bar.set_postfix_str(
            f"start {state.init + 1}, iteration {state.iteration}, bound {state.lower_bound:.6g}",
            refresh=False,
        )
        self.bar.update(1)

    def on_init_end(self, init, result):
        """Skip the iterations that this restart did not need."""
        self.bar.update(self.max_iter - self.done)
