"""What ``cluster`` can fit: a table of models, and what is read off each."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning

import fastem
from fastem import em, select
from fastem._cli import CommandError, one_line
from fastem._cli.fitting import ProgressBar

COVARIANCE_TYPES = ("full", "tied", "diag", "spherical")
_CRITERIA = ("bic", "icl", "aic", "cv")
_ROWS = 10_000  # that are read off at a time


class Kind(NamedTuple):
    """One model of the command.

    Attributes
    ----------
    estimator : type
    noun : str
        What its parts are called.
    title : str
        What it is called in messages.
    values : str
        The attribute that has a row for each part, and a column for each column of the file.
    choose : callable or None
        The function of :mod:`fastem.select` that compares numbers of parts.
    criteria : tuple of str
        By what; the first is the default.
    covariances : bool
        Whether it has a covariance_type.
    data : {'numbers', 'binary', 'counts', 'categories'}
        What its cells must be.
    what : str
        What stands in the table of parts, of each column.
    number, iterations : str
        The names of the parameters for the number of parts and of iterations.
    """

    estimator: Any
    noun: str
    title: str
    values: str
    choose: Callable[..., Any] | None
    criteria: tuple[str, ...] = _CRITERIA
    covariances: bool = False
    data: str = "numbers"
    what: str = "mean"
    number: str = "n_components"
    iterations: str = "max_iter"


MODELS = {
    "mixture": Kind(
        fastem.GaussianMixture, "component", "a mixture", "means_", select.mixture, covariances=True
    ),
    "bayesian": Kind(
        fastem.BayesianGaussianMixture, "component", "a mixture", "means_", None, (),
        covariances=True,
    ),
    "kmeans": Kind(
        fastem.KMeans, "cluster", "k-means", "cluster_centers_", select.kmeans,
        ("silhouette", "gap"), number="n_clusters",
    ),
    "bernoulli": Kind(
        fastem.BernoulliMixture, "component", "a mixture", "probabilities_", select.discrete,
        data="binary", what="share of ones",
    ),
    "poisson": Kind(
        fastem.PoissonMixture, "component", "a mixture", "rates_", select.discrete, data="counts"
    ),
    "categorical": Kind(
        fastem.CategoricalMixture, "component", "a mixture", "probabilities_", select.discrete,
        data="categories", what="most frequent category",
    ),
    "hmm": Kind(
        fastem.GaussianHMM, "state", "a hidden Markov model", "means_", select.hmm,
        ("bic", "aic", "cv"), covariances=True, iterations="n_iter",
    ),
}  # fmt: skip


class Found(NamedTuple):
    """A fitted model, how it was chosen, and how long all took.

    Attributes
    ----------
    model : estimator
    selection : Selection or None
        None: one number was asked for.
    seconds : float
    interrupted : bool
        Whether Ctrl-C ended the fit, at the last whole iteration.
    """

    model: Any
    selection: Any
    seconds: float
    interrupted: bool = False


def check_options(args):
    """Refuse options that mean nothing to the model."""
    kind = MODELS[args.model]
    several = len(args.components) > 1
    if kind.choose is None and several:
        raise CommandError(
            f"--model {args.model} takes one number, the most that it may use: give "
            f"-k {args.components[-1]}"
        )
    if not kind.covariances and args.covariance_type != "full":
        raise CommandError(f"--model {args.model} has no covariances; leave out --covariance-type")
    if args.covariance_type == "all" and args.model not in ("mixture", "hmm"):
        raise CommandError("--covariance-type all is for --model mixture and hmm: choose one")
    if args.criterion is not None and args.criterion not in kind.criteria:
        known = ", ".join(kind.criteria) or "none"
        raise CommandError(
            f"--criterion {args.criterion} is not one of --model {args.model}'s: take {known}"
        )
    if args.standardize and kind.data != "numbers":
        raise CommandError(f"--standardize would change the {kind.data} of --model {args.model}")


def fit(args, table, X):
    """Fit, and choose if several numbers or types were asked for; return what was found."""
    from time import perf_counter

    kind, start = MODELS[args.model], perf_counter()
    types = COVARIANCE_TYPES if args.covariance_type == "all" else (args.covariance_type,)
    model = _build(args, kind, table, args.components[0], types[0])
    try:
        with warnings.catch_warnings():
            # The report says it, with the remedy.
            warnings.simplefilter("ignore", ConvergenceWarning)
            if len(args.components) > 1 or len(types) > 1:
                warnings.simplefilter("ignore", UserWarning)
                selection = _choose(args, kind, model, X, types)
                return Found(selection.best_estimator_, selection, perf_counter() - start)
            interrupted = _fit_one(args, model, X)
    except ValueError as error:
        raise CommandError(f"{args.file}: {one_line(error)}") from error
    return Found(model, None, perf_counter() - start, interrupted)


def _build(args, kind, table, number, covariance_type):
    """Return the estimator of the options, unfitted."""
    settings = {
        kind.number: number, kind.iterations: args.max_iter, "tol": args.tol,
        "n_init": args.n_init, "random_state": args.seed, "n_jobs": args.n_jobs,
    }  # fmt: skip
    if kind.covariances:
        settings["covariance_type"] = covariance_type
        floor = "min_covar" if args.model == "hmm" else "reg_covar"
        settings[floor] = args.reg_covar
    if table.categories is not None:
        settings["n_categories"] = [len(names) for names in table.categories]
    return kind.estimator(**settings)


def _choose(args, kind, model, X, types):
    criterion = args.criterion or kind.criteria[0]
    settings = {"criterion": criterion, "estimator": model, "progress": sys.stderr.isatty()}
    if args.model in ("mixture", "hmm"):
        settings["covariance_type"] = types
    return kind.choose(X, **{kind.number: args.components}, **settings)


def _fit_one(args, model, X):
    """Fit; return whether Ctrl-C ended it after a whole iteration."""
    with ProgressBar(args.n_init, args.max_iter) as progress:
        progress.announce(f"K = {args.components[0]}")
        try:
            with em.watch(progress):
                model.fit(X)
        except KeyboardInterrupt:
            if not getattr(model, "lower_bounds_", None):
                raise
            return True
    return False


def assign(model, X):
    """Return each row's part, and its probability or, of k-means, its distance."""
    if hasattr(model, "transmat_"):
        probabilities = model.predict_proba(X)
        labels = model.predict(X)
        return labels, probabilities[np.arange(len(labels)), labels]
    labels, values = np.empty(len(X), dtype=np.intp), np.empty(len(X))
    for start in range(0, len(X), _ROWS):
        rows = slice(start, start + _ROWS)
        if hasattr(model, "cluster_centers_"):
            labels[rows] = model.predict(X[rows])
            gaps = X[rows] - model.cluster_centers_[labels[rows]]
            values[rows] = np.sqrt(np.einsum("ij,ij->i", gaps, gaps))
        else:
            probabilities = model.predict_proba(X[rows])
            labels[rows], values[rows] = probabilities.argmax(axis=1), probabilities.max(axis=1)
    return labels, values


def value_name(model):
    """What :func:`assign` gives beside the labels."""
    return "distance" if hasattr(model, "cluster_centers_") else "probability"


def sizes(model, labels):
    """Return the parts' weights: of clusters and of states the share of samples."""
    if hasattr(model, "weights_"):
        return model.weights_
    n_parts = len(model.transmat_ if hasattr(model, "transmat_") else model.cluster_centers_)
    return np.bincount(labels, minlength=n_parts) / max(1, len(labels))


def values(name, model, table, scaling):
    """Return what each part has of each column, in the file's units, as (K, D) of numbers or text.

    Of categories, the most probable one.
    """
    found = getattr(model, MODELS[name].values)
    if table.categories is None:
        return found if scaling is None else found * scaling["scale"] + scaling["mean"]
    best = found.argmax(axis=2)
    return [
        [f"{names[best[k, j]]} {found[k, j, best[k, j]]:.0%}" for j, names in
         enumerate(table.categories)]
        for k in range(len(found))
    ]  # fmt: skip


def parameters(name, model):
    """Return the fitted numbers by name, for the JSON file."""
    kind = MODELS[name]
    content = {}
    if hasattr(model, "weights_"):
        content["weights"] = model.weights_
    if hasattr(model, "transmat_"):
        content |= {"startprob": model.startprob_, "transmat": model.transmat_}
    content[kind.values.rstrip("_")] = getattr(model, kind.values)
    if kind.covariances:
        attribute = "covars_" if name == "hmm" else "covariances_"
        content["covariances"] = getattr(model, attribute)
    if hasattr(model, "inertia_"):
        content["inertia"] = float(model.inertia_)
    return content
