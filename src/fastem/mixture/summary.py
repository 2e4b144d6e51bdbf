"""Fitted mixtures as tables of text."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastem._base import check_sample_weight
from fastem._summary import Summary, covariance_estimates, ending, fits, interval_rows, summary_of

__all__ = ["feature_names", "summary"]

_MOST_ROWS = 30  # features one below the other


def summary(mixture: Any, X: Any, sample_weight: Any, errors: Any = None) -> Summary:
    """Return the summary of a fitted mixture at samples."""
    check_is_fitted(mixture)
    mixture._params()  # says so if an attribute was altered
    score, total = mixture._score(X, sample_weight)
    facts = [("Samples", np.shape(X)[0])]
    found, noise = mixture.predict(X), getattr(mixture, "noise_weight_", None)
    if sample_weight is not None:
        sample_weight = check_sample_weight(sample_weight, np.empty((len(found), 1)))
    sizes = np.bincount(found + 1, sample_weight, minlength=len(mixture.weights_) + 1)
    if sample_weight is not None:
        facts.append(("Total weight", float(total)))
    facts += [("Features", mixture.n_features_in_), ("Components", len(mixture.weights_))]
    if hasattr(mixture, "covariance_type"):
        facts.append(("Covariance type", mixture.covariance_type))
    facts += [("Converged", ending(mixture)), ("Log-likelihood", score * total)]
    if hasattr(mixture, "bic"):
        facts += [
            ("Parameters", mixture.n_parameters),
            ("BIC", mixture.bic(X, sample_weight)),
            ("ICL", mixture.icl(X, sample_weight)),
            ("AIC", mixture.aic(X, sample_weight)),
        ]
    facts.append(("Entropy of labels", mixture.entropy(X, sample_weight)))
    heads, columns = mixture._described()
    sizes = sizes if sample_weight is not None else sizes.astype(int)
    rows = [
        [k, float(mixture.weights_[k]), sizes[k + 1], *column] for k, column in enumerate(columns)
    ]
    if noise is not None:
        rows.append(["noise", noise, sizes[0], *[""] * len(heads)])
    tables, notes = [(["component", "weight", "size", *heads], rows)], []
    if not fits(*tables[0]):  # features across take too much room: one below the other
        numbers = [str(k) for k in range(len(columns))]
        turned = [[name, *(column[j] for column in columns)] for j, name in enumerate(heads)]
        tables = [(["component", "weight", "size"], [row[:3] for row in rows])]
        tables.append((["feature", *numbers], turned[:_MOST_ROWS]))
        if len(turned) > _MOST_ROWS:
            notes.append(f"{len(turned) - _MOST_ROWS} more features not shown.")
    if errors is not None:
        heads = ["parameter", "estimate", "std error", "[0.025", "0.975]"]
        tables.append((heads, interval_rows(_estimates(mixture, errors))))
    return summary_of(type(mixture).__name__, facts, tables, notes)


def _estimates(mixture, errors):
    """Yield (name, value, error) of the weights and of the components' parameters."""
    names = feature_names(mixture)
    own = None if hasattr(errors, "means") else errors._fields[1]
    for k, weight in enumerate(mixture.weights_):
        yield f"{k} weight", weight, errors.weights[k]
        if own is not None:
            values, own_errors = getattr(mixture, f"{own}_")[k], getattr(errors, own)[k]
            for at in np.ndindex(*values.shape):
                if values.ndim == 1 or not np.isnan(own_errors[at]):  # such a category
                    which = "".join(f" = {c}" for c in at[1:])
                    yield f"{k} {names[at[0]]}{which}", values[at], own_errors[at]
            continue
        for j, name in enumerate(names):
            yield f"{k} mean {name}", mixture.means_[k, j], errors.means[k, j]
    if hasattr(mixture, "noise_weight_"):
        yield "noise weight", mixture.noise_weight_, errors.weights[-1]
    if own is None:
        kind = mixture.covariance_type
        yield from covariance_estimates(mixture.covariances_, errors.covariances, names, kind)


def feature_names(estimator):
    """Return the names of the features: those that `fit` saw, or x0, x1, ..."""
    names = getattr(estimator, "feature_names_in_", None)
    if names is None:
        return [f"x{j}" for j in range(estimator.n_features_in_)]
    return [str(name) for name in names]
