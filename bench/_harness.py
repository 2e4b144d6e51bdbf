"""What every family of the bench shares: timing, equal objectives, memory, machine, report.

A family is a module with CASES (each with name, title, goal, flops, quick()), NOTES, PEERS and
contenders(case, options) -> list of Contender.
"""

import functools
import importlib
import importlib.metadata
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

OURS, PEER, BASELINE = "fastem", "scikit-learn", "NumPy"
TOLERANCE = 1e-9  # relative, between float64 objectives
FLOAT32_GOAL = 1.5  # float32 against float64
SHORT, LONG = 1, 4  # iterations of the two fits whose difference is timed
LEAST_SECONDS = 0.1  # quick fits are repeated within a round until they fill this time
SLOW = 2.0  # seconds of a short fit; slower contenders are timed at their best setting, twice


@dataclass(frozen=True)
class Contender:
    """One library at one setting; fit(n_iter) runs from the common start, returns the bounds."""

    name: str
    dtype: str
    threads: int
    fit: Callable

    @property
    def label(self):
        """Name for messages, and for asking a child process for this contender."""
        return f"{self.name} {self.dtype} {self.threads}t"


@dataclass
class Result:
    """Bounds of one contender's long fit, seconds of a warm short fit, and of all timed fits."""

    contender: Contender
    bounds: np.ndarray
    warm: float
    short: list = field(default_factory=list)
    long: list = field(default_factory=list)

    @property
    def key(self):
        """What the settings of one library have in common."""
        return self.contender.name, self.contender.dtype

    # E+M per iteration is (long fit - short fit) / (difference of iterations). Validation, start-up
    # and the last E-step of scikit-learn's fit_predict are in both and cancel, and so does the
    # first iteration, with its page faults. So nobody's fixed costs count for or against it; the
    # report gives the ratio of the whole long fits beside it. Quick fits are repeated within a
    # round, and so have more chances of a lucky minimum; the median gives them no such advantage.
    @property
    def fastest(self):
        """Seconds per iteration from the fastest fits."""
        return _per_iteration(min(self.long) - min(self.short))

    @property
    def typical(self):
        """Seconds per iteration from the median fits."""
        return _per_iteration(statistics.median(self.long) - statistics.median(self.short))

    @property
    def whole(self):
        """Seconds of the fastest long fit."""
        return min(self.long)


def _per_iteration(seconds):
    """A difference of two timings, by the iterations; infinite if noise has swallowed it."""
    return seconds / (LONG - SHORT) if seconds > 0 else math.inf


def run(family, options):
    """Run the chosen cases, print and write the report; the result is the exit status."""
    cases = [c for c in family.CASES if not options.case or c.name in options.case]
    cases = [c.quick() for c in cases] if options.quick else cases
    peak, rows, failed = {}, [], False
    for place, case in enumerate(cases, 1):
        progress(f"{options.family} {place}/{len(cases)} {case.name}: {case.title}")
        for dtype in options.dtype:
            peak[dtype] = max(peak.get(dtype, 0.0), matmul_speed(dtype, options.threads))
        try:
            results = measure(family.contenders(case, options), options.rounds)
            row = Row(case, results, memory(case, results, options))
        except Exception as error:
            progress(f"  FAILED: {type(error).__name__}: {error}")
            failed = True
            continue
        rows.append(row)
        failed |= bool(row.disagreements())
        progress(f"  {row.summary()}")
    text = report(family, options, rows, peak) if rows else ""
    print(text)
    if failed:
        progress("FAILED: see above; no file was written")
    elif options.output:
        write_section(options.output, options.family, text)
        progress(f"wrote {options.output}")
    return int(failed)


def progress(text):
    """One line for whoever waits; the report alone goes to stdout."""
    print(text, file=sys.stderr, flush=True)


@functools.cache
def optional(module, name):
    """Attribute `name` of a peer's module, or None (said once) if the peer is not installed."""
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        progress(f"  skipping {module}.{name}: {error}")
        return None


# ---------------------------------------------------------------------------------- measurement


def measure(contenders, rounds):
    """Results of all contenders, timed in turn so that a busy moment hits them alike."""
    results = [warm_up(contender) for contender in contenders]
    best = {}  # a library's seconds at its best setting: clearly worse ones are not pursued
    for result in results:
        best[result.key] = min(best.get(result.key, math.inf), result.warm)
    results = [
        result
        for result in results
        if result.warm <= (1.5 if best[result.key] < SLOW else 1) * best[result.key]
    ]
    for round_number in range(rounds):
        for result in results:
            if result.warm > SLOW and round_number >= 2:
                continue  # two fits of many seconds differ less than many of some milliseconds
            repeats = max(1, round(LEAST_SECONDS / result.warm))
            with threadpool_limits(result.contender.threads):
                result.short += timed(result.contender.fit, SHORT, repeats)
                result.long += timed(result.contender.fit, LONG, repeats)
    return results


def warm_up(contender):
    """A Result with the bounds of a long fit, the first, and the seconds of a short one after."""
    with threadpool_limits(contender.threads):
        bounds = np.asarray(contender.fit(LONG), float)
        return Result(contender, bounds, *timed(contender.fit, SHORT, 1))


def timed(fit, n_iter, repeats):
    """Wall seconds of each of `repeats` fits."""
    times = [time.perf_counter()]
    for _ in range(repeats):
        fit(n_iter)
        times.append(time.perf_counter())
    return [after - before for before, after in pairwise(times)]


def matmul_speed(dtype, threads, size=2048):
    """The machine's own gemm, flops per second: NumPy's product of two square matrices."""
    a = np.random.default_rng(0).random((size, size)).astype(dtype)
    out = np.empty_like(a)
    with threadpool_limits(threads):
        return 2 * size**3 / min(timed(lambda _: np.matmul(a, a, out=out), None, 4))


def difference(bounds, expected):
    """Largest relative difference of two histories; infinite if they are not equally long."""
    if min(len(bounds), len(expected)) == 1:  # a release that keeps only the last bound
        bounds, expected = bounds[-1:], expected[-1:]
    if len(bounds) != len(expected):
        return np.inf
    gap = np.max(np.abs(bounds - expected) / np.maximum(np.abs(expected), np.finfo(float).tiny))
    return float(gap) if np.isfinite(gap) else np.inf


# --------------------------------------------------------------------------------------- memory


def memory(case, results, options):
    """Name -> peak MiB that a fit adds to X, each measured in a fresh process (None: unknown)."""
    labels = {r.contender.name: r.contender.label for r in reversed(results)}  # first of each name
    return {n: _ask_memory(case, labels[n], options) for n in (OURS, PEER) if n in labels}


def _ask_memory(case, label, options):
    """The answer of `report_memory` in a child process, or None."""
    command = [sys.executable, str(Path(__file__).with_name("run.py")), options.family]
    command += ["--case", case.name, "--memory", label, "--threads", str(options.threads)]
    command += ["--dtype", ",".join(options.dtype)] + ["--quick"] * options.quick
    # Fixed thresholds (glibc): freed arrays leave the process at once, so that what the data's
    # making left behind cannot be used again unseen.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    child = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if child.returncode:
        progress(f"  no memory figure for {label}: {child.stderr.strip().splitlines()[-1:]}")
    return None if child.returncode else json.loads(child.stdout)


def report_memory(family, options):
    """In the child: print how many MiB the resident set's peak grows during one fit."""
    case = next(c for c in family.CASES if c.name == options.case[0])
    case = case.quick() if options.quick else case
    # The first fit, of another shape, pays for imports, thread pools and the BLAS's buffers.
    for current in (family.CASES[0].quick(), case):
        found = {c.label: c for c in family.contenders(current, options)}
        contender = found[options.memory]
        with threadpool_limits(contender.threads):
            before = _resident("VmRSS", reset=True)
            contender.fit(2)
            after = _resident("VmHWM")
    print(json.dumps(None if before is None else max(0.0, after - before)))
    return 0


def _resident(key, reset=False):
    """Resident MiB now (VmRSS) or at the peak (VmHWM); None where the system has no /proc.

    Not getrusage: a child's ru_maxrss starts at its parent's, and a big parent would hide the fit.
    """
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))


# --------------------------------------------------------------------------------------- report


@dataclass
class Row:
    """One case's results, and what the tables say about them."""

    case: object
    results: list
    memory: dict

    def __getitem__(self, key):
        """Result of (name, dtype) at its better setting, or None."""
        found = (r for r in self.results if r.key == key)
        return min(found, key=lambda r: r.fastest, default=None)

    def gap(self, result):
        """Relative difference of a result's objective from the peer's, or else the baseline's."""
        expected = self[PEER, "float64"] or self[BASELINE, "float64"]
        return difference(result.bounds, expected.bounds)

    def disagreements(self):
        """Labels and gaps of float64 results outside the tolerance."""
        exact = [r for r in self.results if r.contender.dtype == "float64"]
        return [(r.contender.label, self.gap(r)) for r in exact if not self.gap(r) <= TOLERANCE]

    def ratio(self, one, other, attribute="fastest"):
        """How many times faster (name, dtype) `one` is than `other`, or None."""
        one, other = self[one], self[other]
        return getattr(other, attribute) / getattr(one, attribute) if one and other else None

    def summary(self):
        """One line for the progress."""
        gain, gain32 = (number(ratio) for ratio in self._gains("fastest"))
        line = f"{gain} x {PEER} (goal {self.case.goal:g}), float32 {gain32} x float64"
        for label, gap in self.disagreements():
            line += f"; {label} DISAGREES: {gap:.1e}"
        return line

    def speed(self):
        """Cells of the table of ratios."""
        gain, gain32 = self._gains("fastest")
        return [
            self.case.name,
            self.case.title,
            f"{self.case.goal:g}",
            number(gain),
            number(self._gains("typical")[0]),
            "–" if gain is None else "yes" if self.case.goal <= gain < math.inf else "no",
            number(self._gains("whole")[0]),
            number(self.ratio((OURS, "float64"), (BASELINE, "float64"))),
            number(gain32),
        ]

    def _gains(self, attribute):
        """fastem float64 against the peer's, and fastem float32 against float64."""
        return (
            self.ratio((OURS, "float64"), (PEER, "float64"), attribute),
            self.ratio((OURS, "float32"), (OURS, "float64"), attribute),
        )

    def detail(self, peak):
        """Cells of the table of absolute figures."""
        ours = [self[OURS, "float64"], self[OURS, "float32"]]
        peer, baseline = self[PEER, "float64"], self[BASELINE, "float64"]
        return [
            self.case.name,
            *(milliseconds(result) for result in (*ours, peer, baseline)),
            str(peer.contender.threads) if peer else "–",
            *(self._flops(result, peak) if result else "–" for result in ours),
            *(f"{self.gap(result):.0e}" if result else "–" for result in ours),
            *(number(self.memory.get(name)) for name in (OURS, PEER)),
        ]

    def _flops(self, result, peak):
        """Useful GF/s, and their share of the machine's own gemm."""
        speed = self.case.flops / result.fastest
        return f"{number(speed / 1e9)} ({speed / peak[result.contender.dtype]:.0%})"


SPEED_HEADER = [
    "case", "N × D, K", f"goal × {PEER}", "fastest", "median", "reached", "whole fit",
    f"× {BASELINE}", f"float32 × float64 (goal {FLOAT32_GOAL})",
]  # fmt: skip
DETAIL_HEADER = [
    "case", "ms, float64", "ms, float32", f"ms, {PEER}", f"ms, {BASELINE}",
    f"{PEER}'s BLAS threads", "float64 GF/s (of dgemm)", "float32 GF/s (of sgemm)",
    "objective, float64", "objective, float32", "MiB beyond X", f"{PEER}'s",
]  # fmt: skip
METHOD = f"""\
E+M per iteration, wall: a fit of {LONG} iterations less a fit of {SHORT}, by {LONG - SHORT};
contenders in turn, warm, rounds: {{rounds}}; ms are fastest / median. Ratios are fastem float64
against {PEER} float64: from the fastest fits (these decide "reached"), from the medians, and for
the whole fit of {LONG} iterations. {PEER} and {BASELINE} (the textbook in bench/reference) are at
their better BLAS setting, of 1 and {{threads}} threads. Objectives are compared at every iteration:
the largest relative difference from {PEER}'s float64, where float64 must agree to {TOLERANCE:g}.
MiB beyond X is the peak that a fit adds. A dash: not measured, or lost in noise."""


def report(family, options, rows, peak):
    """The family's section of the report, in Markdown."""
    heading = f"## {options.family}" + (" (quick: not for quoting)" if options.quick else "")
    peaks = ", ".join(f"{dtype} {speed / 1e9:.0f} GF/s" for dtype, speed in peak.items())
    setting = f"{machine()}; threads: {options.threads}; gemm of 2048², in this run: {peaks}"
    paragraphs = [
        heading,
        f"{setting}. {versions((OURS, *family.PEERS))}.",
        table(SPEED_HEADER, [row.speed() for row in rows]),
        table(DETAIL_HEADER, [row.detail(peak) for row in rows]),
        METHOD.format(threads=options.threads, rounds=options.rounds),
        family.NOTES,
    ]
    return "\n\n".join(paragraphs)


def table(header, rows):
    """Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value):
    """Three digits or so, and a dash for what was not measured."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def milliseconds(result):
    """Fastest / median per iteration."""
    return f"{number(1e3 * result.fastest)} / {number(1e3 * result.typical)}" if result else "–"


def machine():
    """Processor and system, without names or paths."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    model = next(named, platform.processor() or platform.machine())
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{model}, {os.cpu_count()} CPUs{load}, {platform.system()} {platform.machine()}"


def versions(distributions):
    """Versions of Python, the contenders and the BLAS libraries that are loaded."""
    found = [f"Python {platform.python_version()}"]
    for name in distributions:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    blas = {
        f"{lib['internal_api']} {lib['version']} ({lib.get('architecture', 'unknown')})"
        for lib in threadpool_info()
        if lib["user_api"] == "blas"
    }
    return ", ".join([*found, *sorted(blas)])


def write_section(path, name, text):
    """Put `text` into the file at `path` in place of the section `name`; keep the others."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    old = path.read_text(encoding="utf-8") if path.exists() else "# Bench results\n"
    head, _, rest = old.partition(begin)
    tail = rest.partition(end)[2]
    section = f"{begin}\n\n{text}\n\n{end}"
    parts = [head.strip(), section, tail.strip()]
    path.write_text("\n\n".join(filter(None, parts)) + "\n", encoding="utf-8")
