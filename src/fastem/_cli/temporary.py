"""Files without a name, for what would fill the memory."""

from __future__ import annotations

import tempfile
import weakref
from contextlib import contextmanager, suppress
from threading import Lock

from fastem._cli import CommandError

__all__ = ["TemporaryArrays", "temporary_file"]


@contextmanager
def _room_in(folder):
    """Say in one line where there is no room for a temporary file."""
    try:
        yield
    except OSError as error:
        where, why = folder or tempfile.gettempdir(), error.strerror or error
        raise CommandError(
            f"{where}: a temporary file cannot be written ({why}); choose another --output-dir"
        ) from error


@contextmanager
def temporary_file(folder):
    """Give a file without a name in a folder, or where the system has them, for the block."""
    with _room_in(folder), tempfile.TemporaryFile(dir=folder) as file:
        yield file


class TemporaryArrays:
    """Arrays in a file without a name, which is closed when nobody needs it."""

    def __init__(self, folder) -> None:
        self.folder = folder
        with _room_in(folder):
            self.file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self.lock = Lock()  # a thread reads ahead
        weakref.finalize(self, _closed, self.file)

    def write(self, arrays) -> int:
        """Write arrays behind the last ones; return where they begin."""
        with self.lock, _room_in(self.folder):
            place = self.file.seek(0, 2)
            for one in arrays:
                self.file.write(one.data)
            self.file.flush()
        return place

    def read(self, place, n_bytes) -> bytes:
        """Return what begins at a place."""
        with self.lock:
            self.file.seek(place)
            return self.file.read(n_bytes)


def _closed(file):
    with suppress(OSError):  # what could not be written is still waiting, and has been told
        file.close()
