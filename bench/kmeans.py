"""Bench cases and contenders for KMeans."""

import warnings
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
import scipy.sparse as sp
from _harness import (
    BASELINE,
    LONG,
    OURS,
    PEER,
    SHORT,
    TOLERANCE,
    Contender,
    milliseconds,
    number,
    optional,
    progress,
)
from reference import kmeans as reference
from threadpoolctl import threadpool_limits

PEERS = (PEER, "numpy", "scipy")  # whose versions the report names

METHOD = f"""\
Lloyd iteration, wall: a fit of {LONG} iterations less a fit of {SHORT} (D = 2: more), by their
difference; contenders in turn, warm, rounds: {{rounds}}; ms are fastest / median. Ratios are fastem
against {PEER} of the same dtype, from the fastest fits (these decide "reached") and from the
medians. Inertias are compared after equal iterations from one start: float64 must agree to
{TOLERANCE:g}."""

NOTES = """\
Overlapping spherical clusters; the first rows are the first centers, and no fit of these lengths
has settled so far that rows are passed over. CSR rows are like texts, of unit length: features are
drawn by Zipf's law, 3 of 10 of them in an order that is the cluster's own."""


@dataclass(frozen=True)
class Case:
    """Samples from K equal spheres, or sparse rows of which a share of the features is not 0.

    Goals are ratios to scikit-learn in float64 and float32.
    """

    name: str
    goal: float
    goal32: float
    n_samples: int
    n_features: int
    n_clusters: int
    long: int = LONG
    share: float = 0.0  # of features that a sparse row has; 0: rows are dense

    @property
    def title(self):
        """What the table prints."""
        kind = f"CSR, {self.share:.0%} of them, " if self.share else ""
        return f"{self.n_samples:,} × {self.n_features:,}, {kind}K {self.n_clusters}"

    def quick(self):
        """The same case on few samples."""
        return replace(self, n_samples=max(self.n_samples // 20, 4 * self.n_clusters))


CASES = [
    Case("d2", 4.5, 6.5, 1_000_000, 2, 8, 31),
    Case("d16", 2.5, 3.2, 1_000_000, 16, 64),
    Case("d64", 1.6, 1.8, 200_000, 64, 256),
    Case("d256", 1.0, 1.0, 50_000, 256, 1000),
    Case("d512-k64", 1.0, 1.0, 10_000, 512, 64, 10),
    Case("d512-k512", 1.0, 1.0, 5_000, 512, 512, 10),
    Case("sparse-k8", 2.0, 2.0, 20_000, 5_000, 8, 8, share=0.01),
    Case("sparse-k64", 12.0, 12.0, 20_000, 5_000, 64, 8, share=0.01),
    Case("sparse-k256", 6.0, 6.0, 5_000, 20_000, 256, 6, share=0.01),
]


def sample(case, dtype="float64"):
    """Samples (n, D) of `dtype`, and the first centers."""
    if case.share:
        X = sparse_rows(case).astype(dtype)
        return X, X[: case.n_clusters].toarray()
    rng = np.random.default_rng(0)
    shape = case.n_samples, case.n_features
    centers = rng.normal(size=(case.n_clusters, case.n_features))
    X = (centers[rng.integers(case.n_clusters, size=shape[0])] + rng.normal(size=shape)).astype(
        dtype
    )
    return X, X[: case.n_clusters].copy()


def sparse_rows(case):
    """Rows like those of texts: words are more or less frequent, 3 of 10 by the cluster."""
    rng = np.random.default_rng(0)
    n, d, k = case.n_samples, case.n_features, case.n_clusters
    entries = n, round(case.share * d)
    frequency = np.cumsum(1 / np.arange(1, d + 1) ** 0.8)
    words = np.searchsorted(frequency, frequency[-1] * rng.random(entries)).clip(max=d - 1)
    order = np.array([rng.permutation(d) for _ in range(k)])[rng.integers(k, size=n)]
    words = np.where(rng.random(entries) < 0.3, np.take_along_axis(order, words, axis=1), words)
    begins = np.arange(0, words.size + 1, entries[1], dtype=np.int32)
    values = rng.gamma(4.0, 0.25, words.size), words.ravel().astype(np.int32), begins
    X = sp.csr_array(values, shape=(n, d))
    X.sum_duplicates()
    return sp.csr_array(X / np.sqrt(X.power(2).sum(axis=1))[:, None])


def contenders(case, options):
    """All contenders on `case`, each a Contender whose fit(n_iter) returns the last inertia."""
    from fastem import KMeans

    found = []
    peer = optional("sklearn.cluster", "KMeans")
    for dtype in dict.fromkeys(("float64", *options.dtype)):
        X, start = sample(case, dtype)
        for name, cls in ((OURS, KMeans), (PEER, peer)):
            if cls is not None and not (name == OURS and dtype not in options.dtype):
                fit, settle = estimator(cls, X, start), case.share > 0  # its tables are large
                found.append(
                    Contender(name, dtype, options.threads, fit, long=case.long, settle=settle)
                )
        if not case.share:
            found += others(case, dtype, X, start, options.threads)
    if case.n_features * case.n_clusters <= 1024:
        X, start = sample(case)
        fit = textbook(X, start)
        found.append(Contender(BASELINE, "float64", 1, fit, long=case.long))
    return found


def others(case, dtype, X, start, threads):
    """Further peers, where they are installed; faiss knows float32 alone."""
    found = []
    intel = optional("sklearnex.cluster", "KMeans")
    if intel is not None:
        fit = estimator(intel, X, start)
        found.append(Contender("sklearnex", dtype, threads, fit, long=case.long))
    faiss = optional("faiss", "Kmeans") if dtype == "float32" else None
    if faiss is not None:
        fit = faiss_fit(faiss, X, start)
        found.append(Contender("faiss", dtype, threads, fit, long=case.long))
    return found


def faiss_fit(cls, X, start):
    """fit(n_iter) of faiss, of all samples: the final inertia."""

    def fit(n_iter):
        model = cls(
            X.shape[1],
            len(start),
            niter=n_iter,
            min_points_per_centroid=1,
            max_points_per_centroid=len(X),
        )
        model.train(X, init_centroids=start)
        return [float(model.index.search(X, 1)[0].sum(dtype=float))]

    return fit


def estimator(cls, X, start):
    """fit(n_iter) of an estimator with scikit-learn's signature: the final inertia."""

    def fit(n_iter):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = cls(len(start), init=start, n_init=1, tol=0.0, max_iter=n_iter).fit(X)
        return [model.inertia_]

    return fit


def textbook(X, start):
    """The same of plain NumPy, with the last assignment that the others make as well."""

    def fit(n_iter):
        centers = reference.fit(X, start, n_iter)[0]
        return [-reference.e_step(X, centers)["bound"]]

    return fit


@dataclass(frozen=True)
class Fit:
    """A fit to convergence, from overlapping clusters; the goal is for either dtype."""

    goal: float
    n_samples: int
    n_features: int
    n_clusters: int
    spread: float


FITS = {
    "d16": Fit(3.0, 400_000, 16, 64, 1.0),
    "d64": Fit(2.5, 100_000, 64, 256, 0.5),
    "d256": Fit(1.5, 30_000, 256, 500, 0.2),
}


def supplement(cases, options):
    """Whole fits until no center moves: a table. Contenders in turn; the fastest of the rounds."""
    from fastem import KMeans

    peer = optional("sklearn.cluster", "KMeans")
    lines = [
        f"Fits to convergence (tol 1e-6), seconds, fastest of {min(3, options.rounds)}.\n",
        f"| N × D, K | dtype | goal × {PEER} | measured | s | s, {PEER} | iterations | "
        "labels that differ |",
        "|" + "---|" * 8,
    ]
    if peer is None:
        return f"Fits to convergence: {PEER} is not installed."
    for case in cases:
        fit = FITS.get(case.name)
        for dtype in options.dtype if fit else ():
            progress(f"  to convergence: {case.name} {dtype}")
            n_samples = fit.n_samples // (20 if options.quick else 1)
            X, start = _overlapping(replace(fit, n_samples=n_samples), dtype)
            lines.append(_race(fit, X, start, (KMeans, peer), options))
    return "\n".join(lines)


def _overlapping(fit, dtype):
    rng = np.random.default_rng(0)
    centers = fit.spread * rng.normal(size=(fit.n_clusters, fit.n_features))
    labels = rng.integers(fit.n_clusters, size=fit.n_samples)
    X = centers[labels] + rng.normal(size=(fit.n_samples, fit.n_features))
    X = X.astype(dtype)
    return X, X[: fit.n_clusters].copy()


def _race(fit, X, start, classes, options):
    """A line of the table."""
    seconds, models = [[], []], [None, None]
    for _ in range(min(3, options.rounds)):
        for i, cls in enumerate(classes):
            with warnings.catch_warnings(), threadpool_limits(options.threads):
                warnings.simplefilter("ignore")
                model = cls(len(start), init=start, n_init=1, max_iter=300, tol=1e-6)
                begin = perf_counter()
                models[i] = model.fit(X)
                seconds[i].append(perf_counter() - begin)
    ours, theirs = map(min, seconds)
    differ = np.count_nonzero(models[0].labels_ != models[1].labels_)
    cells = [
        f"{len(X):,} × {X.shape[1]}, K {len(start)}", X.dtype, f"{fit.goal:g}",
        f"{theirs / ours:.2f}", f"{ours:.2f}", f"{theirs:.2f}",
        f"{models[0].n_iter_} / {models[1].n_iter_}", f"{differ:,}",
    ]  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


_HEADER = [
    "case", "N × D, K", "dtype", f"goal × {PEER}", "fastest", "median", "reached", "ms",
    f"ms, {PEER}", "× sklearnex", "× faiss", f"× {BASELINE}", "inertia", "MiB beyond X",
    f"{PEER}'s",
]  # fmt: skip


def summary(row):
    """One line for the progress."""
    gains = [number(row.ratio((OURS, dtype), (PEER, dtype))) for dtype in ("float64", "float32")]
    return f"{gains[0]} / {gains[1]} x {PEER} (goals {row.case.goal:g} / {row.case.goal32:g})"


def tables(rows, peak, options):
    """One table, a line for each dtype."""
    return [(_HEADER, [_line(row, dtype) for row in rows for dtype in options.dtype])]


def _line(row, dtype):
    """Cells of one case in one dtype."""
    ours, peer = row[OURS, dtype], row[PEER, dtype]
    goal = row.case.goal if dtype == "float64" else row.case.goal32
    gain = row.ratio((OURS, dtype), (PEER, dtype))
    return [
        row.case.name,
        row.case.title,
        dtype,
        f"{goal:g}",
        number(gain),
        number(row.ratio((OURS, dtype), (PEER, dtype), "typical")),
        "–" if gain is None else "yes" if gain >= goal else "no",
        milliseconds(ours),
        milliseconds(peer),
        *(number(row.ratio((OURS, dtype), (name, dtype))) for name in ("sklearnex", "faiss")),
        number(row.ratio((OURS, dtype), (BASELINE, "float64"))),
        f"{row.gap(ours):.0e}" if ours else "–",
        *(number(row.memory.get(name)) if dtype == "float64" else "–" for name in (OURS, PEER)),
    ]
