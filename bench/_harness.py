"""What every family of the bench shares: timing, equal objectives, memory, machine, report.

A family is a module with CASES (each with name, title, quick()), METHOD and NOTES (paragraphs below
the tables; METHOD is formatted with threads and rounds), PEERS (whose versions are named), and

    contenders(case, options) -> list of Contender
    summary(row) -> str, one line for the progress
    tables(rows, peak, options) -> list of (header, lines); `peak` is dtype -> flops/s of gemm

It may have MEMORY, the names of the contenders whose memory is measured (a case's own `memory` goes
before it), REFERENCE, the one whose objective the others' are compared with in place of the
baseline's, and
supplement(cases, options) -> str, a further part of the report.
"""

import functools
import importlib
import importlib.metadata
import json
import math
import os
import pickle
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

OURS, PEER, BASELINE = "fastem", "scikit-learn", "NumPy"
TOLERANCE = 1e-9  # relative, between float64 objectives
SHORT, LONG = 1, 4  # iterations of the two fits whose difference is timed
LEAST_SECONDS = 0.1  # quick fits are repeated within a round until they fill this time
MISSING = {}  # peer -> why `optional` did not find it
SLOW = 2.0  # seconds of a short fit; slower contenders are timed at their best setting, twice


@dataclass(frozen=True)
class Contender:
    """One library at one setting; fit(n_iter) runs from the common start.

    fit returns the bounds of the iterations, unless bounds(n_iter) does so outside the clock.
    """

    name: str
    dtype: str
    threads: int
    fit: Callable
    bounds: Callable | None = None
    tolerance: float | None = None  # of the bounds; by default none but for float64
    long: int = LONG  # iterations of the longer timed fit; more for those of a few milliseconds
    settle: bool = False  # whether each turn begins with a fit off the clock, see `measure`

    @property
    def limit(self):
        """The largest relative difference of the bounds that is no error."""
        if self.tolerance is not None:
            return self.tolerance
        return TOLERANCE if self.dtype == "float64" else math.inf

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
        return self._per_iteration(min(self.long) - min(self.short))

    @property
    def typical(self):
        """Seconds per iteration from the median fits."""
        return self._per_iteration(statistics.median(self.long) - statistics.median(self.short))

    @property
    def whole(self):
        """Seconds of the fastest long fit."""
        return min(self.long)

    def _per_iteration(self, seconds):
        """A difference of two timings, by the iterations; infinite if noise has swallowed it."""
        return seconds / (self.contender.long - SHORT) if seconds > 0 else math.inf


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
            row = kept(family, case, options)
        except Exception as error:
            progress(f"  FAILED: {type(error).__name__}: {error}")
            failed = True
            continue
        rows.append(row)
        failed |= bool(row.disagreements())
        progress("; ".join([f"  {family.summary(row)}", *map(_disagreement, row.disagreements())]))
    text = report(family, options, rows, peak) if rows else ""
    if rows and not failed and hasattr(family, "supplement"):
        text += "\n\n" + family.supplement([row.case for row in rows], options)
    print(text)
    if failed:
        progress("FAILED: see above; no file was written")
    elif options.output:
        write_section(options.output, options.family, text)
        progress(f"wrote {options.output}")
    return int(failed)


def kept(family, case, options):
    """A case's row, from the folder of options.keep if it is there, or else measured and put there.

    So a long bench can be run in pieces, each of whole cases.
    """
    if options.keep is None:
        return measured(family, case, options)
    path = options.keep / f"{options.family}-{case.name}.pickle"
    if path.exists():
        row, missing = pickle.loads(path.read_bytes())
        MISSING.update(missing)
        return row
    row = measured(family, case, options)
    for result in row.results:  # functions cannot be kept
        result.contender = replace(result.contender, fit=None, bounds=None)
    options.keep.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps((row, MISSING)))
    return row


def measured(family, case, options):
    """A case's row."""
    results = measure(family.contenders(case, options), options.rounds)
    names = getattr(case, "memory", getattr(family, "MEMORY", (OURS, PEER)))
    row = Row(case, results, memory(case, results, names, options))
    row.reference = getattr(family, "REFERENCE", row.reference)
    return row


def _disagreement(found):
    """Words for one of Row.disagreements()."""
    label, gap = found
    return f"{label} DISAGREES: {gap:.1e}"


def progress(text):
    """One line for whoever waits; the report alone goes to stdout."""
    print(text, file=sys.stderr, flush=True)


@functools.cache
def optional(module, name, attempt=None):
    """Attribute `name` of a peer's module, or None (said once) if it is not installed or fails.

    attempt(attribute) may try it: a peer may be installed and yet not run with this NumPy.
    """
    try:
        found = getattr(importlib.import_module(module), name)
        if attempt is not None:
            attempt(found)
    except Exception as error:
        MISSING[f"{module}.{name}"] = f"{type(error).__name__}, {error}".splitlines()[0]
        progress(f"  skipping {module}.{name}: {error}")
        return None
    return found


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
    for _ in range(rounds):
        for result in results:
            if result.warm > SLOW and len(result.long) >= min(rounds, 2):
                continue  # two fits of many seconds differ less than many of some milliseconds
            repeats = max(1, round(LEAST_SECONDS / result.warm))
            with threadpool_limits(result.contender.threads):
                # A virtual machine may have given free memory back to its host while others had
                # their turns. To get 500 MB again takes seconds, which the short fit alone, being
                # the first, would pay: it can seem slower than the long one.
                if result.contender.settle:
                    result.contender.fit(SHORT)
                result.short += timed(result.contender.fit, SHORT, repeats)
                result.long += timed(result.contender.fit, result.contender.long, repeats)
    return results


def warm_up(contender):
    """A Result with the bounds of a fit, the first, and the seconds of a short one after."""
    with threadpool_limits(contender.threads):
        begin = time.perf_counter()
        bounds = np.asarray((contender.bounds or contender.fit)(LONG), float)
        result, first = Result(contender, bounds, 0.0), time.perf_counter() - begin
        (result.warm,) = timed(contender.fit, SHORT, 1)
    if result.warm > SLOW and contender.bounds is None and contender.long == LONG:
        result.short, result.long = [result.warm], [first]
    return result


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


def memory(case, results, names, options):
    """Name -> peak MiB that a fit adds to X, each measured in a fresh process (None: unknown)."""
    labels = {r.contender.name: r.contender.label for r in reversed(results)}  # first of each name
    return {n: _ask_memory(case, labels[n], options) for n in names if n in labels}


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
    """One case's results, and how they compare."""

    case: object
    results: list
    memory: dict
    reference: str = BASELINE  # whose objective the others' are compared with, but for the peer's

    def __getitem__(self, key):
        """Result of (name, dtype) at its better setting, or None."""
        found = (r for r in self.results if r.key == key)
        return min(found, key=lambda r: r.fastest, default=None)

    def gap(self, result):
        """Relative difference of a result's objective from the peer's, or else the reference's."""
        expected = self[PEER, "float64"] or self[self.reference, "float64"]
        return difference(result.bounds, expected.bounds)

    def disagreements(self):
        """Labels and gaps of the results outside their tolerance."""
        gaps = [(result.contender, self.gap(result)) for result in self.results]
        return [(contender.label, gap) for contender, gap in gaps if not gap <= contender.limit]

    def ratio(self, one, other, attribute="fastest"):
        """How many times faster (name, dtype) `one` is than `other`, or None."""
        one, other = self[one], self[other]
        return getattr(other, attribute) / getattr(one, attribute) if one and other else None


def report(family, options, rows, peak):
    """The family's section of the report, in Markdown."""
    heading = f"## {options.family}" + (" (quick: not for quoting)" if options.quick else "")
    peaks = ", ".join(f"{dtype} {speed / 1e9:.0f} GF/s" for dtype, speed in peak.items())
    setting = f"{machine()}; threads: {options.threads}; gemm of 2048², in this run: {peaks}"
    paragraphs = [
        heading,
        f"{setting}. {versions((OURS, *family.PEERS))}.",
        *(table(header, lines) for header, lines in family.tables(rows, peak, options)),
        family.METHOD.format(threads=options.threads, rounds=options.rounds),
        family.NOTES,
    ]
    if MISSING:
        paragraphs.append("Not measured: " + "; ".join(map(": ".join, MISSING.items())) + ".")
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
