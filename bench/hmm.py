"""Bench cases and contenders for hidden Markov models."""

import functools
import importlib
import logging
import os
import warnings
from dataclasses import dataclass, replace

import numpy as np
from _harness import (
    LONG,
    OURS,
    SHORT,
    SLOW,
    TOLERANCE,
    Contender,
    milliseconds,
    number,
    optional,
)

SCALED, DEFAULT, ONE = "hmmlearn, scaled", "hmmlearn", "fastem, one thread"
DYNAMAX = "dynamax"
PEERS = ("hmmlearn", "dynamax", "jax")  # whose versions the report names
MEMORY = (OURS, SCALED)
REFERENCE = SCALED  # whose objective the others' are compared with
LONGER = 16  # an iteration of fastem takes some milliseconds

METHOD = f"""\
One iteration, wall: a fit of {LONG} iterations less a fit of {SHORT}, by {LONG - SHORT} ({LONGER}
in place of {LONG} for fastem); contenders in turn, rounds: {{rounds}}; ms and ratios are fastest /
median, and the fastest decide "reached". hmmlearn has one thread, and so has fastem where it is
compared; threads of the other column: {{threads}}. "Scaled" is implementation="scaling", and
hmmlearn alone its default, which works in log space. Of reading, an iteration is one call of decode
or score_samples on data that a model is given for. Objective: the largest relative difference of
the log-likelihood from that of hmmlearn, scaled, after equal iterations from the same start; it
must be at most {TOLERANCE:g}. dynamax has float32, one thread, is compiled before the clock starts,
and has priors that cannot be switched off, so that its objective is another. Who needs more than
{SLOW:g} s an iteration is not warmed up before. MiB beyond the data is the peak that a fit adds. A
dash: not measured, or lost in noise."""

NOTES = """\
Data: drawn from such a model, with states that last for some steps. Start, the same for all: the
true model, blurred. All settings are the classes' defaults, and equal.
Where dynamax is timed, JAX is loaded in the process whose memory is measured, and adds some."""


@dataclass(frozen=True)
class Case:
    """One row of the tables; `symbols` of categorical models, `n_mix` of mixtures."""

    name: str
    family: str
    n_sequences: int
    n_steps: int
    n_states: int
    n_features: int
    goals: tuple  # times hmmlearn scaled, times its default
    task: str = "fit"
    symbols: int = 32
    n_mix: int = 3

    @property
    def title(self):
        """What the tables print."""
        size = f"{self.n_sequences:,} × {self.n_steps:,}, K {self.n_states}"
        detail = f"{self.symbols} symbols" if self.family == "categorical" else None
        detail = detail or f"D {self.n_features}"
        return f"{self.task}: {self.family}, {size}, {detail}"

    def quick(self):
        """The same case on a tenth of the data."""
        if self.n_sequences > 1:
            return replace(self, n_sequences=self.n_sequences // 10)
        return replace(self, n_steps=max(100, self.n_steps // 10))


CASES = [
    Case("diag-8", "diag", 1, 1_000_000, 8, 4, (12, 30)),
    Case("full-8", "full", 1, 1_000_000, 8, 4, (12, 30)),
    Case("categorical-8", "categorical", 1, 1_000_000, 8, 1, (5.5, 30)),
    Case("poisson-8", "poisson", 1, 1_000_000, 8, 4, (7, 25)),
    Case("diag-16", "diag", 10_000, 100, 16, 4, (16, 120)),
    Case("full-16", "full", 10_000, 100, 16, 4, (60, 140)),
    Case("mixture-8", "mixture", 1, 100_000, 8, 4, (60, 60)),
    Case("short", "diag", 100_000, 5, 4, 2, (1, 1)),
    Case("tiny", "diag", 1, 100, 3, 2, (1, 1)),
    Case("viterbi-8", "diag", 1, 200_000, 8, 4, (5, 5), "viterbi"),
    Case("viterbi-16", "diag", 2_000, 100, 16, 4, (5, 5), "viterbi"),
    Case("posteriors-8", "diag", 1, 200_000, 8, 4, (10, 10), "posteriors"),
]
CLASSES = {"categorical": "CategoricalHMM", "poisson": "PoissonHMM", "mixture": "GMMHMM"}


@functools.cache
def data(case):
    """X, (n, D), the lengths, and the attributes that a model starts from."""
    rng = np.random.default_rng(0)
    n, k, d = case.n_sequences * case.n_steps, case.n_states, case.n_features
    trans = 0.1 * rng.dirichlet(np.ones(k), k) + 0.9 * np.eye(k)
    # Runs of one state: with probability 0.9 the state stays, otherwise the next is drawn.
    moves = rng.random(n) > 0.9
    drawn = rng.integers(k, size=n)
    states = drawn[np.maximum.accumulate(np.where(moves, np.arange(n), 0))]
    start = {"startprob_": np.full(k, 1 / k), "transmat_": 0.5 * trans + 0.5 / k}
    if case.family == "categorical":
        table = rng.dirichlet(np.full(case.symbols, 0.5), k)
        steps = table.cumsum(axis=1)[:, :-1]
        X = np.empty((n, 1), dtype=np.int64)
        for first in range(0, n, 100_000):
            part = states[first : first + 100_000]
            X[first : first + 100_000, 0] = (rng.random((len(part), 1)) > steps[part]).sum(axis=1)
        start["emissionprob_"] = 0.5 * table + 0.5 / case.symbols
    elif case.family == "poisson":
        rates = rng.gamma(2, 2, (k, d))
        X = rng.poisson(rates[states])
        start["lambdas_"] = 0.7 * rates + 0.3 * rates.mean(axis=0)
    else:
        means = 2 * rng.normal(size=(k, d))
        X = means[states] + rng.normal(size=(n, d))
        start |= _gaussian_start(case, means, rng)
    return np.ascontiguousarray(X), np.full(case.n_sequences, case.n_steps), start


def _gaussian_start(case, means, rng):
    """Means and covariances that a fit starts from."""
    k, d, m = case.n_states, case.n_features, case.n_mix
    if case.family == "mixture":
        return {
            "weights_": np.full((k, m), 1 / m),
            "means_": means[:, None] + rng.normal(size=(k, m, d)),
            "covars_": np.full((k, m, d), 1.5),
        }
    covariances = np.full((k, d), 1.5)
    if case.family == "full":
        covariances = np.tile(1.5 * np.eye(d), (k, 1, 1))
    return {"means_": 0.8 * means, "covars_": covariances}


def contenders(case, options):
    """All contenders on `case`, each a Contender whose fit(n_iter) starts from the same place."""
    import fastem

    found = []
    settings = [(ONE, 1)] * (options.threads > 1) + [(OURS, options.threads)]
    for name, n_jobs in settings:
        run = _runner(fastem, case, {"n_jobs": n_jobs})
        found.append(Contender(name, "float64", n_jobs, *run, tolerance=TOLERANCE, long=LONGER))
    if optional("hmmlearn.hmm", "GaussianHMM") is not None:
        hmmlearn = importlib.import_module("hmmlearn.hmm")
        for name, implementation in ((SCALED, "scaling"), (DEFAULT, "log")):
            run = _runner(hmmlearn, case, {"implementation": implementation})
            found.append(Contender(name, "float64", 1, *run, tolerance=TOLERANCE, settle=True))
    return found + _dynamax(case)


def _dynamax(case):
    """dynamax, of what it has: one long sequence, fitted."""
    names = {"diag": "DiagonalGaussianHMM", "full": "GaussianHMM"}
    names |= {"categorical": "CategoricalHMM", "poisson": "PoissonHMM"}
    if case.task != "fit" or case.family not in names or case.n_sequences > 1:
        return []
    threads = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ.setdefault("XLA_FLAGS", threads)  # before it is imported
    cls = optional("dynamax.hidden_markov_model", names[case.family])
    if cls is None:
        return []
    jax = importlib.import_module("jax")
    X, lengths, start = data(case)
    detail = {"categorical": (1, case.symbols)}.get(case.family, (case.n_features,))
    model = cls(case.n_states, *detail)
    emission = {
        "diag": {"emission_means": "means_", "emission_scale_diags": "covars_"},
        "full": {"emission_means": "means_", "emission_covariances": "covars_"},
        "categorical": {"emission_probs": "emissionprob_"},
        "poisson": {"emission_rates": "lambdas_"},
    }[case.family]
    values = {name: start[attribute] for name, attribute in emission.items()}
    if case.family == "diag":
        values["emission_scale_diags"] = np.sqrt(values["emission_scale_diags"])
    if case.family == "categorical":
        values["emission_probs"] = values["emission_probs"][:, None]
    single = {name: jax.numpy.asarray(value, "float32") for name, value in values.items()}
    params, props = model.initialize(
        initial_probs=jax.numpy.asarray(start["startprob_"], "float32"),
        transition_matrix=jax.numpy.asarray(start["transmat_"], "float32"),
        **single,
    )
    kind = "int32" if case.family == "categorical" else "float32"
    rows = jax.numpy.asarray(X.reshape(len(lengths), -1, X.shape[1]), kind)
    iterate = jax.jit(functools.partial(model.fit_em, props=props, num_iters=1, verbose=False))

    def fit(n_iter):
        now, history = params, []
        for _ in range(n_iter):
            now, value = iterate(now, emissions=rows)
            history.append(value[0])
        return np.array([float(value) for value in history])

    return [Contender(DYNAMAX, "float32", 1, fit, tolerance=np.inf)]


def _runner(library, case, settings):
    """fit(n_iter), or as many times reading, and the log-likelihoods that it comes to."""
    X, lengths, start = data(case)
    kind = {"covariance_type": case.family} if case.family in ("diag", "full") else {}
    if case.family == "mixture":
        kind = {"n_mix": case.n_mix, "covariance_type": "diag"}
    cls = getattr(library, CLASSES.get(case.family, "GaussianHMM"))

    def model(n_iter):
        made = cls(case.n_states, n_iter=n_iter, tol=-np.inf, init_params="", **kind, **settings)
        if case.family in ("categorical", "poisson"):
            made.n_features = case.symbols if case.family == "categorical" else case.n_features
        for name, value in start.items():
            setattr(made, name, value.copy())
        return made

    def run(n_iter):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has not converged
            logging.getLogger("hmmlearn").setLevel(logging.CRITICAL)
            if case.task == "fit":
                return np.array(model(n_iter).fit(X, lengths).monitor_.history)
            for _ in range(n_iter):
                if case.task == "viterbi":
                    value = model(1).decode(X, lengths)[0]
                else:
                    value = model(1).score_samples(X, lengths)[0]
            return np.array([value])

    return (run,)


# --------------------------------------------------------------------------------------- tables


def summary(row):
    """One line for the progress."""
    return ", ".join(f"{_pair(row, other)} x {other}" for other in (SCALED, DEFAULT))


def tables(rows, peak, options):
    """The tables of ratios and of absolute figures."""
    ratios = ["case", "task: family, sequences × steps"]
    for name in (SCALED, DEFAULT):
        ratios += [f"× {name}", "goal", "reached"]
    ratios.append(f"× {DYNAMAX}")
    absolute = ["case", f"ms, {ONE}", f"ms, {options.threads} threads", "× by threads"]
    absolute += [f"ms, {name}" for name in (SCALED, DEFAULT, DYNAMAX)]
    absolute += ["objective", "MiB beyond the data", "hmmlearn's"]
    return [(ratios, [_ratios(row) for row in rows]), (absolute, [_absolute(row) for row in rows])]


def _one(row):
    """Name of fastem on one thread among the results."""
    return ONE if row[ONE, "float64"] else OURS


def _pair(row, other):
    """How many times faster one thread is, from the fastest and from the median fits."""
    keys = (_one(row), "float64"), (other, "float64")
    return " / ".join(number(row.ratio(*keys, kind)) for kind in ("fastest", "typical"))


def _ratios(row):
    """Cells of the table of ratios."""
    cells = [row.case.name, row.case.title]
    for name, goal in zip((SCALED, DEFAULT), row.case.goals, strict=True):
        ratio = row.ratio((_one(row), "float64"), (name, "float64"))
        reached = "–" if ratio is None else "yes" if ratio >= goal else "no"
        cells += [_pair(row, name), number(goal), reached]
    return [*cells, number(row.ratio((_one(row), "float64"), (DYNAMAX, "float32")))]


def _absolute(row):
    """Cells of the table of absolute figures."""
    one, ours = row[_one(row), "float64"], row[OURS, "float64"]
    return [
        row.case.name,
        milliseconds(one),
        milliseconds(ours),
        number(row.ratio((OURS, "float64"), (_one(row), "float64"))),
        milliseconds(row[SCALED, "float64"]),
        milliseconds(row[DEFAULT, "float64"]),
        milliseconds(row[DYNAMAX, "float32"]),
        f"{row.gap(one):.0e}" if row[SCALED, "float64"] else "–",
        *(number(row.memory.get(name)) for name in MEMORY),
    ]
