"""What the mixtures share: the course of a fit, and what is read off a fitted one."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from itertools import pairwise
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import DensityMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from fastem._base import (
    EMEstimator,
    check_fitted_array,
    check_sample_weight,
    unchanged_on_error,
)
from fastem._compat import fit_context
from fastem._data.sources import by_blocks, in_blocks, scores, source_of, survey
from fastem._engine.random_states import lent_random_state
from fastem._engine.threads import useful_n_jobs
from fastem._typing import CheckpointLike, MatrixLike, SamplerLike
from fastem.mixture.by_blocks import begin
from fastem.mixture.reading import Reading, sampler

__all__ = ["ALGORITHM", "ALGORITHMS", "Mixture", "check_count"]

#: The parameter `algorithm`: its values with the driver's schedules, and what docstrings say.
ALGORITHMS = {"em": "batch", "squarem": "squarem", "incremental": "incremental"}
ALGORITHM = """\
    algorithm : {'em', 'squarem', 'incremental'}, default='em'
        'em': an M-step after each pass over the samples. 'squarem': beside it, extrapolates the
        sums that the M-step is made of (Varadhan & Roland 2008), and goes back where the likelihood
        is then lower: a third of the passes where EM converges slowly, as with components that
        overlap; it may end in another optimum. 'incremental': an M-step after each twentieth of the
        samples (Neal & Hinton 1998): fewer passes to a rough `tol`, best for many samples.
"""
_PIECES, _LEAST_PIECE = 20, 100  # of an incremental fit: their number, and the rows of one


def check_count(name, value):
    """Raise TypeError unless a number of things is a number; fractions are cut off later."""
    number = np.ndim(value) == 0 and np.asarray(value).dtype.kind in "biuf"
    if not number or not np.isfinite(value):
        raise TypeError(f"{name} must be an integer of at least 1, got {value!r}")


class Mixture(Reading, DensityMixin, EMEstimator):
    """Base of the mixtures.

    Beside what :class:`EMEstimator` asks for, a subclass has the parameters `n_components`,
    `n_init`, `warm_start`, `random_state` and `n_jobs`, the attribute `weights_`, and the methods:

    - ``_read(X)``: X for `fit`, validated;
    - ``_validated(X)``: X for a fitted mixture, validated;
    - ``_problem(X, sample_weight)``: the model, a block for it, and a function of a random state
      that returns the first parameters of a restart;
    - ``_read_block(X)``: one block of X for `fit`, validated, which may have a single row;
    - ``_maker(block, found)``: what makes a block for that model of X and its weights, where it is
      fitted to blocks of which a sample made `block` and the first pass found `found`;
    - ``_params()``: the fitted parameters, as the model has them;
    - ``_rows(X, output)``: 'labels', 'log_prob' or 'responsibilities' of validated samples;
    - ``_draw(counts, random_state)``: so many samples of each component, in that order;
    - ``_of_each_component()``: the attributes whose first axis is the components.
    """

    weights_: np.ndarray
    algorithm: str

    # ---- fitting ---------------------------------------------------------------------------

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: MatrixLike,
        y: Any = None,
        sample_weight: npt.ArrayLike | None = None,
        *,
        checkpoint: CheckpointLike = None,
    ) -> Self:
        """Fit the mixture.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or Blocks
            The samples, float32 or float64; other types are converted to float64. Sparse, or with
            NaN for what is missing, where the class says so. :class:`fastem.Blocks` are read again
            in each pass, and the start is made on a sample of 100,000 rows.
        y : Ignored
            Present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights: a sample of weight 2 counts as two equal samples. The start
            uses them too, but draws its random numbers per row.
        checkpoint : em.Checkpoint or path, default=None
            Where the fit is written to as it goes. A fit that was killed goes on from there and
            ends with the same bits: see :class:`fastem.em.Checkpoint`. `random_state` must be set.

        Returns
        -------
        self : object
            The fitted mixture.

        Raises
        ------
        ValueError
            If an argument is invalid, or the samples do not fit the model.

        Warns
        -----
        ConvergenceWarning
            If the best restart did not converge within `max_iter` iterations.
        """
        self._fit(X, y, sample_weight, checkpoint)
        return self

    @fit_context(prefer_skip_nested_validation=True)
    def fit_predict(
        self, X: MatrixLike, y: Any = None, sample_weight: npt.ArrayLike | None = None
    ) -> np.ndarray:
        """Fit the mixture and return the most probable component of each sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The samples.
        y : Ignored
            Present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Component labels, equal to ``fit(X).predict(X)``.
        """
        if in_blocks(X):
            return self.fit(X, y, sample_weight).predict(X)
        X = self._fit(X, y, sample_weight)
        return self._rows(X, "labels")

    def _fit(self, X, y, sample_weight, checkpoint=None):
        """Fit; return the validated X."""
        with unchanged_on_error(self):
            useful_n_jobs(self.n_jobs, 0)  # complains before any work
            self._open_checkpoint(checkpoint, X, sample_weight=sample_weight)
            resume = self.warm_start and hasattr(self, "converged_")
            source = source_of(self, X, sample_weight)
            if source is not None:
                result = self._fit_source(source, resume)
            else:
                X = self._read(X)
                sample_weight = check_sample_weight(sample_weight, X)
                n = X.shape[0] if sample_weight is None else np.count_nonzero(sample_weight)
                self._check_n_components(n, sample_weight is not None)
                model, block, start = self._problem(X, sample_weight)
                start = self._start_of_fit(model, block, start)
                with lent_random_state(self.random_state) as random_state:
                    result = self._fit_em(
                        model,
                        [block],
                        lambda init: self._params() if resume else start(random_state),
                        n_init=1 if resume else self.n_init,
                        lower_bound=self.lower_bound_ if resume else -np.inf,
                        X=X,
                        y=y,
                        sample_weight=sample_weight,
                    )
        if not result.converged and self.max_iter > 0:
            warnings.warn(
                "Best performing initialization did not converge. Try different init parameters, "
                "or increase max_iter, tol, or check for degenerate data.",
                ConvergenceWarning,
                stacklevel=4,  # the caller of fit, which scikit-learn wraps
            )
        return X

    def _fit_em(self, model, blocks, start, **settings):
        """Run the driver by the schedule that `algorithm` names."""
        if self.algorithm == "incremental" and settings.get("executor") is not None:
            raise ValueError(
                "algorithm='incremental' goes from block to block, and cannot run on several "
                "workers: take 'em' or 'squarem'"
            )
        if self.algorithm == "incremental" and isinstance(blocks, list) and len(blocks) == 1:
            blocks = self._pieces(model, blocks[0])
        schedule = ALGORITHMS.get(self.algorithm, "batch")
        return super()._fit_em(model, blocks, start, schedule=schedule, **settings)

    def _start_of_fit(self, model, block, start):
        """Return what makes the first parameters of a fit in memory; `start` is `_problem`'s."""
        return start

    def _pieces(self, model, block):
        """Return a block in pieces of consecutive rows."""
        n_rows = self._n_rows(block)
        cuts = np.linspace(0, n_rows, min(_PIECES, n_rows // _LEAST_PIECE or 1) + 1).astype(int)
        return [self._piece(model, block, *ends) for ends in pairwise(cuts.tolist())]

    def _fit_source(self, source, resume):
        """Fit to data that come in blocks; return the result."""
        found = survey(source, self._look_at, self.random_state, 2 * self.n_components)
        self._set_fitted(found.attributes())
        self._check_n_components(found.n_positive, found.weighted)
        model, blocks, start = self._begin_source(source, found, 0 if resume else self.n_init)
        return self._fit_em(
            model,
            blocks,
            lambda init: self._params() if resume else start(init),
            n_init=1 if resume else self.n_init,
            lower_bound=self.lower_bound_ if resume else -np.inf,
            executor=source.executor,
        )

    def _begin_source(self, source, found, n_starts):
        """Return the model, the blocks for the driver, and a function of a restart's number.

        It returns the first parameters.
        """
        begun = source.call(begin, self, found, n_starts, source.sample)
        source.sample = None  # which takes memory
        self._set_fitted(begun.learned)
        return begun.model, source.prepared(begun.make), begun.starts.__getitem__

    #: ``_look_at(X, sample_weight)``: what the first pass over blocks sums for the class; or None
    _look_at: Any = None

    def _problem_of(self, X, sample_weight, found):
        """Return `_problem` of a sample of the rows; `found` is of all."""
        return self._problem(X, sample_weight)

    def _check_n_components(self, n_samples, weighted):
        if n_samples < self.n_components:
            raise ValueError(
                "Expected n_samples >= n_components "
                f"but got n_components = {self.n_components}, n_samples = {n_samples}"
                + (" of positive sample_weight" if weighted else "")
            )

    # ---- reading ---------------------------------------------------------------------------

    @by_blocks
    def predict(self, X: MatrixLike) -> np.ndarray:
        """Return the most probable component of each sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The samples.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int64
            Component labels; -1 is noise, where a mixture has it.
        """
        return self._rows(self._validated(X), "labels")

    @by_blocks
    def predict_proba(self, X: MatrixLike) -> np.ndarray:
        """Return the responsibilities: each component's posterior probability for each sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The samples.

        Returns
        -------
        responsibilities : ndarray of shape (n_samples, n_components)
            Rows sum to 1. Of a mixture with noise the last of n_components + 1 columns is its own.
        """
        return self._rows(self._validated(X), "responsibilities")

    @by_blocks
    def score_samples(self, X: MatrixLike) -> np.ndarray:
        """Return the log-density of each sample, of discrete data the log-probability.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The samples.

        Returns
        -------
        log_prob : ndarray of shape (n_samples,)
            Natural logarithms of the density.
        """
        return self._rows(self._validated(X), "log_prob")

    def score(
        self, X: MatrixLike, y: Any = None, sample_weight: npt.ArrayLike | None = None
    ) -> float:
        """Return the mean log-density per sample.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The samples.
        y : Ignored
            Present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights of the mean.

        Returns
        -------
        log_likelihood : float
            The mean.
        """
        return self._score(X, sample_weight)[0]

    def _score(self, X, sample_weight):
        """Return the mean log-density and the total weight."""
        parts = scores(self, type(self)._score, X, sample_weight)
        if parts is not None:
            means, weights = np.array(parts, dtype=np.float64).reshape(-1, 2).T
            return float(np.average(means, weights=weights)), weights.sum()
        X = self._validated(X)
        sample_weight = check_sample_weight(sample_weight, X)
        log_prob = self._rows(X, "log_prob")
        if sample_weight is None:
            return float(np.mean(log_prob, dtype=np.float64)), X.shape[0]
        there = sample_weight > 0  # the others may be impossible, and 0 times -inf is NaN
        mean = np.average(log_prob[there], weights=sample_weight[there])
        return float(mean), sample_weight.sum()

    def sample(
        self, n_samples: int = 1, *, random_state: SamplerLike = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw samples from the fitted mixture.

        Parameters
        ----------
        n_samples : int, default=1
            Number of samples.
        random_state : int, RandomState instance, Generator or None, default=None
            Seed; None: the estimator's own `random_state`, so that an int there gives the same
            samples each time.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features), float64
            The samples, sorted by component.
        y : ndarray of shape (n_samples,), int64
            The components that they were drawn from; -1 is noise, where a mixture has it.
        """
        return self._sample(n_samples, random_state)

    def _sample(self, n_samples, random_state, **settings):
        check_is_fitted(self)
        check_count("n_samples", n_samples)
        self._params()  # says so if an attribute was altered
        if n_samples < 1:
            raise ValueError(
                f"Invalid value for 'n_samples': {n_samples} . The sampling requires at least one "
                "sample."
            )
        rng = sampler(random_state, self.random_state)
        weights = self._fitted_weights()
        if weights.dtype != np.float64:
            weights = weights.astype(np.float64)
            whole = 1 - getattr(self, "noise_weight_", 0.0)
            weights *= whole / weights.sum()  # the rounded ones may sum to more than 1
        labels = np.arange(len(weights))
        if hasattr(self, "noise_weight_"):
            rest = max(0.0, 1 - weights.sum())  # rounded, it may be less than 0
            weights, labels = np.append(weights, rest), np.append(labels, -1)
        counts = rng.multinomial(n_samples, weights)
        X = self._draw(counts, rng, **settings)
        return X.astype(np.float64, copy=False), np.repeat(labels, counts)

    def _fitted_weights(self):
        """Return weights_, checked."""
        check_is_fitted(self)
        weights = check_fitted_array(self, "weights_", (None,), nonnegative=True, at_most=1.0)
        # A start from single samples counts only these, as in scikit-learn, until an M-step.
        begun = getattr(self, "n_iter_", 1) > 0
        whole = 1 - getattr(self, "noise_weight_", 0.0)
        if begun and abs(weights.sum(dtype=np.float64) - whole) > 1e-3:
            raise ValueError(
                f"weights_ must sum to {whole:.6g}, got {weights.sum():.6g}: fit again, or set the "
                "attribute"
            )
        return weights

    # ---- what a subclass has ---------------------------------------------------------------

    @abstractmethod
    def _read(self, X) -> Any:
        """Return X, validated, and set what is known of its features."""

    @abstractmethod
    def _read_block(self, X) -> Any:
        """Return one block of X, validated."""

    @abstractmethod
    def _maker(self, block, found) -> Any:
        """Return a function of X and its weights that makes a block like another."""

    @abstractmethod
    def _validated(self, X) -> Any:
        """Return X, validated for a fitted mixture."""

    @abstractmethod
    def _problem(self, X, sample_weight) -> tuple[Any, Any, Any]:
        """Return the model, the block and a function of a random state: first parameters."""

    @staticmethod
    @abstractmethod
    def _n_rows(block) -> int:
        """Return the number of samples of a block."""

    @staticmethod
    @abstractmethod
    def _piece(model, block, begin, end) -> Any:
        """Return the block of some consecutive samples, as the model's E-step takes it."""

    @abstractmethod
    def _params(self) -> Any:
        """Return the fitted parameters in the driver's form."""

    @abstractmethod
    def _rows(self, X, output) -> np.ndarray:
        """Return 'labels', 'log_prob' or 'responsibilities' of validated samples."""

    @abstractmethod
    def _draw(self, counts, random_state, **settings) -> np.ndarray:
        """Return so many samples of each component, one component after another."""

    @abstractmethod
    def _of_each_component(self) -> tuple[str, ...]:
        """Return the names of the attributes whose first axis is the components."""
