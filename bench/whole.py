"""Bench cases and contenders for what people wait for: whole default fits, small ones, serving."""

import statistics
import warnings
from dataclasses import dataclass, field, replace

import numpy as np
from _harness import OURS, PEER, TOLERANCE, Contender, number, optional

PEERS = (PEER, "numpy", "scipy")  # whose versions the report names

METHOD = f"""\
Wall milliseconds of a whole call, validation and start included, fastest / median; contenders in
turn, warm, rounds: {{rounds}}. Ratios are fastem against {PEER} on data of the same dtype, from
the fastest calls (these decide "reached") and from the medians; {PEER} is at its better BLAS
setting, of 1 and {{threads}} threads. Both do the same iterations, from the same start. Difference:
relative, of the bound or inertia of a fit, or of the squares of what a reading returns, summed;
float64 must agree to {TOLERANCE:g}. MiB beyond X is the peak that a call adds, the start
included."""

NOTES = """\
Data: spherical clusters in random order, their means' standard deviation 1 and their own per
feature between 0.5 and 1.5; `iris` are Fisher's. A fit has the defaults but for what its line says,
and random_state=0. Serving reads the first rows of the data by a fitted estimator."""


@dataclass(frozen=True)
class Case:
    """One call of one class of both libraries; `rows` are those that a fitted one reads."""

    name: str
    goal: float
    module: str
    cls: str
    n_samples: int  # 0: iris
    n_features: int
    n_components: int
    settings: dict = field(default_factory=dict)
    method: str = "fit"
    rows: int = 0
    dtypes: tuple = ("float64",)

    @property
    def title(self):
        """What the table prints."""
        data = f"{self.n_samples:,} × {self.n_features}" if self.n_samples else "iris"
        words = [f"{self.cls} {data} K {self.n_components}"]
        words += [f"{name}={value}" for name, value in self.settings.items()]
        if self.rows:
            words.append(f"{self.method} of {self.rows} row{'s' * (self.rows > 1)}")
        return ", ".join(words)

    def quick(self):
        """The same case on few samples."""
        least = 4 * self.n_components
        return replace(self, n_samples=self.n_samples and max(self.n_samples // 20, least))


def _serving():
    """Cases of one row and of a hundred."""
    models = [
        ("gm-iris", "sklearn.mixture", "GaussianMixture", 0, 4, 3, "predict_proba"),
        ("gm-d32", "sklearn.mixture", "GaussianMixture", 5_000, 32, 16, "predict_proba"),
        ("bayes-iris", "sklearn.mixture", "BayesianGaussianMixture", 0, 4, 3, "predict_proba"),
        ("kmeans-iris", "sklearn.cluster", "KMeans", 0, 4, 3, "predict"),
    ]
    return [
        Case(f"{name}-{rows}", goal, module, cls, n, d, k, {}, method, rows)
        for name, module, cls, n, d, k, method in models
        for rows, goal in ((1, 2), (10, 2), (100, 3))
    ]


_MIXTURE, _CLUSTER = "sklearn.mixture", "sklearn.cluster"
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
    Case("gm-20", 4, _MIXTURE, "GaussianMixture", 20, 2, 2),
    Case("gm-iris", 4, _MIXTURE, "GaussianMixture", 0, 4, 3),
    Case("kmeans-iris", 1.5, _CLUSTER, "KMeans", 0, 4, 3),
    Case("kmeans-iris-restarts", 2, _CLUSTER, "KMeans", 0, 4, 3, {"n_init": 10}),
    Case("kmeans-1k", 1.5, _CLUSTER, "KMeans", 1_000, 10, 5),
    Case("kmeans-1k-restarts", 2, _CLUSTER, "KMeans", 1_000, 10, 5, {"n_init": 10}),
    *_serving(),
]  # fmt: skip


def sample(case, dtype="float64"):
    """Samples (n, D) of `dtype`."""
    if not case.n_samples:
        from sklearn.datasets import load_iris

        return load_iris().data.astype(dtype)
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(case.n_components, case.n_features))
    widths = rng.uniform(0.5, 1.5, size=(1, case.n_features))
    labels = rng.integers(case.n_components, size=case.n_samples)
    noise = rng.normal(size=(case.n_samples, case.n_features))
    return (centers[labels] + widths * noise).astype(dtype)


def contenders(case, options):
    """Both libraries, each with the dtypes of the case; the peer with 1 and all BLAS threads."""
    import fastem

    found = []
    for dtype in [name for name in case.dtypes if name == "float64" or name in options.dtype]:
        X = sample(case, dtype)
        ours = getattr(fastem, case.cls)
        found.append(Contender(OURS, dtype, options.threads, _call(case, ours, X)))
        peer = optional(case.module, case.cls)
        for threads in dict.fromkeys((1, options.threads)) if peer else ():
            found.append(Contender(PEER, dtype, threads, _call(case, peer, X)))
    return found


def _call(case, cls, X):
    """fit(_) of the harness: one whole call, which returns what both libraries must agree on."""
    size = "n_clusters" if case.cls == "KMeans" else "n_components"
    model = cls(random_state=0, **{size: case.n_components}, **case.settings)
    if case.rows:
        read = getattr(_quietly(model.fit, X), case.method)
        rows = X[: case.rows].copy()
        return lambda _: [float(np.sum(read(rows) ** 2))]

    def fit(_):
        _quietly(model.fit, X)
        return [model.inertia_ if hasattr(model, "inertia_") else model.lower_bound_]

    return fit


def _quietly(call, *arguments):
    """What a call returns, without its warnings that few iterations were not enough."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call(*arguments)


def seconds(row, name, dtype):
    """All whole calls of a library at its better setting, or None."""
    found = [r for r in row.results if r.key == (name, dtype)]
    best = min(found, key=lambda r: min(r.short + r.long), default=None)
    return best and best.short + best.long


_HEADER = [
    "case", "what", "dtype", f"goal × {PEER}", "fastest", "median", "reached", "ms", f"ms, {PEER}",
    "difference", "MiB beyond X", f"{PEER}'s",
]  # fmt: skip


def summary(row):
    """One line for the progress."""
    gains = [number(_gain(row, dtype, min)) for dtype in row.case.dtypes]
    return f"{' / '.join(gains)} x {PEER} (goal {row.case.goal:g})"


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
    gain = _gain(row, dtype, min)
    result = next(r for r in row.results if r.key == (OURS, dtype))
    return [
        row.case.name, row.case.title, dtype, f"{row.case.goal:g}", number(gain),
        number(_gain(row, dtype, statistics.median)),
        "–" if gain is None else "yes" if gain >= row.case.goal else "no",
        _both(ours), _both(peer), f"{row.gap(result):.0e}",
        *(number(row.memory.get(name)) if dtype == "float64" else "–" for name in (OURS, PEER)),
    ]  # fmt: skip


def _both(times):
    """Milliseconds, fastest / median."""
    if not times:
        return "–"
    return f"{number(1e3 * min(times))} / {number(1e3 * statistics.median(times))}"
