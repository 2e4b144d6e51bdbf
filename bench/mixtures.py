"""Bench cases and contenders for mixtures of discrete distributions."""

import functools
import warnings
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
from _harness import (
    BASELINE,
    LONG,
    OURS,
    SHORT,
    TOLERANCE,
    Contender,
    milliseconds,
    number,
    optional,
)
from reference import discrete_mixture as reference

STEPMIX, ONE = "stepmix", "fastem, one thread"
PEERS = ("stepmix", "numpy", "scipy", "scikit-learn")  # whose versions the report names
MEMORY = (OURS, BASELINE)
LONGER = 64  # an iteration of fastem takes a millisecond: more of them rise out of the noise
GOALS = {BASELINE: None, STEPMIX: 20}  # the first is each case's own

METHOD = f"""\
One iteration, wall: a fit of {LONG} iterations less a fit of {SHORT}, by {LONG - SHORT} ({LONGER}
in place of {LONG} for fastem); contenders in turn, rounds: {{rounds}}; ms and ratios are fastest /
median, and the fastest decide "reached". Threads: {{threads}} where nothing else is said. Whole
fit: a fit of {LONGER} iterations (8 of CSR), with validation and coding of the data, which beside
one iteration is all that a fit of one iteration does; the others' are computed from such a one and
from their iterations. Objective: the largest
relative difference of the mean log-likelihood per sample from {BASELINE}'s (the textbook in
bench/reference, two matrix products an iteration) after equal iterations from the same start; it
must be at most {TOLERANCE:g}. MiB beyond the data is the peak that a fit adds. A dash: not
measured, or lost in noise."""

NOTES = """\
Data: drawn from such a mixture. Start, the same for all: one M-step from random responsibilities,
uniform on the simplex. stepmix has Bernoulli and categorical mixtures
alone: pip install stepmix."""


@dataclass(frozen=True)
class Case:
    """One row of the tables; categorical features have `scale` categories, counts that mean."""

    name: str
    family: str
    n_samples: int
    n_features: int
    n_components: int
    scale: int = 2
    goal: float = 3  # how many times faster than two matrix products an iteration should be
    n_counts: int = 0  # above 0 of a CSR array, for each sample; 0: dense
    long: int = LONGER  # iterations of fastem's long fit

    @property
    def title(self):
        """What the tables print."""
        return (
            f"{self.family}, {self.n_samples:,} × {self.n_features}, K {self.n_components}"
            + (f", {self.scale} categories" if self.family == "categorical" else "")
            + f", CSR of {self.n_counts} counts a sample" * (self.n_counts > 0)
        )

    @property
    def n_trials(self):
        """Trials of a binomial mixture."""
        return 10 if self.family == "binomial" else 1

    def quick(self):
        """The same case on a tenth of the samples."""
        return replace(self, n_samples=self.n_samples // 10)


CASES = [
    Case("bernoulli-20-5", "bernoulli", 100_000, 20, 5, goal=6),
    Case("bernoulli-100-20", "bernoulli", 50_000, 100, 20, goal=5),
    Case("bernoulli-784-10", "bernoulli", 5_000, 784, 10, goal=5),
    Case("bernoulli-2000-50", "bernoulli", 2_000, 2_000, 50),
    Case("binomial-10-4", "binomial", 100_000, 10, 4),
    Case("binomial-100-20", "binomial", 25_000, 100, 20),
    Case("categorical-20-5", "categorical", 100_000, 20, 5, 4),
    Case("categorical-200-20", "categorical", 5_000, 200, 20, 50),
    Case("multinomial-200-10", "multinomial", 20_000, 200, 10),
    Case("multinomial-csr", "multinomial", 10_000, 50_000, 100, goal=4, n_counts=120, long=8),
    Case("poisson-10-8", "poisson", 100_000, 10, 8, 4),
    Case("poisson-100-20", "poisson", 25_000, 100, 20, 4),
]


@functools.cache
def data(case):
    """X, (n, D) of float64, and the first parameters."""
    rng = np.random.default_rng(0)
    n, d, k = case.n_samples, case.n_features, case.n_components
    group = rng.integers(k, size=n)
    if case.n_counts:
        X = _sparse(case, rng, group)
        return X, _first(case, X, np.random.default_rng(1))
    if case.family == "categorical":
        steps = rng.dirichlet(np.ones(case.scale), (k, d)).cumsum(axis=2)
        X = np.empty((n, d))
        for j in range(d):
            X[:, j] = (rng.random((n, 1)) > steps[group, j, :-1]).sum(axis=1)
    elif case.family == "multinomial":
        X = rng.multinomial(rng.poisson(50, n), rng.dirichlet(np.full(d, 0.3), k)[group])
    elif case.family == "poisson":
        X = rng.poisson(case.scale * rng.gamma(1.0, 1.0, (k, d))[group])
    else:
        X = rng.binomial(case.n_trials, rng.uniform(0.05, 0.95, (k, d))[group])
    X = np.ascontiguousarray(X, dtype=np.float64)
    return X, _first(case, X, np.random.default_rng(1))


def _sparse(case, rng, group):
    """Counts of words by Zipf's law, which every group has in an order of its own; CSR."""
    n, d, size = case.n_samples, case.n_features, case.n_samples * case.n_counts
    share = 1 / np.arange(1, d + 1)
    rank = rng.choice(d, size, p=share / share.sum())
    order = np.argsort(rng.random((case.n_components, d)), axis=1)
    columns = order[np.repeat(group, case.n_counts), rank].astype(np.int32)
    begin = np.arange(0, size + 1, case.n_counts)
    X = sp.csr_array((np.ones(size), columns, begin), shape=(n, d))
    X.sum_duplicates()
    return X


def _first(case, X, rng):
    """One M-step from random responsibilities."""
    r = rng.dirichlet(np.ones(case.n_components), X.shape[0])
    known = np.repeat(r.sum(axis=0)[:, np.newaxis], case.n_features, axis=1)
    if case.family == "categorical":
        first = np.stack([r.T @ reference.one_hot(X, c) for c in range(case.scale)], axis=2)
    else:
        first = (X.T @ r).T
    stats = {"resp": r.sum(axis=0), "weight": X.shape[0], "first": first, "known": known}
    return reference.m_step(stats, case.family, case.n_trials)


def contenders(case, options):
    """All contenders on `case`, each a Contender whose fit(n_iter) starts from the same place."""
    X, start = data(case)
    found = []
    for dtype in options.dtype:
        for name, n_jobs in _settings(options):
            fit = _fastem(case, X.astype(dtype), start, n_jobs)
            # The data are integers, exact in float32 too, and the sums float64.
            found.append(Contender(name, dtype, n_jobs, fit, tolerance=TOLERANCE, long=case.long))
    found.append(Contender(BASELINE, "float64", options.threads, _baseline(case, X, start)))
    wanted = options.memory is None or options.memory.startswith(STEPMIX)
    if wanted and case.family in ("bernoulli", "categorical"):
        stepmix = optional("stepmix", "StepMix", _attempt)
        if stepmix is not None:
            fit, bounds = _stepmix(stepmix, case, X, start)
            # It keeps probabilities away from 0 and 1, which those of many features reach.
            loose = Contender(STEPMIX, "float64", options.threads, fit, bounds, tolerance=1e-4)
            found.append(loose)
    return found


def _settings(options):
    """(name, threads) of fastem: one thread beside the threads that were asked for."""
    return [(ONE, 1)] * (options.threads > 1) + [(OURS, options.threads)]


def _fastem(case, X, start, n_jobs):
    """fit(n_iter) of fastem's class, which returns the bounds."""
    import fastem

    cls = getattr(fastem, f"{case.family.title()}Mixture")
    name = "rates_init" if case.family == "poisson" else "probabilities_init"
    settings = {name: start.values, "weights_init": start.weights, "tol": 0, "n_jobs": n_jobs}
    if case.family == "binomial":
        settings["n_trials"] = case.n_trials

    def fit(n_iter):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has not converged
            return cls(case.n_components, max_iter=n_iter, **settings).fit(X).lower_bounds_

    return fit


def _baseline(case, X, start):
    """fit(n_iter) of the textbook."""

    def fit(n_iter):
        return reference.fit(X, start, case.family, n_iter, case.n_trials)[1]

    return fit


def _stepmix(stepmix, case, X, start):
    """fit(n_iter) and bounds(n_iter) of stepmix, put to the start in place of its own."""
    X = X.astype(np.int64)
    measurement = {"bernoulli": "binary", "categorical": "categorical"}[case.family]

    class Started(stepmix):
        """Begins at the given parameters."""

        def _initialize_parameters(self, X, random_state):
            super()._initialize_parameters(X, random_state)
            self.weights_ = start.weights.copy()
            self._mm.parameters["pis"] = start.values.reshape(case.n_components, -1).copy()

    def fit(n_iter):
        model = Started(
            case.n_components,
            measurement=measurement,
            max_iter=n_iter,
            abs_tol=0,
            rel_tol=0,
            progress_bar=0,
            random_state=0,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return model.fit(X)

    def bounds(n_iter):
        return [fit(n_iter - 1).score(X)]

    return fit, bounds


def _attempt(stepmix):
    """Run stepmix on four samples."""
    X = np.array([[0, 1], [1, 0], [1, 1], [0, 0]])
    stepmix(2, measurement="binary", progress_bar=0, random_state=0).fit(X)


# --------------------------------------------------------------------------------------- tables


def summary(row):
    """One line for the progress."""
    return ", ".join(f"{_pair(row, other)} x {other}" for other in GOALS)


def tables(rows, peak, options):
    """The tables of ratios and of absolute figures."""
    ratios = ["case", "family: samples × features"]
    for name, goal in GOALS.items():
        ratios += [f"× {name}", "goal" if goal is None else f"goal {goal} reached"]
    ratios += [f"× {name}, whole fit" for name in GOALS]
    ratios += [f"× {BASELINE}, five iterations", "coding, in iterations"]
    absolute = ["case", "ms, float64", "ms, float32", f"ms, {ONE}"]
    absolute += [*(f"ms, {name}" for name in GOALS), "objective, float64", STEPMIX]
    absolute += ["MiB beyond the data", f"{BASELINE}'s"]
    return [(ratios, [_ratios(row) for row in rows]), (absolute, [_absolute(row) for row in rows])]


def _ratios(row):
    """Cells of the table of ratios, float64 all."""
    cells = [row.case.name, row.case.title]
    for name, goal in GOALS.items():
        ratio, own = row.ratio((OURS, "float64"), (name, "float64")), goal or row.case.goal
        reached = "–" if ratio is None else "yes" if ratio >= own else "no"
        cells += [_pair(row, name), f"{own:g}: {reached}" if goal is None else reached]
    return cells + [_whole(row, name) for name in GOALS] + [_five(row), _coding(row)]


def _pair(row, other):
    """How many times faster, from the fastest and from the median fits."""
    keys = (OURS, "float64"), (other, "float64")
    return " / ".join(number(row.ratio(*keys, kind)) for kind in ("fastest", "typical"))


def _whole(row, other):
    """How many times faster a whole long fit is, with start-up and validation."""
    ours, theirs = row[OURS, "float64"], row[other, "float64"]
    if not (ours and theirs):
        return "–"
    return number((min(theirs.short) + (row.case.long - SHORT) * theirs.fastest) / ours.whole)


def _five(row):
    """How many times faster a fit of five iterations is than the baseline's."""
    ours, theirs = row[OURS, "float64"], row[BASELINE, "float64"]
    if not (ours and theirs):
        return "–"
    five = [min(r.short) + (5 - SHORT) * r.fastest for r in (theirs, ours)]
    return number(five[0] / five[1])


def _coding(row):
    """What a fit of one iteration takes beside it: validation and coding, in iterations."""
    ours = row[OURS, "float64"]
    return "–" if ours is None else number(min(ours.short) / ours.fastest - SHORT)


def _absolute(row):
    """Cells of the table of absolute figures."""
    results = [row[OURS, "float64"], row[OURS, "float32"], row[ONE, "float64"]]
    results += [row[name, "float64"] for name in GOALS]
    gaps = [row[OURS, "float64"], row[STEPMIX, "float64"]]
    return [
        row.case.name,
        *map(milliseconds, results),
        *(f"{row.gap(result):.0e}" if result else "–" for result in gaps),
        *(number(row.memory.get(name)) for name in MEMORY),
    ]
