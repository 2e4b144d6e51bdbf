"""The bench: `python bench/run.py plsa [--quick]`. One module a model family, one shared harness.

Prints a Markdown report; a complete run also writes it into bench/RESULTS.md. Exit status 1 means
that a contender failed or that the objectives disagree, in which case no time is worth printing.
"""

import argparse
import importlib
import os
import sys
from pathlib import Path

# Command-line name -> module beside this file; _harness says what a module needs.
FAMILIES = {
    name: name
    for name in ("whole", "gmm", "bayesian", "kmeans", "mixtures", "plsa", "lda", "hmm", "wide")
}
FAMILIES["gaussian-lda"] = "gaussian_lda"
FAMILIES["gmm-more"] = "gmm_more"

# These pin OpenBLAS to the kernels and block sizes of an older processor. Left set, they would slow
# scikit-learn and NumPy and flatter us. OpenBLAS reads them when it is loaded, so they must go
# before NumPy is imported: therefore a new process, and imports inside main().
BLAS_PINS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def restart_without_blas_pins():
    """Run this same command again without the BLAS pins, if any is set."""
    if any(name in os.environ for name in BLAS_PINS):
        environment = {k: v for k, v in os.environ.items() if k not in BLAS_PINS}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def parse_arguments():
    """Command line -> namespace."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("--case", action="append", help="run only this case (may be repeated)")
    parser.add_argument("--list", action="store_true", help="list the cases and stop")
    parser.add_argument("--quick", action="store_true", help="few samples, few rounds: a smoke run")
    parser.add_argument(
        "--dtype",
        default="float64,float32",
        type=lambda text: text.split(","),
        help="dtypes of fastem to time (default: %(default)s)",
    )
    parser.add_argument("--peer-float32", action="store_true", help="time the peer in float32 too")
    parser.add_argument("--threads", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, help="timings of each contender (default 5, quick 2)")
    parser.add_argument(
        "--output",
        type=Path,
        help="Markdown file (default: bench/RESULTS.md for a complete run, else none)",
    )
    parser.add_argument(
        "--keep",
        type=Path,
        help="folder of results by case: those in it are not measured again, others are put there",
    )
    parser.add_argument("--memory", metavar="LABEL", help=argparse.SUPPRESS)  # see _harness
    arguments = parser.parse_args()
    if not set(arguments.dtype) <= {"float64", "float32"}:
        parser.error(f"--dtype takes float64, float32 or both, got {','.join(arguments.dtype)}")
    if arguments.threads < 1:
        parser.error(f"--threads must be at least 1, got {arguments.threads}")
    if arguments.rounds is None:
        arguments.rounds = 2 if arguments.quick else 5
    complete = not (arguments.quick or arguments.case)
    if arguments.output is None and complete:
        arguments.output = Path(__file__).with_name("RESULTS.md")
    return arguments


def main():
    """Run one family; the result is the process's exit status."""
    arguments = parse_arguments()
    family = importlib.import_module(FAMILIES[arguments.family])
    harness = importlib.import_module("_harness")
    known = {case.name for case in family.CASES}
    if unknown := set(arguments.case or ()) - known:
        sys.exit(f"unknown case {', '.join(sorted(unknown))}; known: {', '.join(sorted(known))}")
    if arguments.list:
        for case in family.CASES:
            print(f"{case.name:22} {case.title}")
        return 0
    if arguments.memory:
        return harness.report_memory(family, arguments)
    return harness.run(family, arguments)


if __name__ == "__main__":
    restart_without_blas_pins()
    sys.exit(main())
