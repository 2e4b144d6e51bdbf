"""Random inputs, good and bad, for every estimator, its methods and the command line.

    python tests/fuzz.py --cases 10000 --seed 0 --jobs 2     # what fails, and how to repeat it
    python tests/fuzz.py --seed 0 --case 137                 # this case alone, step by step

A case is a function of the seed and its number. Cases run in other processes, where a crash, or a
case that takes longer than --limit seconds, ends only that process. An error must be a ValueError
or TypeError that was raised on purpose and leaves the estimator as it was; results must be finite;
the bound of a batch fit must not fall; and fits must have the same bits for 1, 2 and 3 threads.
"""

import argparse
import faulthandler
import os
import subprocess
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CHUNK = 250  # cases in a process
PART_OF_CLI = 0.04


def run_case(seed, number, say=lambda line: None):
    """Run one case; return what is wrong, or None."""
    import numpy as np
    from fuzz_checks import Case, Fault
    from fuzz_cli import run_command

    rng = np.random.default_rng([seed, number])
    try:
        if rng.random() < PART_OF_CLI:
            run_command(rng, say)
        else:
            case = Case(rng, say)
            try:
                case.run()
            except Fault as fault:
                return f"{case.name}: {fault}"
    except Fault as fault:
        return str(fault)
    except Exception:
        return f"the fuzz itself fails: {traceback.format_exc()}"
    return None


def work(seed, numbers, limit):
    """Run cases in this process; what is printed is read by `supervise`."""
    import fuzz_checks  # noqa: F401  (takes its time, which is no case's)

    out = os.fdopen(os.dup(1), "w", buffering=1)  # the command line has sys.stdout for itself
    if "asan" not in os.environ.get("LD_PRELOAD", ""):
        faulthandler.enable()
    for number in numbers:
        print("begin", number, file=out)
        faulthandler.dump_traceback_later(limit, exit=True)
        fault = run_case(seed, number)
        faulthandler.cancel_dump_traceback_later()
        if fault:
            print("fault", number, " ".join(fault.split()), file=out)
    print("end", file=out)


def supervise(seed, numbers, limit):
    """Run cases in processes of their own; return {number: what is wrong}."""
    faults, numbers = {}, list(numbers)
    while numbers:
        command = [sys.executable, __file__, "--seed", str(seed), "--limit", str(limit), "--work"]
        process = subprocess.run(
            [*command, f"{numbers[0]}:{numbers[-1] + 1}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
        last = numbers[0]
        for line in process.stdout.splitlines():
            word, *rest = line.split(maxsplit=2)
            if word == "begin":
                last = int(rest[0])
            elif word == "fault":
                faults[int(rest[0])] = rest[1]
        if process.stdout.endswith("end\n") and process.returncode == 0:
            break
        faults[last] = f"the process ended with {process.returncode}:\n{process.stderr[-6000:]}"
        numbers = [number for number in numbers if number > last]
    return faults


def fuzz(seed, first, n_cases, jobs=1, limit=60, tell=print):
    """Run cases first, first + 1, ...; return {number: what is wrong}."""
    chunks = [
        range(begin, min(begin + CHUNK, first + n_cases))
        for begin in range(first, first + n_cases, CHUNK)
    ]
    faults = {}
    with ThreadPoolExecutor(jobs) as pool:
        for found in pool.map(lambda chunk: supervise(seed, chunk, limit), chunks):
            for number, fault in sorted(found.items()):
                again = f"python tests/fuzz.py --seed {seed} --case {number}"
                tell(f"case {number}: {fault}\n    {again}")
            faults |= found
    return faults


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=300, help="how many")
    parser.add_argument("--first", type=int, default=0, help="number of the first")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes at once")
    parser.add_argument("--limit", type=float, default=60, help="seconds for a case")
    parser.add_argument("--case", type=int, help="run this one, here, and show its steps")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    args = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    if args.work:
        work(args.seed, range(*map(int, args.work.split(":"))), args.limit)
        return 0
    if args.case is not None:
        faulthandler.dump_traceback_later(args.limit, exit=True)
        fault = run_case(args.seed, args.case, lambda line: print(line, file=sys.stderr))
        print(fault or "nothing wrong")
        return 1 if fault else 0
    begin = time.monotonic()
    faults = fuzz(args.seed, args.first, args.cases, args.jobs, args.limit)
    took = time.monotonic() - begin
    print(f"seed {args.seed}, {args.cases} cases, {len(faults)} faults, {took:.0f} s")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
