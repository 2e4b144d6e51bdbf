"""Command line: ``python -m fastem`` shows what the library does; the commands do it to your data.

Exit status: 0 done; 2 wrong usage or a file that cannot be used, after one line on stderr; 130
interrupted by Ctrl-C; 141 the reader of the output went away. Nothing is written unless it is 0,
or 130 and the fit had whole iterations, which are then written.
The exit status of ``run`` is its program's.
"""

import importlib
import logging
import os
import signal
import sys
import threading
import warnings

from fastem._cli import CommandError, one_line, split_program
from fastem._cli.options import build_parser


def _say(kind, message):
    """Write one line about an event to stderr."""
    print(f"fastem: {kind}: {one_line(message)}", file=sys.stderr)


def main(argv=None):
    """Run the command line `argv` (default: ``sys.argv[1:]``) and return the exit status."""
    argv, program = split_program(sys.argv[1:] if argv is None else argv)
    args = build_parser().parse_args(argv or ["demo"])
    args.program_args = program
    try:
        return _command(args) if args.command == "run" else _guarded(args)
    except CommandError as error:
        _say("error", error)
        return 2
    except MemoryError as error:
        if args.command == "run":
            raise
        _say("error", f"not enough memory ({error or 'no more is said'})")
        return 2


def _command(args):
    """Do the work of a command."""
    return importlib.import_module(f"fastem._cli.{args.command}").main(args)


class _Terminated(BaseException):
    """SIGTERM came: what is half-written is taken away on the way out."""


def _terminated(*_):
    raise _Terminated


def _guarded(args):
    """Run a command of ours: warnings, Ctrl-C and a reader that went away are one line at most."""
    here = threading.current_thread() is threading.main_thread()  # which alone has signals
    listens = here and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if listens:
        signal.signal(signal.SIGTERM, _terminated)
    try:
        return _run(args)
    except _Terminated:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)
    finally:
        if listens:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _run(args):
    logged = logging.StreamHandler()
    logged.setFormatter(logging.Formatter("fastem: warning: %(message)s"))
    logging.getLogger("fastem").addHandler(logged)
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_args, **_kwargs: _say("warning", message)
        try:
            status = _command(args) or 0
            sys.stdout.flush()
            return status
        except KeyboardInterrupt:
            print("fastem: interrupted, nothing written", file=sys.stderr)
            return 130
        except BrokenPipeError:
            # The reader of our output went away (`| head`). Python flushes stdout once more at
            # exit: give it somewhere to go.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        finally:
            logging.getLogger("fastem").removeHandler(logged)


if __name__ == "__main__":
    sys.exit(main())
