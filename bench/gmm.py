"""Bench cases and contenders for GaussianMixture."""

import math
import warnings
from dataclasses import dataclass, replace

import numpy as np
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
)
from reference import gaussian_mixture as reference

PEERS = (PEER, "numpy", "scipy")  # whose versions the report names
FLOAT32_GOAL = 1.5  # float32 against float64
DAAL = "daal4py"  # oneDAL's EM, in float64
_DAAL = {"full": "full", "diag": "diagonal"}  # its names of covariances

METHOD = f"""\
E+M per iteration, wall: a fit of {LONG} iterations, or as many as its case says, less a fit of
{SHORT}, by the difference; contenders in turn, warm, rounds: {{rounds}}; ms are fastest / median.
Ratios are fastem float64 against {PEER} float64: from the fastest fits (these decide "reached"),
from the medians, and for the whole longer fit. {PEER} and {BASELINE} (the textbook in
bench/reference) are at their better BLAS setting, of 1 and {{threads}} threads. Objectives are
compared at every iteration of {LONG}: the largest relative difference from {PEER}'s float64, where
float64 must agree to {TOLERANCE:g}. MiB beyond X is the peak that a fit adds. A dash: not
measured, or lost in noise."""

NOTES = """\
Data: Gaussian components in random order, each covariance with eigenvalues between 1/8 and 1/2 (the
means' standard deviation per coordinate is in the case's title: 0.05 overlaps, 0.5 is as far apart
as the components are wide, 2 is well separated). Start, the same for every library: equal weights,
the true means moved by a normal error of 0.25 per coordinate, one common covariance.
Useful flops of one E+M iteration are the fewest that the formulas need, a multiply-add being two:
full 2 N K D (D+1), a triangular product in E and half a rank-one update in M; tied
4 N K D + 2 N D (D+1), for both of these are then needed once per sample; diag 8 N K D; spherical
4 N K D. An implementation that proves some of the work needless is credited with all of it.
The goal for memory is 20 MiB beyond X and the statistics, whatever N is."""


@dataclass(frozen=True)
class Case:
    """One row of the table; `goal` is the wanted speed as a multiple of scikit-learn's."""

    name: str
    goal: float
    n_samples: int
    n_features: int
    n_components: int
    covariance_type: str
    means_std: float = 0.5
    #: Iterations of the longer fit: more where they are so quick, or a peer's first one, which asks
    #: for its memory, so slow, that a difference of few would be lost in noise.
    long: int = LONG

    @property
    def title(self):
        """What the table prints."""
        return (
            f"{self.n_samples:,} × {self.n_features}, K {self.n_components}, "
            f"{self.covariance_type}, means' std {self.means_std:g}"
            + (f", {self.long} iterations" if self.long != LONG else "")
        )

    @property
    def flops(self):
        """Useful flops of one E+M iteration, counted as in NOTES."""
        n, d, k = self.n_samples, self.n_features, self.n_components
        return {
            "full": 2 * n * k * d * (d + 1),
            "tied": 4 * n * k * d + 2 * n * d * (d + 1),
            "diag": 8 * n * k * d,
            "spherical": 4 * n * k * d,
        }[self.covariance_type]

    @property
    def statistics(self):
        """MiB of one set of statistics: the second moments, in float64."""
        k, d = self.n_components, self.n_features
        numbers = {"full": k * d * d, "tied": d * d, "diag": k * d, "spherical": k}
        return numbers[self.covariance_type] * 8 / 2**20

    def quick(self):
        """The same case on as few samples as still fill the covariances."""
        enough = max(self.n_samples // 20, 2 * self.n_components * self.n_features)
        return replace(self, n_samples=min(self.n_samples, enough))


CASES = [
    Case("d2", 80, 1_000_000, 2, 8, "full"),
    Case("d8", 60, 300_000, 8, 64, "full"),
    Case("d16", 20, 200_000, 16, 16, "full", long=10),
    Case("d64-overlapping", 7, 50_000, 64, 32, "full", means_std=0.05),
    Case("d64-separated", 12, 25_000, 64, 32, "full"),
    Case("d64-far", 20, 25_000, 64, 32, "full", means_std=2.0, long=12),
    Case("d128-overlapping", 5, 20_000, 128, 64, "full", means_std=0.05),
    Case("d128-far", 20, 20_000, 128, 64, "full", means_std=2.0, long=12),
    Case("diag", 8, 1_000_000, 16, 32, "diag", long=10),
    Case("spherical", 20, 200_000, 16, 32, "spherical", long=20),
    Case("tied", 40, 100_000, 32, 32, "tied", long=10),
]


def sample(case, dtype="float64", seed=0):
    """Samples (n, D) of `dtype` and the start (weights, means, covariances) for `case`."""
    rng = np.random.default_rng(seed)
    k, d = case.n_components, case.n_features
    means = rng.normal(scale=case.means_std, size=(k, d))
    factors = _random_factors(rng, k, d, case.covariance_type)
    X = np.empty((case.n_samples, d), dtype)
    # In blocks with a seed each: the temporaries stay small, and a block does not depend on n.
    for place, first in enumerate(range(0, case.n_samples, 4096)):
        block = X[first : first + 4096]
        rng_block = np.random.default_rng([seed, place])
        labels = rng_block.integers(k, size=len(block))
        noise = rng_block.normal(size=block.shape)
        for label in range(k):
            rows = labels == label
            block[rows] = means[label] + noise[rows] @ factors[label].T
    # k-means would leave EM at much such a place: near, not there, and every component alike.
    common = np.mean(factors @ factors.swapaxes(1, 2), axis=0)
    covariances = {
        "full": np.repeat(common[np.newaxis], k, axis=0),
        "tied": common,
        "diag": np.repeat(np.diag(common)[np.newaxis], k, axis=0),
        "spherical": np.full(k, np.diag(common).mean()),
    }[case.covariance_type]
    means_start = means + rng.normal(scale=0.25, size=means.shape)
    return X, reference.Params(np.full(k, 1 / k), means_start, covariances)


def _random_factors(rng, k, d, covariance_type):
    """F (K, D, D) with covariances F F^T of the given type and eigenvalues in [1/8, 1/2]."""
    scales = np.sqrt(2.0 ** rng.uniform(-3, -1, size=(k, d)))
    if covariance_type == "spherical":
        scales[:] = scales[:, :1]
    factors = scales[:, np.newaxis, :] * np.eye(d)
    if covariance_type in ("full", "tied"):
        factors = np.linalg.qr(rng.normal(size=(k, d, d))).Q * scales[:, np.newaxis, :]
    if covariance_type == "tied":
        factors[:] = factors[0]
    return factors


def contenders(case, options):
    """All contenders on `case`, each a Contender whose fit(n_iter) returns bounds."""
    from fastem import GaussianMixture

    data = {dtype: sample(case, dtype) for dtype in dict.fromkeys(("float64", *options.dtype))}
    threads = options.threads
    settings = sorted({1, threads})  # more BLAS threads can be slower: the better one counts
    found = [
        Contender(
            OURS, dtype, threads, estimator(GaussianMixture, case, *data[dtype], threads),
            long=case.long,
        )
        for dtype in options.dtype
    ]  # fmt: skip
    if (peer := optional("sklearn.mixture", "GaussianMixture")) is not None:
        for dtype in data if options.peer_float32 else ["float64"]:
            peer_fit = estimator(peer, case, *data[dtype])
            found += [Contender(PEER, dtype, limit, peer_fit, long=case.long) for limit in settings]
    if case.covariance_type in _DAAL and (daal := optional("daal4py", "em_gmm")) is not None:
        daal_fit = daal4py_fit(daal, case, *data["float64"])
        found.append(
            Contender(DAAL, "float64", threads, daal_fit, tolerance=math.inf, long=case.long)
        )
    numpy_fit = textbook(case, *data["float64"])
    found += [
        Contender(BASELINE, "float64", limit, numpy_fit, long=case.long) for limit in settings
    ]
    return found


def daal4py_fit(cls, case, X, start):
    """fit(n_iter) of oneDAL's EM: the log-likelihood per sample after its last M-step."""
    covariances = start.covariances
    if case.covariance_type == "diag":
        covariances = covariances[:, np.newaxis]
    inputs = start.weights[np.newaxis], start.means, list(covariances)

    def fit(n_iter):
        model = cls(
            case.n_components,
            maxIterations=n_iter,
            accuracyThreshold=0.0,
            regularizationFactor=1e-6,
            covarianceStorage=_DAAL[case.covariance_type],
        )
        return [float(model.compute(X, *inputs).goalFunction[0, 0]) / len(X)]

    return fit


def textbook(case, X, start):
    """fit(n_iter) of plain NumPy, from `start`: the bounds, the last one twice as below."""

    def fit(n_iter):
        bounds = reference.fit(X, start, case.covariance_type, n_iter)[1]
        return [*bounds, bounds[-1]]

    return fit


def estimator(cls, case, X, start, n_jobs=None, **more):
    """fit(n_iter) of an estimator with scikit-learn's signature, from `start`.

    It returns `lower_bounds_` (old scikit-learn has none) and after them `lower_bound_`.
    """
    matrices = case.covariance_type in ("full", "tied")
    precisions = np.linalg.inv(start.covariances) if matrices else 1 / start.covariances
    settings = {
        "n_components": case.n_components,
        "covariance_type": case.covariance_type,
        "tol": 0.0,  # never met: every contender does the same number of iterations
        "weights_init": start.weights.astype(X.dtype),
        "means_init": start.means.astype(X.dtype),
        "precisions_init": precisions.astype(X.dtype),
        **more,
    }
    if n_jobs is not None:
        settings["n_jobs"] = n_jobs

    def fit(n_iter):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*did not converge")
            model = cls(max_iter=n_iter, **settings).fit(X)
        return [*getattr(model, "lower_bounds_", []), model.lower_bound_]

    return fit


# --------------------------------------------------------------------------------------- tables


_SPEED = [
    "case", "N × D, K", f"goal × {PEER}", "fastest", "median", "reached", "whole fit",
    f"× {BASELINE}", f"× {DAAL}", f"float32 × float64 (goal {FLOAT32_GOAL})",
]  # fmt: skip
_DETAIL = [
    "case", "ms, float64", "ms, float32", f"ms, {PEER}", f"ms, {BASELINE}",
    f"{PEER}'s BLAS threads", "float64 GF/s (of dgemm)", "float32 GF/s (of sgemm)",
    "objective, float64", "objective, float32", "MiB beyond X", "of these statistics", f"{PEER}'s",
]  # fmt: skip


def summary(row):
    """One line for the progress."""
    gain, gain32 = (number(ratio) for ratio in _gains(row, "fastest"))
    return f"{gain} x {PEER} (goal {row.case.goal:g}), float32 {gain32} x float64"


def tables(rows, peak, options):
    """The table of ratios and that of absolute figures."""
    return [
        (_SPEED, [_speed(row) for row in rows]),
        (_DETAIL, [_detail(row, peak) for row in rows]),
    ]


def _speed(row):
    """Cells of the table of ratios."""
    gain, gain32 = _gains(row, "fastest")
    return [
        row.case.name,
        row.case.title,
        f"{row.case.goal:g}",
        number(gain),
        number(_gains(row, "typical")[0]),
        "–" if gain is None else "yes" if row.case.goal <= gain < math.inf else "no",
        number(_gains(row, "whole")[0]),
        number(row.ratio((OURS, "float64"), (BASELINE, "float64"))),
        number(row.ratio((OURS, "float64"), (DAAL, "float64"))),
        number(gain32),
    ]


def _gains(row, attribute):
    """fastem float64 against the peer's, and fastem float32 against float64."""
    return (
        row.ratio((OURS, "float64"), (PEER, "float64"), attribute),
        row.ratio((OURS, "float32"), (OURS, "float64"), attribute),
    )


def _detail(row, peak):
    """Cells of the table of absolute figures."""
    ours = [row[OURS, "float64"], row[OURS, "float32"]]
    peer, baseline = row[PEER, "float64"], row[BASELINE, "float64"]
    return [
        row.case.name,
        *(milliseconds(result) for result in (*ours, peer, baseline)),
        str(peer.contender.threads) if peer else "–",
        *(_flops(row.case, result, peak) if result else "–" for result in ours),
        *(f"{row.gap(result):.0e}" if result else "–" for result in ours),
        number(row.memory.get(OURS)),
        number(row.case.statistics),
        number(row.memory.get(PEER)),
    ]


def _flops(case, result, peak):
    """Useful GF/s, and their share of the machine's own gemm."""
    speed = case.flops / result.fastest
    return f"{number(speed / 1e9)} ({speed / peak[result.contender.dtype]:.0%})"
