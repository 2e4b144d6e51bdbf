"""Where the tests find the oracle, and what they share: fresh interpreters, instruction sets."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import scipy.linalg  # noqa: F401  has a BLAS of its own, which is to be held as well
from hypothesis import settings
from threadpoolctl import threadpool_limits

from fastem._kernels import gaussian, runtime

TESTS = Path(__file__).parent
for folder in (TESTS, TESTS.parent / "bench"):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))

# A shell's background jobs ignore Ctrl-C, and so would fits that a test interrupts. Their children
# inherit what they ignore.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=30)
settings.register_profile("long", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session", autouse=True)
def one_blas_thread():
    """The oracles' matrices are small: BLAS's threads would mostly wait for each other."""
    with threadpool_limits(1, user_api="blas"):
        yield


@pytest.fixture
def run_python():
    """Run code in a new interpreter, return what it printed; fail if it fails or hangs."""

    def run(code, timeout=100, **environment):
        process = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=os.environ | environment,
        )
        assert process.returncode == 0, process.stderr
        return process.stdout.strip()

    return run


@pytest.fixture(params=[0, 3, 4], ids=["baseline", "avx2", "avx512"])
def every_instruction_set(request):
    """Run the test once with each instruction set that the processor has."""
    if request.param > runtime.cpu_level():
        pytest.skip(f"this processor has level {runtime.cpu_level()} only")
    before = runtime.set_level(request.param)
    yield gaussian.instruction_set()
    runtime.set_level(before)
