"""Build fastem's kernels; everything else is in pyproject.toml.

Environment
-----------
FASTEM_OPENMP : {"auto", "on", "off"}
    "auto" (default) uses OpenMP where a test program compiles and links; "on" fails without it.
FASTEM_DEBUG : {"0", "1"}
    "1" turns on bounds checks in the Cython code.
FASTEM_SANITIZE : {"0", "1"}
    "1" builds with AddressSanitizer and UndefinedBehaviorSanitizer, as `.ci/sanitize` does.
"""

import os
import platform
import sys
import sysconfig
import tempfile
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

KERNELS = Path("src/fastem/_kernels")
OPENMP_PROBE = "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n"
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
OPTIONS = ("FASTEM_OPENMP", "FASTEM_DEBUG", "FASTEM_SANITIZE", "CC", "CFLAGS", "LDFLAGS")
# The stable ABI gives one wheel for every CPython from 3.11; free-threaded builds have none.
ABI3 = not sysconfig.get_config_var("Py_GIL_DISABLED")


def openmp_candidates(compiler_type):
    """Yield (compile flags, link flags) that may turn on OpenMP."""
    if compiler_type == "msvc":
        yield ["/openmp"], []
    elif platform.system() == "Darwin":
        prefixes = (
            os.environ.get("LIBOMP_PREFIX"),
            "/opt/homebrew/opt/libomp",
            "/usr/local/opt/libomp",
        )
        for prefix in filter(None, prefixes):
            yield (
                ["-Xpreprocessor", "-fopenmp", f"-I{prefix}/include"],
                [f"-L{prefix}/lib", "-lomp"],
            )
    else:
        yield ["-fopenmp"], ["-fopenmp"]


class BuildKernels(build_ext):
    """build_ext that probes OpenMP and compiles the extensions in parallel."""

    def finalize_options(self):
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def run(self):
        """Compile everything if the last build had other options: no file's date shows that."""
        wanted = "".join(f"{name}={os.environ.get(name, '')}\n" for name in OPTIONS)
        stamp = Path(self.build_temp, "options.txt")
        if not stamp.exists() or stamp.read_text() != wanted:
            self.force = True
            stamp.unlink(missing_ok=True)  # half a build must not pass for a whole one
        super().run()
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(wanted)

    def build_extensions(self):
        choice = os.environ.get("FASTEM_OPENMP", "auto")
        if choice not in ("auto", "on", "off"):
            sys.exit(f"fastem: FASTEM_OPENMP must be auto, on or off, got {choice!r}")
        flags = None if choice == "off" else self.find_openmp()
        if flags is None and choice == "on":
            sys.exit(
                "fastem: FASTEM_OPENMP=on, but no compiler flag enables OpenMP. "
                "Install an OpenMP runtime (libgomp or libomp), or set FASTEM_OPENMP=off."
            )
        if flags is None and choice == "auto":
            self.warn("building fastem WITHOUT OpenMP: it will run on one thread")
        optimise = ["/O2"] if self.compiler.compiler_type == "msvc" else ["-O3", "-g0"]
        compile_flags, link_flags = flags or ([], [])
        if os.environ.get("FASTEM_SANITIZE") == "1":
            optimise, link_flags = [*SANITIZE, "-O1", "-g1"], [*link_flags, *SANITIZE]
        for extension in self.extensions:
            extension.extra_compile_args += [*optimise, *compile_flags]
            extension.extra_link_args += link_flags
        super().build_extensions()

    def find_openmp(self):
        """Return the first candidate with which the probe compiles and links, or None."""
        for compile_flags, link_flags in openmp_candidates(self.compiler.compiler_type):
            with tempfile.TemporaryDirectory() as folder:
                source = Path(folder, "probe.c")
                source.write_text(OPENMP_PROBE)
                try:
                    objects = self.compiler.compile(
                        [str(source)], output_dir=folder, extra_postargs=compile_flags
                    )
                    self.compiler.link_executable(
                        objects, "probe", output_dir=folder, extra_postargs=link_flags
                    )
                except Exception:  # each compiler class raises its own error: try the next flags
                    continue
            return compile_flags, link_flags
        return None


def kernel(name, folder=None):
    """Return the Extension of one kernel: FOLDER/NAME.pyx with FOLDER/isa.c, its leaf functions."""
    folder = KERNELS / (folder or name)
    sources = [folder / f"{name}.pyx", *([folder / "isa.c"] if folder.name == name else [])]
    headers = [*folder.glob("*.h"), *folder.glob("*.pxi"), *(KERNELS / "shared").glob("*.h")]
    return Extension(
        f"fastem._kernels.{name}",
        [str(source) for source in sources],
        include_dirs=[str(KERNELS)],
        depends=[str(header) for header in headers],
        define_macros=[("Py_LIMITED_API", "0x030B0000")] if ABI3 else [],
        py_limited_api=ABI3,
    )


debug = os.environ.get("FASTEM_DEBUG") == "1"
setup(
    ext_modules=cythonize(
        [
            kernel("runtime", folder="shared"),
            kernel("gamma_stream", folder="topics"),
            kernel("gaussian"),
            kernel("kmeans"),
            kernel("seeding"),
            kernel("truncated"),
            kernel("topics"),
            kernel("discrete"),
            kernel("tokens"),
            kernel("chain"),
        ],
        include_path=["src"],
        build_dir="build/cython-debug" if debug else "build/cython",
        compiler_directives={
            "language_level": 3,
            "boundscheck": debug,
            "wraparound": debug,
            "initializedcheck": debug,
            "cdivision": not debug,
            "freethreading_compatible": True,
        },
    ),
    cmdclass={"build_ext": BuildKernels},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if ABI3 else {},
)
