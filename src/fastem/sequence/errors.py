"""Standard errors of a hidden Markov model's parameters."""

from __future__ import annotations

from abc import abstractmethod
from itertools import pairwise
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar, cast

import numpy as np
import numpy.typing as npt

from fastem._base import check_flag
from fastem._summary import Summary, covariance_estimates, interval_rows
from fastem._typing import MatrixLike
from fastem.components.covariances import KINDS
from fastem.components.discrete_information import coordinates_of
from fastem.components.information import GaussianCoordinates, Simplex, covariance_of
from fastem.sequence.emissions import params_of
from fastem.sequence.mixture_emissions import MixtureParams
from fastem.sequence.reading import possible
from fastem.sequence.start import ChainStart
from fastem.sequence.summary import Summarized

__all__ = [
    "DiscreteHMMErrors",
    "Errors",
    "HMMErrors",
    "MixtureHMMErrors",
    "PoissonHMMErrors",
    "WithErrors",
    "of_discrete",
    "of_gaussians",
    "of_mixtures",
]


class HMMErrors(NamedTuple):
    """Standard errors of a Gaussian hidden Markov model; NaN for what was not estimated."""

    startprob: np.ndarray  # (n_components,)
    transmat: np.ndarray  # (n_components, n_components)
    means: np.ndarray  # (n_components, n_features)
    covars: np.ndarray  # of each entry, shaped as the covariance type has them


class MixtureHMMErrors(NamedTuple):
    """Standard errors of a GMMHMM; NaN for what was not estimated."""

    startprob: np.ndarray  # (n_components,)
    transmat: np.ndarray  # (n_components, n_components)
    weights: np.ndarray  # (n_components, n_mix)
    means: np.ndarray  # (n_components, n_mix, n_features)
    covars: np.ndarray  # of each entry, shaped as the attribute


class DiscreteHMMErrors(NamedTuple):
    """Standard errors of states that emit symbols or successes; NaN for what was not estimated."""

    startprob: np.ndarray  # (n_components,)
    transmat: np.ndarray  # (n_components, n_components)
    emissionprob: np.ndarray  # shaped as the attribute


class PoissonHMMErrors(NamedTuple):
    """Standard errors of states that emit counts; NaN for what was not estimated."""

    startprob: np.ndarray  # (n_components,)
    transmat: np.ndarray  # (n_components, n_components)
    lambdas: np.ndarray  # (n_components, n_features)


Errors = TypeVar("Errors")  # one of the above


class Emission(NamedTuple):
    """What standard errors need of a family: coordinates and how they are read."""

    coordinates: Any  # with n, at, score and errors
    params: Any  # (what coordinates.at returns) -> the family's parameters
    sums: Any  # (an E-step's statistics) -> what coordinates.score reads
    errors: Any  # (startprob, transmat, what coordinates.errors returns) -> a NamedTuple


class WithErrors(Summarized, Generic[Errors]):
    """Mixin of the hidden Markov models: how sure their parameters are."""

    _letters: ClassVar[dict[str, str]]
    params: str
    startprob_: np.ndarray
    transmat_: np.ndarray
    topology: Any
    transmat_fixed: Any

    def standard_errors(self, X: MatrixLike, lengths: npt.ArrayLike | None = None) -> Errors:
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
        errors : HMMErrors, MixtureHMMErrors, DiscreteHMMErrors or PoissonHMMErrors
            `startprob`, `transmat` and those of the emissions: `means` and `covars`, the latter of
            the compact shape that the covariance type has; `weights`, `means` and `covars`;
            `emissionprob`; or `lambdas`. NaN for probabilities at their bound or held fixed, and
            for `startprob` where there is one sequence only.

        Raises
        ------
        ValueError
            If the observed information is not positive definite, the emissions were not fitted, or
            a sequence is impossible.

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
        missing = [letter for letter in self._letters if letter not in str(self.params)]
        if missing:
            raise ValueError(
                f"params={self.params!r} does not fit {missing[0]!r}: standard errors need "
                f"emissions that were fitted, {''.join(self._letters)!r}"
            )
        model, params, block = self._read(X, lengths)
        possible(lambda *given: (model.scores(*given), None), params, block)
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
        found = _standard_errors(model, params, block, self._emission(params), fixed, no_start)
        return cast(Errors, found)

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
        check_flag("standard_errors", standard_errors)
        errors = self.standard_errors(X, lengths) if standard_errors else None
        return self._summary(X, lengths, () if errors is None else self._parameter_rows(errors))

    @abstractmethod
    def _emission(self, params) -> Emission:
        """Return what standard errors need of the family, at validated parameters of the chain."""

    def _parameter_rows(self, errors):
        """Return the rows of the table of parameters, except for the start."""
        values = self._fitted_values()
        n = len(self.startprob_)
        found = [
            (f"{i} to {j}", values["transmat_"][i, j], errors.transmat[i, j])
            for i in range(n)
            for j in range(n)
        ]
        for name in errors._fields[2:]:
            own = np.asarray(values.get(f"{name}_", values.get(f"_{name}_")))
            if name == "covars":
                found += self._covariance_rows(own, errors.covars, hasattr(errors, "weights"))
            else:
                found += self._rows_of(name, own, getattr(errors, name))
        return interval_rows(found)

    def _covariance_rows(self, values, errors, mixtures):
        """Yield names, values and standard errors of variances and covariances."""
        own: Any = self  # one of those that have covariances
        kind, names = own.covariance_type, self._names(own.n_features)
        if not mixtures:
            yield from covariance_estimates(values, errors, names, kind)
            return
        for state, both in enumerate(zip(values, errors, strict=True)):
            for row, value, error in covariance_estimates(*both, names, kind):
                yield f"{state} {row}", value, error

    def _rows_of(self, name, values, errors):
        """Yield names, values and standard errors of one attribute of the emissions."""
        names = self._names(values.shape[-1])
        word = "mean " if name in ("means", "lambdas") else ""
        for at in np.ndindex(*values.shape):
            which = " ".join(map(str, at[:-1]))
            weight = f"{which} {at[-1]} weight"
            label = weight if name == "weights" else f"{which} {word}{names[at[-1]]}"
            yield label, values[at], errors[at]


# ---- families --------------------------------------------------------------------------------


def of_gaussians(params, kind):
    """Return what standard errors need of one Gaussian a state."""
    own = GaussianCoordinates(kind, params.means, params.precisions_cholesky)
    return Emission(
        own,
        lambda values: params_of(values[0], None, values[1]),
        lambda found: found.moments,
        lambda start, trans, errors: HMMErrors(start, trans, *errors),
    )


def of_discrete(params, family, name):
    """Return what standard errors need of a discrete distribution a state."""
    shape = params.values.shape
    kind = PoissonHMMErrors if name == "lambdas_" else DiscreteHMMErrors

    def errors(start, trans, own):
        return kind(start, trans, own[:, 0] if len(shape) == 3 else own)

    return Emission(
        coordinates_of(family, params.values),
        lambda values: params._replace(values=values),
        lambda found: found,
        errors,
    )


def of_mixtures(params, kind):
    """Return what standard errors need of a mixture of Gaussians a state."""
    return Emission(
        _Mixtures(params, kind),
        lambda values: values,
        lambda found: found.moments,
        lambda start, trans, errors: MixtureHMMErrors(start, trans, *errors),
    )


class _OfState(NamedTuple):
    """Moments of the Gaussians of one state."""

    weight: np.ndarray
    mean: np.ndarray
    scatter: np.ndarray  # about the means that `score` asks for
    shared: bool

    def scatter_about(self, means):
        """Return the scatter, which is about these means."""
        return self.scatter.sum(axis=0) if self.shared else self.scatter


class _Mixtures:
    """Coordinates of a mixture of Gaussians in each state: those of its weights, then Gaussians."""

    def __init__(self, params, kind):
        self.shape, self.shared = params.weights.shape, KINDS[kind].shared
        (k, m), flat = self.shape, params.gaussians
        self.states = [slice(i * m, (i + 1) * m) for i in range(k)]
        self.weights = [Simplex(row / row.sum()) for row in params.weights]
        factors = flat.precisions_cholesky
        self.gaussians = [
            GaussianCoordinates(
                kind, flat.means[one], factors[one.start] if self.shared else factors[one]
            )
            for one in self.states
        ]
        sizes = [part.n for pair in zip(self.weights, self.gaussians, strict=True) for part in pair]
        ends = np.cumsum([0, *sizes]).tolist()
        parts = [slice(*ends_of) for ends_of in pairwise(ends)]
        self.of_weights, self.of_gaussians, self.n = parts[::2], parts[1::2], ends[-1]

    def at(self, x):
        """Return the parameters at some coordinates."""
        weights = [w.at(x[part]) for w, part in zip(self.weights, self.of_weights, strict=True)]
        found = [g.at(x[part]) for g, part in zip(self.gaussians, self.of_gaussians, strict=True)]
        means = np.concatenate([means for means, _ in found])
        each = [factors[None].repeat(self.shape[1], 0) if self.shared else factors
                for _, factors in found]  # fmt: skip
        return MixtureParams(np.array(weights), params_of(means, None, np.concatenate(each)))

    def score(self, x, values, moments):
        """Return the gradient."""
        means, counts = values.gaussians.means, moments.weight.reshape(self.shape)
        scatter, out = moments.scatter_about(means), np.empty(self.n)
        for i, one in enumerate(self.states):
            own = _OfState(moments.weight[one], moments.mean[one], scatter[one], self.shared)
            part = self.of_gaussians[i]
            out[self.of_weights[i]] = self.weights[i].score(values.weights[i], counts[i])
            out[part] = self.gaussians[i].score(x[part], (means[one], None), own)
        return out

    def errors(self, covariance):
        """Return the standard errors of weights, means and covariances."""
        of_weights = [
            w.errors(covariance[part, part]) if len(w.p) > 1 else np.zeros(1)
            for w, part in zip(self.weights, self.of_weights, strict=True)
        ]
        pairs = [
            g.errors(covariance[part, part])
            for g, part in zip(self.gaussians, self.of_gaussians, strict=True)
        ]
        means, covars = (np.array(part) for part in zip(*pairs, strict=True))
        return np.array(of_weights), means, covars


# ---- the chain -------------------------------------------------------------------------------


def _standard_errors(model, params, block, emission, fixed, no_start):
    """Return the standard errors of the fitted parameters of a model at validated sequences."""
    k, own = len(params.startprob), emission.coordinates
    rows = [Simplex(params.startprob, np.full(k, no_start))]
    rows += [Simplex(p, held) for p, held in zip(params.transmat, fixed, strict=True)]
    ends = np.cumsum([row.n for row in rows])
    parts = [slice(end - row.n, end) for row, end in zip(rows, ends, strict=True)]

    def score(x):
        start, *trans = (row.at(x[part]) for row, part in zip(rows, parts, strict=True))
        values = own.at(x[ends[-1] :])
        at = params._replace(
            startprob=start, transmat=np.array(trans), emission=emission.params(values)
        )
        found = model.e_step(at, block)
        counts = [found.start, *found.transitions]
        of_chain = [
            row.score(p, n) for row, p, n in zip(rows, [start, *trans], counts, strict=True)
        ]
        return np.concatenate([*of_chain, own.score(x[ends[-1] :], values, emission.sums(found))])

    covariance = covariance_of(score, int(ends[-1]) + own.n, 4)
    start, *trans = (
        row.errors(covariance[part, part]) for row, part in zip(rows, parts, strict=True)
    )
    of_emission = own.errors(covariance[ends[-1] :, ends[-1] :])
    return emission.errors(start, np.array(trans), of_emission)
