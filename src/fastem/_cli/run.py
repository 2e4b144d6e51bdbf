"""``python -m fastem run``: run a program as Python would, with scikit-learn's classes replaced.

The program gets a ``__main__`` module of its own, which stays in ``sys.modules`` to the end: what
runs at exit, and processes that multiprocessing starts, look there.
"""

import importlib.util
import io
import os
import pkgutil
import sys
from importlib.machinery import SourceFileLoader, SourcelessFileLoader
from types import ModuleType

from fastem._cli import CommandError


def main(args):
    """Run the program; what it raises passes through."""
    if (args.script is None) == (args.module is None):
        raise CommandError("run needs a script or -m MODULE (try 'python -m fastem run --help')")
    if args.script is not None and not os.path.exists(args.script):
        raise CommandError(f"cannot run {args.script}: there is no such file")
    from fastem._children import include_children
    from fastem._patch import patch

    program = ModuleType("__main__")
    patch()
    if not args.no_children:
        include_children()
    sys.modules["__main__"] = program
    try:
        load = _load_script if args.module is None else _load_module
        code = load(args.script or args.module, args.program_args, program)
        exec(code, vars(program))
    except BaseException:
        _hide_our_frames()
        raise


def _load_script(path, arguments, program):
    """Set what Python sets for ``python path``, and return the program's code."""
    sys.argv = [path, *arguments]
    file = os.path.abspath(path)
    importer = pkgutil.get_importer(file)
    if importer is not None:  # a folder or a zip file
        _set_first_path(file)
        return _load_spec(importer.find_spec("__main__"), f"__main__ in {path!r}", program)
    _set_first_path(os.path.dirname(os.path.realpath(path)))
    compiled = file.endswith(".pyc")
    loader = (SourcelessFileLoader if compiled else SourceFileLoader)("__main__", file)
    vars(program).update(__file__=file, __loader__=loader, __cached__=None)
    if compiled:
        return loader.get_code("__main__")
    try:
        with io.open_code(file) as stream:
            source = stream.read()
    except OSError as error:
        raise CommandError(f"cannot run {path}: {error.strerror}") from None
    return compile(source, file, "exec", dont_inherit=True)


def _load_module(name, arguments, program):
    """Set what Python sets for ``python -m name``, and return the program's code."""
    sys.argv = ["-m", *arguments]
    _set_first_path(os.getcwd())
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            name += ".__main__"
            spec = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:  # of a package that is not there
        if not error.name or not f"{name}.".startswith(f"{error.name}."):
            raise
        spec = None
    code = _load_spec(spec, f"module named {name}", program)
    sys.argv[0] = program.__file__
    return code


def _load_spec(spec, what, program):
    """Set what the import system tells of a module, and return its code."""
    code = None if spec is None or spec.loader is None else spec.loader.get_code(spec.name)
    if code is None:
        raise CommandError(f"there is no {what}")
    vars(program).update(
        __file__=spec.origin,
        __loader__=spec.loader,
        __cached__=spec.cached,
        __package__=spec.parent,
        __spec__=spec,
    )
    return code


def _set_first_path(folder):
    """Put the program's folder where ``python -m fastem`` put another, unless it is not to be."""
    if not sys.flags.safe_path:
        sys.path[0] = folder


def _hide_our_frames():
    """Let the traceback of the error that ends the program begin in the program."""
    hook = sys.excepthook

    def show(kind, error, traceback):
        entry, below = traceback, traceback
        while entry is not None:
            if entry.tb_frame.f_code.co_filename == __file__:
                below = entry.tb_next
            entry = entry.tb_next
        hook(kind, error.with_traceback(below), below)

    sys.excepthook = show
