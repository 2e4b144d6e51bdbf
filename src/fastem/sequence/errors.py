"""Standard errors of a hidden Markov model's parameters."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from fastem._summary import Summary, covariance_estimates, interval_rows
from fastem._typing import MatrixLike
from fastem.components.information import GaussianCoordinates, Simplex, covariance_of
from fastem.sequence.emissions import params_of
from fastem.sequence.start import ChainStart
from fastem.sequence.summary import Summarized

__all__ = ["HMMErrors", "WithErrors"]


class HMMErrors(NamedTuple):
    """Standard errors of a Gaussian hidden Markov model; NaN for what was not estimated."""

    startprob: np.ndarray  # (n_components,)
    transmat: np.ndarray  # (n_components, n_components)
    means: np.ndarray  # (n_components, n_features)
    covars: np.ndarray  # of each entry, shaped as the covariance type has them


class WithErrors(Summarized):
    """Mixin of GaussianHMM: how sure its parameters are."""

    covariance_type: str
    params: str
    startprob_: np.ndarray
    transmat_: np.ndarray
    topology: Any
    transmat_fixed: Any

    def standard_errors(self, X: MatrixLike, lengths: npt.ArrayLike | None = None) -> HMMErrors:
        """Return standard errors of the parameters by the observed information.

        As :meth:`fastem.GaussianMixture.standard_errors` does, by two E-steps for each parameter.
        Priors do not count: the errors are those of maximum likelihood.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such arrays
            The rows of all sequences, or a list of the sequences: those of the fit, which must have
            gone near the maximum, by a small `tol`.
        lengths : array-like of int of shape (n_sequences,), default=None
            Number of rows of each sequence.

        Returns
        -------
        errors : HMMErrors
            `startprob`, `transmat`, `means` and `covars`, the latter of the compact shape that the
            covariance type has. NaN for probabilities at their bound or held fixed, and for
            `startprob` where there is one sequence only.

        Raises
        ------
        ValueError
            If the observed information is not positive definite, or if means or covariances were
            not fitted.

        Warns
        -----
        ConvergenceWarning
            If a parameter is more than a tenth of a standard error from the maximum.

        Examples
        --------
        >>> import numpy as np
        >>> from fastem import GaussianHMM
        >>> X = np.random.default_rng(0).normal(np.repeat([0.0, 9.0] * 6, 25))[:, None]
        >>> model = GaussianHMM(2, n_iter=100, tol=1e-8, random_state=0).fit(X)
        >>> model.standard_errors(X).means.round(2)
        array([[0.08],
               [0.09]])
        """
        missing = [letter for letter in "mc" if letter not in str(self.params)]
        if missing:
            raise ValueError(
                f"params={self.params!r} does not fit {missing[0]!r}: standard errors need means "
                "and covariances that were fitted ('m' and 'c')"
            )
        model, params, block = self._read(X, lengths)
        k = len(params.startprob)
        chain = ChainStart(
            k,
            self.topology,
            self.transmat_fixed,
            None,
            None,
            self.transmat_,
        )
        fixed = np.zeros((k, k), bool)
        if chain.trans_fixed is not None:
            fixed = ~np.isnan(chain.trans_fixed)
        if "t" not in self.params:
            fixed[:] = True
        no_start = len(block.begin) == 2 or "s" not in self.params or chain.start_fixed is not None
        return _standard_errors(model, params, block, self.covariance_type, fixed, no_start)

    def summary(
        self,
        X: MatrixLike,
        lengths: npt.ArrayLike | None = None,
        *,
        standard_errors: bool = False,
    ) -> Summary:
        """Return the fitted model as a compact table.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such arrays
            The rows of all sequences, or a list of the sequences: those of the fit.
        lengths : array-like of int of shape (n_sequences,), default=None
            Number of rows of each sequence.
        standard_errors : bool, default=False
            Whether to list each parameter with its standard error and 95 % interval: see
            :meth:`standard_errors`.

        Returns
        -------
        summary : str
            The fit in figures; for each state its probability at the start, its share of the rows,
            the expected number of rows that it stays, and its mean; and the transitions.
        """
        errors = self.standard_errors(X, lengths) if standard_errors else None
        return self._summary(X, lengths, () if errors is None else self._parameter_rows(errors))

    def _parameter_rows(self, errors):
        """Return the rows of the table of parameters, except for the start."""
        values = self._fitted_values()
        n = len(self.startprob_)
        found = [
            (f"{i} to {j}", values["transmat_"][i, j], errors.transmat[i, j])
            for i in range(n)
            for j in range(n)
        ]
        means, covars = values["means_"], np.asarray(values["_covars_"])
        names = self._names(means.shape[1])
        for i, j in np.ndindex(*means.shape):
            found.append((f"{i} mean {names[j]}", means[i, j], errors.means[i, j]))
        found += covariance_estimates(covars, errors.covars, names, self.covariance_type)
        return interval_rows(found)


def _standard_errors(model, params, block, kind, fixed, no_start) -> HMMErrors:
    """Return the standard errors of the fitted parameters of a model at validated sequences."""
    k = len(params.startprob)
    rows = [Simplex(params.startprob, np.full(k, no_start))]
    rows += [Simplex(p, held) for p, held in zip(params.transmat, fixed, strict=True)]
    own = GaussianCoordinates(kind, params.emission.means, params.emission.precisions_cholesky)
    ends = np.cumsum([row.n for row in rows])
    parts = [slice(end - row.n, end) for row, end in zip(rows, ends, strict=True)]

    def score(x):
        start, *trans = (row.at(x[part]) for row, part in zip(rows, parts, strict=True))
        means, factors = own.at(x[ends[-1] :])
        at = params._replace(
            startprob=start, transmat=np.array(trans), emission=params_of(means, None, factors)
        )
        found = model.e_step(at, block)
        counts = [found.start, *found.transitions]
        of_chain = [
            row.score(p, n) for row, p, n in zip(rows, [start, *trans], counts, strict=True)
        ]
        return np.concatenate([*of_chain, own.score(x[ends[-1] :], means, found.moments)])

    covariance = covariance_of(score, int(ends[-1]) + own.n)
    start, *trans = (
        row.errors(covariance[part, part]) for row, part in zip(rows, parts, strict=True)
    )
    of_gaussians = own.errors(covariance[ends[-1] :, ends[-1] :])
    return HMMErrors(start, np.array(trans), *of_gaussians)
