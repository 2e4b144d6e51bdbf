"""What every family of the bench shares: timing, equal objectives, memory, machine, report.

A family is a module with CASES (each with name, title, goal, flops, quick()), NOTES, PEERS and
contenders(case, options) -> list of Contender.
"""

import functools
import importlib
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

OURS, PEER, BASELINE = "fastem", "scikit-learn", "NumPy"
TOLERANCE = 1e-9  # relative, between float64 objectives
FLOAT32_GOAL = 1.5  # float32 against float64
SHORT, LONG = 1, 4  # iterations of the two fits whose difference is timed
LEAST_SECONDS = 0.1  # a timing repeats its fit until it lasts this long


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
    """Bounds of one contender's long fit, and its timings: seconds per fit, one per round."""

    contender: Contender
    bounds: np.ndarray
    repeats: int
    short: list = field(default_factory=list)
    long: list = field(default_factory=list)

    # E+M per iteration is (long fit - short fit) / (difference of iterations). Validation, start-up
    # and the last E-step of scikit-learn's fit_predict are in both and cancel, and so does the
    # first iteration, with its page faults. A warm fit is what a user waits for, so this favours
    # nobody's fixed costs; the report gives the ratio of the whole long fits beside it. The
    # minimum is a difference of minima: a minimum of differences would reward noise in `short`.
    @property
    def fastest(self):
        """Seconds per iteration from the fastest fits."""
        return (min(self.long) - min(self.short)) / (LONG - SHORT)

    @property
    def typical(self):
        """Median over the rounds of the seconds per iteration."""
        differences = [b - a for a, b in zip(self.short, self.long, strict=True)]
        return statistics.median(differences) / (LONG - SHORT)


def run(family, options):
    """Run the chosen cases, print and write the report; the result is the exit status."""
    cases = [c for c in family.CASES if not options.case or c.name in options.case]
    cases = [c.quick() for c in cases] if options.quick else cases
    peak, rows, failed = {}, [], False
    for number, case in enumerate(cases, 1):
        progress(f"{options.family} {number}/{len(cases)} {case.name}: {case.title}")
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
    text = report(family, options, rows, peak)
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
    results = []
    for contender in contenders:
        with threadpool_limits(contender.threads):
            bounds = np.asarray(contender.fit(LONG), float)  # also the warm-up
            seconds = timed(contender.fit, SHORT, 1)
        results.append(Result(contender, bounds, max(1, round(LEAST_SECONDS / seconds))))
    for _ in range(rounds):
        for result in results:
            with threadpool_limits(result.contender.threads):
                result.short.append(timed(result.contender.fit, SHORT, result.repeats))
                result.long.append(timed(result.contender.fit, LONG, result.repeats))
    return results


def timed(fit, n_iter, repeats):
    """Mean wall seconds of `repeats` fits: a mean, so that short fits get no luckier minimum."""
    start = time.perf_counter()
    for _ in range(repeats):
        fit(n_iter)
    return (time.perf_counter() - start) / repeats


def matmul_speed(dtype, threads, size=2048):
    """The machine's own gemm, flops per second: NumPy's product of two square matrices."""
    a = np.random.default_rng(0).random((size, size)).astype(dtype)
    out = np.empty_like(a)
    with threadpool_limits(threads):
        np.matmul(a, a, out=out)
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            np.matmul(a, a, out=out)
            seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds)


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
    """Label -> peak MiB that a fit adds to X, each measured in a fresh process (None: unknown)."""
    best = {(r.contender.name, r.contender.dtype): r.contender.label for r in results}
    wanted = [(OURS, options.dtype[0]), (PEER, "float64")]
    return {key: _ask_memory(case, best[key], options) for key in wanted if key in best}


def _ask_memory(case, label, options):
    """The answer of `report_memory` in a child process, or None."""
    command = [sys.executable, str(Path(__file__).with_name("run.py")), options.family]
    command += ["--case", case.name, "--memory", label, "--threads", str(options.threads)]
    command += ["--dtype", ",".join(options.dtype)] + ["--quick"] * options.quick
    # Fixed thresholds (glibc): freed arrays leave the process at once, so that what the data's
    # making left behind cannot be used again unseen.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    child = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    return json.loads(child.stdout) if child.returncode == 0 else None


def report_memory(family, options):
    """In the child: print how many MiB the resident set's peak grows during one fit."""
    case = next(c for c in family.CASES if c.name == options.case[0])
    case = case.quick() if options.quick else case
    # The first fit, of another shape, pays for imports, thread pools and the BLAS's buffers.
    for current in (family.CASES[0].quick(), case):
        contender = next(
            c for c in family.contenders(current, options) if c.label == options.memory
        )
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
        found = [r for r in self.results if (r.contender.name, r.contender.dtype) == key]
        return min(found, key=lambda r: r.fastest, default=None)

    @property
    def expected(self):
        """The result whose objective and time the others are held against."""
        return self[PEER, "float64"] or self[BASELINE, "float64"]

    def gap(self, result):
        """Relative difference of a result's objective."""
        return difference(result.bounds, self.expected.bounds)

    def disagreements(self):
        """Labels and gaps of float64 results outside the tolerance."""
        exact = [r for r in self.results if r.contender.dtype == "float64"]
        return [(r.contender.label, self.gap(r)) for r in exact if not self.gap(r) <= TOLERANCE]

    def ratio(self, dtype, key, attribute="fastest"):
        """How many times faster fastem is than `key`, or None."""
        ours, other = self[OURS, dtype], self[key]
        return getattr(other, attribute) / getattr(ours, attribute) if ours and other else None

    def whole_fit(self):
        """The same for whole fits: validation, start-up and first iteration included."""
        ours, other = self[OURS, "float64"], self[PEER, "float64"]
        return min(other.long) / min(ours.long) if ours and other else None

    def float32_gain(self):
        """fastem's float64 time over its float32 time, or None."""
        exact, single = self[OURS, "float64"], self[OURS, "float32"]
        return exact.fastest / single.fastest if exact and single else None

    def summary(self):
        """One line for the progress."""
        parts = [f"{number(self.ratio('float64', (PEER, 'float64')))} x {PEER}"]
        parts += [f"(goal {self.case.goal:g}), float32 {number(self.float32_gain())} x float64"]
        parts += [f"; {label} DISAGREES by {gap:.1e}" for label, gap in self.disagreements()]
        return " ".join(parts)

    def speed(self):
        """Cells of the table of ratios."""
        fastest = self.ratio("float64", (PEER, "float64"))
        return [
            self.case.name,
            self.case.title,
            f"{self.case.goal:g}",
            number(fastest),
            number(self.ratio("float64", (PEER, "float64"), "typical")),
            "–" if fastest is None else "yes" if fastest >= self.case.goal else "no",
            number(self.whole_fit()),
            number(self.ratio("float64", (BASELINE, "float64"))),
            number(self.float32_gain()),
        ]

    def detail(self, peak):
        """Cells of the table of absolute figures."""
        cells = [self.case.name]
        for key in ((OURS, "float64"), (OURS, "float32"), (PEER, "float64"), (BASELINE, "float64")):
            cells.append(milliseconds(self[key]))
        peer = self[PEER, "float64"]
        cells.append(str(peer.contender.threads) if peer else "–")
        for dtype in ("float64", "float32"):
            ours = self[OURS, dtype]
            speed = self.case.flops / ours.fastest if ours else 0
            cells.append(f"{speed / 1e9:.0f} ({speed / peak[dtype]:.0%})" if ours else "–")
        for dtype in ("float64", "float32"):
            ours = self[OURS, dtype]
            cells.append(f"{self.gap(ours):.0e}" if ours else "–")
        for name in (OURS, PEER):
            mebibytes = next((m for key, m in self.memory.items() if key[0] == name), None)
            cells.append(number(mebibytes))
        return cells


SPEED_HEADER = [
    "case", "N × D, K", f"goal × {PEER}", "fastest", "median", "reached", "whole fit",
    f"× {BASELINE}", f"float32 × float64 (goal {FLOAT32_GOAL})",
]  # fmt: skip
DETAIL_HEADER = [
    "case", "fastem float64", "fastem float32", PEER, BASELINE, f"{PEER}'s BLAS threads",
    "float64 GF/s (of dgemm)", "float32 GF/s (of sgemm)", "objective, float64",
    "objective, float32", "MiB beyond X", f"{PEER}'s",
]  # fmt: skip


def report(family, options, rows, peak):
    """The family's section of the report, in Markdown."""
    heading = f"## {options.family}" + (" (quick: not for quoting)" if options.quick else "")
    method = f"""\
E+M per iteration, wall: a fit of {LONG} iterations less a fit of {SHORT}, by {LONG - SHORT};
contenders in turn, warm, {options.rounds} rounds. Ratios are fastem float64 against {PEER} float64
at its better BLAS setting (1 or {options.threads} threads): from the fastest fits (these decide
"reached"), from the medians, and for the whole fit of {LONG} iterations. {BASELINE} is the textbook
in bench/reference. Objectives are compared at every iteration, as the largest relative difference
from {PEER}'s float64; float64 must agree to {TOLERANCE:g}. MiB is the peak that a fit adds to X."""
    peaks = ", ".join(
        f"{'dgemm' if dtype == 'float64' else 'sgemm'} {speed / 1e9:.0f} GF/s"
        for dtype, speed in peak.items()
    )
    return "\n\n".join(
        [
            heading,
            f"{machine()}; {options.threads} threads; {peaks} (2048², measured in this run). "
            + versions((OURS, *family.PEERS)),
            table(SPEED_HEADER, [row.speed() for row in rows]),
            "Milliseconds per iteration are fastest / median.",
            table(DETAIL_HEADER, [row.detail(peak) for row in rows]),
            method,
            family.NOTES,
        ]
    )


def table(header, rows):
    """Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value):
    """Three digits or so, and a dash for what was not measured."""
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def milliseconds(result):
    """Fastest / median per iteration."""
    return f"{number(1e3 * result.fastest)} / {number(1e3 * result.typical)}" if result else "–"


def machine():
    """Processor and system, without names or paths."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        pass  # not Linux, or a processor that has no such line
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
    return ", ".join([*found, *sorted(blas)]) + "."


def write_section(path, name, text):
    """Put `text` into the file at `path` in place of the section `name`; keep the others."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    old = path.read_text(encoding="utf-8") if path.exists() else "# Bench results\n"
    head, _, rest = old.partition(begin)
    tail = rest.partition(end)[2]
    section = f"{begin}\n\n{text}\n\n{end}"
    path.write_text(f"{head.rstrip()}\n\n{section}\n{tail}", encoding="utf-8")
