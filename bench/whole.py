"""Bench cases and contenders for what people wait for: whole default fits, small ones, serving."""

import logging
import statistics
import warnings
from dataclasses import dataclass, field, replace

import numpy as np
import scipy.sparse as sp
from _harness import LONG, OURS, PEER, SHORT, TOLERANCE, Contender, number, optional

PEERS = (PEER, "hmmlearn", "numpy", "scipy")  # whose versions the report names
REFERENCE = OURS  # where there is no peer to agree with
_ITERATIONS = 200  # by which two fits differ whose difference is an iteration's time

METHOD = f"""\
Wall milliseconds of a whole call, validation and start included, fastest / median; contenders in
turn, warm, rounds: {{rounds}}. Ratios are fastem against {PEER} on data of the same dtype, from
the fastest calls (these decide "reached") and from the medians; {PEER} is at its better BLAS
setting, of 1 and {{threads}} threads. Both do the same iterations, from the same start. Difference:
relative, of the bound or inertia of a fit, or of the squares of what a reading returns, summed;
float64 must agree to {TOLERANCE:g} (LDA to 1e-6: scikit-learn's digamma has eight digits). MiB
beyond X is the peak that a fit adds, the start included.
A goal in µs is the time of one call, or of one iteration: a fit of many iterations less one of a
few, by the difference. Of hidden Markov models the peer is hmmlearn, scaled."""

NOTES = """\
Data: spherical clusters in random order, their means' standard deviation 1 and their own per
feature between 0.5 and 1.5; `iris` are Fisher's. Bits say which of these numbers are above 0;
counts are Poisson numbers with their exponentials as means, at most 20; categories are four, by
quartiles; documents have 60 words each, drawn alike. A fit has the defaults but for what its line
says, and random_state=0. Serving reads the first rows of the data by a fitted estimator."""


@dataclass(frozen=True)
class Case:
    """One call of one class, of both libraries where both have it.

    `goal` is how many times faster than the peer it should be; or else `most` how many
    microseconds it may take. `rows` are those that a fitted estimator reads.
    """

    name: str
    goal: float | None
    module: str | None  # of the peer
    cls: str
    n_samples: int  # 0: iris
    n_features: int
    n_components: int
    settings: dict = field(default_factory=dict)
    method: str = "fit"  # "iteration": that of a fit
    rows: int = 0
    dtypes: tuple = ("float64",)
    data: str = "clusters"
    most: float | None = None
    arguments: dict = field(default_factory=dict)  # of fit

    @property
    def title(self):
        """What the table prints."""
        data = f"{self.n_samples:,} × {self.n_features:,}" if self.n_samples else "iris"
        words = [f"{self.cls} {data} K {self.n_components}"]
        words += [f"{name}={value}" for name, value in self.settings.items()]
        if self.rows:
            words.append(f"{self.method} of {self.rows} row{'s' * (self.rows > 1)}")
        elif self.method != "fit":
            words.append("an iteration")
        return ", ".join(words)

    @property
    def memory(self):
        """Whose memory is measured: what reading takes, or an iteration, nobody waits for."""
        return (OURS, PEER) if self.method == "fit" else ()

    def quick(self):
        """The same case on few samples."""
        least = 4 * self.n_components
        few = 20 if self.data == "clusters" else 1
        return replace(self, n_samples=self.n_samples and max(self.n_samples // few, least))

    def reached(self, seconds, gain):
        """Return whether the goal is, or None where there is none."""
        if self.goal is None:
            return None if self.most is None else 1e6 * seconds <= self.most
        return None if gain is None else gain >= self.goal


_MIXTURE, _CLUSTER, _TOPICS = "sklearn.mixture", "sklearn.cluster", "sklearn.decomposition"
_CHAIN = "hmmlearn.hmm"
_SMALL_FAMILIES = {
    "bernoulli": ("BernoulliMixture", "bits", {}),
    "binomial": ("BinomialMixture", "counts", {"n_trials": 20}),
    "poisson": ("PoissonMixture", "counts", {}),
    "categorical": ("CategoricalMixture", "categories", {}),
    "multinomial": ("MultinomialMixture", "counts", {}),
}


def _serving():
    """Cases of one row, of ten and of a hundred."""
    mixture, kmeans = ("predict", "predict_proba", "score_samples"), ("predict", "transform")
    models = [
        ("gm-iris", _MIXTURE, "GaussianMixture", 0, 4, 3, mixture),
        ("gm-d32", _MIXTURE, "GaussianMixture", 5_000, 32, 16, mixture),
        ("bayes-iris", _MIXTURE, "BayesianGaussianMixture", 0, 4, 3, mixture),
        ("bayes-d32", _MIXTURE, "BayesianGaussianMixture", 5_000, 32, 16, mixture),
        ("kmeans-iris", _CLUSTER, "KMeans", 0, 4, 3, kmeans),
        ("kmeans-d32", _CLUSTER, "KMeans", 5_000, 32, 16, kmeans),
    ]
    found = [
        Case(f"{name}-{method.split('_')[-1]}-{rows}", goal, module, cls, n, d, k, {}, method, rows)
        for name, module, cls, n, d, k, methods in models
        for method in methods
        for rows, goal in ((1, 2), (10, 2), (100, 3))
    ]
    once = {"max_iter": 1, "learning_method": "batch"}
    for name, v, k in (("lda-2k", 2_000, 50), ("lda-50k", 50_000, 100)):
        found += [
            Case(f"{name}-{rows}", goal, _TOPICS, "LatentDirichletAllocation", 300, v, k, once,
                 "transform", rows, data="documents")
            for rows, goal in ((1, 2), (10, 2), (100, 8))
        ]  # fmt: skip
    found += [
        Case(f"plsa-2k-{rows}", None, None, "PLSA", 300, 2_000, 50, {"max_iter": 2}, "transform",
             rows, data="documents")
        for rows in (1, 10, 100)
    ]  # fmt: skip
    return found + [
        Case(f"{name}-{d}-{rows}", None, None, cls, 1_000, d, 5, settings, "predict_proba", rows,
             data=data, most=150 if rows <= 10 else None)
        for name, (cls, data, settings) in _SMALL_FAMILIES.items()
        for d in (20, 100)
        for rows in (1, 10, 100)
    ]  # fmt: skip


def _iterations():
    """Cases of one iteration on 20 samples of two features."""
    lda, kinds = "LatentDirichletAllocation", ("full", "tied", "diag", "spherical")
    models = {
        name: (cls, data, {**settings, "tol": 0})
        for name, (cls, data, settings) in _SMALL_FAMILIES.items()
    }
    for short, cls in (("gm", "GaussianMixture"), ("bayes", "BayesianGaussianMixture")):
        for kind in kinds:
            settings = {"covariance_type": kind, "reg_covar": 1e-3, "tol": 0}
            models[f"{short}-{kind}"] = cls, "clusters", settings
    models |= {
        "lda-batch": (lda, "counts", {"learning_method": "batch"}),
        "lda-cvb0": (lda, "counts", {"learning_method": "cvb0"}),
        "plsa": ("PLSA", "counts", {"tol": 0}),
        "gaussian-lda": ("GaussianLDA", "clusters", {"tol": 0, "reg_covar": 1e-3}),
    }
    arguments = {"gaussian-lda": {"lengths": [5] * 4}}
    return [
        Case(f"iteration-{name}", None, None, cls, 20, 2, 2, settings, "iteration", data=data,
             most=30, arguments=arguments.get(name, {}))
        for name, (cls, data, settings) in models.items()
    ]  # fmt: skip


_BOTH = ("float64", "float32")
CASES = [
    Case("gm-10k", 8, _MIXTURE, "GaussianMixture", 10_000, 10, 10),
    Case("gm-100k", 20, _MIXTURE, "GaussianMixture", 100_000, 10, 10),
    Case("gm-d32", 10, _MIXTURE, "GaussianMixture", 100_000, 32, 16),
    Case("gm-restarts", 12, _MIXTURE, "GaussianMixture", 50_000, 8, 8, {"n_init": 10}),
    Case(
        "gm-diag-restarts", 6, _MIXTURE, "GaussianMixture", 50_000, 8, 8,
        {"n_init": 10, "covariance_type": "diag"},
    ),
    Case(
        "bayes-10k", 8, _MIXTURE, "BayesianGaussianMixture", 10_000, 10, 10,
    ),
    Case("start-d16", 5, _CLUSTER, "KMeans", 100_000, 16, 256, {"max_iter": 1}, dtypes=_BOTH),
    Case("start-d64", 5, _CLUSTER, "KMeans", 100_000, 64, 256, {"max_iter": 1}, dtypes=_BOTH),
    Case("kmeans-k256", 5, _CLUSTER, "KMeans", 50_000, 32, 256, {"max_iter": 10}, dtypes=_BOTH),
    *(
        Case(f"hmm-{name}", 2, _CHAIN, "GaussianHMM", n, d, k, {"implementation": "scaling"})
        for name, n, d, k in (("100", 100, 2, 3), ("1k", 1_000, 4, 4), ("100k", 100_000, 4, 8))
    ),
    Case("gm-20", 4, _MIXTURE, "GaussianMixture", 20, 2, 2),
    Case("gm-iris", 4, _MIXTURE, "GaussianMixture", 0, 4, 3),
    Case("gm-1k", 4, _MIXTURE, "GaussianMixture", 1_000, 10, 5),
    Case("kmeans-iris", 1.5, _CLUSTER, "KMeans", 0, 4, 3),
    Case("kmeans-iris-restarts", 2, _CLUSTER, "KMeans", 0, 4, 3, {"n_init": 10}),
    Case("kmeans-1k", 1.5, _CLUSTER, "KMeans", 1_000, 10, 5),
    Case("kmeans-1k-restarts", 2, _CLUSTER, "KMeans", 1_000, 10, 5, {"n_init": 10}),
    *_iterations(),
    *_serving(),
]  # fmt: skip


def sample(case, dtype="float64"):
    """Samples (n, D) of `dtype`; documents in CSR."""
    if not case.n_samples:
        from sklearn.datasets import load_iris

        return load_iris().data.astype(dtype)
    rng = np.random.default_rng(0)
    if case.data == "documents":
        row, shape = np.repeat(np.arange(case.n_samples), 60), (case.n_samples, case.n_features)
        words = rng.integers(case.n_features, size=len(row))
        return sp.coo_array((np.ones(len(row), dtype), (row, words)), shape=shape).tocsr()
    centers = rng.normal(size=(case.n_components, case.n_features))
    widths = rng.uniform(0.5, 1.5, size=(1, case.n_features))
    labels = rng.integers(case.n_components, size=case.n_samples)
    noise = rng.normal(size=(case.n_samples, case.n_features))
    X = centers[labels] + widths * noise
    if case.data == "bits":
        X = X > 0
    elif case.data == "counts":
        X = np.minimum(rng.poisson(np.exp(X)), 20)
    elif case.data == "categories":
        X = (X[:, None] > np.quantile(X, [[0.25], [0.5], [0.75]])).sum(axis=1)
    return X.astype(dtype)


def contenders(case, options):
    """Both libraries, each with the dtypes of the case; the peer with 1 and all BLAS threads."""
    import fastem

    found = []
    for dtype in [name for name in case.dtypes if name == "float64" or name in options.dtype]:
        X = sample(case, dtype)
        ours = getattr(fastem, case.cls)
        long = SHORT + _ITERATIONS if case.method == "iteration" else SHORT
        call = _call(case, ours, X)
        # scikit-learn's digamma is off by up to 2.4e-9, and what documents read amplifies that.
        tolerance = 1e-6 if case.cls == "LatentDirichletAllocation" else None
        found.append(
            Contender(OURS, dtype, options.threads, call, tolerance=tolerance, long=max(long, LONG))
        )
        peer = case.module and optional(case.module, case.cls)
        for threads in dict.fromkeys((1, options.threads)) if peer else ():
            found.append(Contender(PEER, dtype, threads, _call(case, peer, X)))
    return found


def _call(case, cls, X):
    """fit(_) of the harness: one whole call, which returns what both libraries must agree on."""
    size = "n_clusters" if case.cls == "KMeans" else "n_components"
    model = cls(random_state=0, **{size: case.n_components}, **case.settings)
    if case.method == "iteration":
        return lambda n_iter: _bounds(model.set_params(max_iter=n_iter), X, case)
    if case.rows:
        read = getattr(_quietly(model.fit, X), case.method)
        rows = X[: case.rows].copy()
        return lambda _: [float(np.sum(read(rows) ** 2))]

    def fit(_):
        _quietly(model.fit, X, **case.arguments)
        return [_objective(model)]

    return fit


def _objective(model):
    """The inertia, the log-likelihood that hmmlearn's monitor has seen, or the bound."""
    if hasattr(model, "monitor_"):
        return model.monitor_.history[-1]
    return model.inertia_ if hasattr(model, "inertia_") else model.lower_bound_


def _bounds(model, X, case):
    """The bounds that a fit saw, or where it ended."""
    _quietly(model.fit, X, **case.arguments)
    return np.atleast_1d(getattr(model, "lower_bounds_", 0.0))[-1:]


def _quietly(call, *arguments, **settings):
    """What a call returns, without its warnings that few iterations were not enough."""
    logging.getLogger("hmmlearn").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call(*arguments, **settings)


def seconds(row, name, dtype):
    """All whole calls of a library at its better setting, or an iteration's; or None."""
    found = [r for r in row.results if r.key == (name, dtype)]
    if found and row.case.method == "iteration":
        return [found[0].fastest, found[0].typical, found[0].typical]
    best = min(found, key=lambda r: min(r.short + r.long), default=None)
    return best and best.short + best.long


_HEADER = [
    "case", "what", "dtype", f"goal × {PEER}, or µs", "fastest", "median", "reached", "ms",
    f"ms, {PEER}", "difference", "MiB beyond X", f"{PEER}'s",
]  # fmt: skip


def summary(row):
    """One line for the progress."""
    case = row.case
    if case.goal is None:
        took = seconds(row, OURS, "float64")
        return f"{number(1e6 * min(took))} us (goal {number(case.most)})"
    gains = [number(_gain(row, dtype, min)) for dtype in case.dtypes]
    return f"{' / '.join(gains)} x {PEER} (goal {case.goal:g})"


def _gain(row, dtype, of):
    ours, peer = seconds(row, OURS, dtype), seconds(row, PEER, dtype)
    return of(peer) / of(ours) if ours and peer else None


def tables(rows, peak, options):
    """One table, a line for each dtype."""
    lines = [_line(row, dtype) for row in rows for dtype in row.case.dtypes]
    return [(_HEADER, [line for line in lines if line])]


def _line(row, dtype):
    """Cells of one case in one dtype."""
    ours, peer = seconds(row, OURS, dtype), seconds(row, PEER, dtype)
    if ours is None:
        return None
    case, gain = row.case, _gain(row, dtype, min)
    reached = {None: "–", True: "yes", False: "no"}[case.reached(min(ours), gain)]
    goal = f"{number(case.most)} µs" if case.goal is None else f"{case.goal:g}"
    result = next(r for r in row.results if r.key == (OURS, dtype))
    return [
        case.name, case.title, dtype, goal, number(gain),
        number(_gain(row, dtype, statistics.median)), reached,
        _both(ours), _both(peer), f"{row.gap(result):.0e}",
        *(number(row.memory.get(name)) if dtype == "float64" else "–" for name in (OURS, PEER)),
    ]  # fmt: skip


def _both(times):
    """Milliseconds, fastest / median."""
    if not times:
        return "–"
    return f"{number(1e3 * min(times))} / {number(1e3 * statistics.median(times))}"
