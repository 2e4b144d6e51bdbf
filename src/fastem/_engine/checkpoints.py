"""Fits that are written to a file as they go, and that go on from it after a crash.

A file is a line with the format's name, a header of JSON, the arrays end to end, and a digest of
all that. Nothing in it is code. It is written beside the last one, and takes its name when it is
whole and on the disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any

import numpy as np

from fastem._engine.codec import Decoder, Elsewhere, Encoder, classes_in
from fastem._engine.fingerprints import difference
from fastem._version import __version__

__all__ = ["Checkpoint", "Keeper"]

_MAGIC = b"fastem checkpoint 1\n"
_DIGEST, _LENGTH, _PIECE = 32, 8, 1 << 20


class Checkpoint:
    """Where a fit is written to as it goes, and how often.

    A path alone may be given in its place, and is then written to about once a minute.

    Parameters
    ----------
    path : str or path-like
        The file with the last state of the fit; the one before it has ``.previous`` added to its
        name. A fit that begins with such a file goes on from there, and ends with the same bits as
        one that was never interrupted. When the fit is done the file stays, and has its result: the
        same fit, begun again, ends at once. Each fit needs a path of its own.
    iterations : int or None, default=None
        Write after so many iterations, at least 1.
    seconds : float, default=60.0
        Write after the first iteration that ends so many seconds, at least 0, after the last time.

    Raises
    ------
    ValueError
        If `iterations` or `seconds` is out of range, or the path's folder is not there.
    TypeError
        If `path` is no path.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from fastem import GaussianMixture, em
    >>> X = np.random.default_rng(0).normal(size=(200, 2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "mixture.checkpoint")
    ...     often = em.Checkpoint(path, iterations=1)
    ...     first = GaussianMixture(2, random_state=0).fit(X, checkpoint=often)
    ...     again = GaussianMixture(2, random_state=0).fit(X, checkpoint=often)  # only reads it
    >>> bool(np.all(first.means_ == again.means_))
    True
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        iterations: int | None = None,
        seconds: float = 60.0,
    ) -> None:
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"checkpoint must be a path or em.Checkpoint, got {path!r}")
        self.path = os.path.abspath(os.fsdecode(path))
        self.iterations, self.seconds = iterations, seconds
        whole = isinstance(iterations, Integral) and not isinstance(iterations, bool)
        if iterations is not None and not (whole and iterations >= 1):
            raise ValueError(
                f"iterations must be an integer and at least 1, or None, got {iterations!r}"
            )
        if not (isinstance(seconds, Real) and seconds >= 0):
            raise ValueError(f"seconds must be a number and at least 0, got {seconds!r}")
        folder = os.path.dirname(self.path)
        if not os.path.isdir(folder):
            raise ValueError(f"checkpoint: there is no folder {folder}: make it first")
        if os.path.isdir(self.path):
            raise ValueError(f"checkpoint must be a file, and {self.path} is a folder")

    def __repr__(self) -> str:
        return (
            f"Checkpoint({self.path!r}, iterations={self.iterations!r}, seconds={self.seconds!r})"
        )

    @classmethod
    def of(cls, checkpoint: Any) -> Checkpoint:
        """Return a checkpoint, of which the path alone may be given."""
        return checkpoint if isinstance(checkpoint, Checkpoint) else cls(checkpoint)


class Keeper:
    """Writes one fit, and reads what an earlier run of it has written.

    Parameters
    ----------
    checkpoint : Checkpoint or path
    fingerprint : dict
        What must be the same for a fit to go on, as JSON has it.

    Raises
    ------
    ValueError
        If there are checkpoints, and none of them is whole and of this fit.

    Warns
    -----
    RuntimeWarning
        If the last checkpoint is damaged or of another fit, and the one before it is taken.
    """

    def __init__(self, checkpoint: Any, fingerprint: dict[str, Any]) -> None:
        self.checkpoint = Checkpoint.of(checkpoint)
        self.fingerprint = fingerprint | {"version": __version__}
        self.path = self.checkpoint.path
        self.refused, self.complained = False, False
        self.blocks = ""  # a digest of data that come in blocks, which their first pass finds
        self.found, self.header = self._find()
        self.written, self.waited = time.monotonic(), 0

    @property
    def previous(self) -> str:
        """Where the checkpoint before the last one is."""
        return self.path + ".previous"

    # ---- reading -----------------------------------------------------------------------------

    def _find(self):
        """Return the file to go on from and its header, or (None, None)."""
        problems = []
        for path in (self.path, self.previous):
            try:
                header = _read_header(path)
            except FileNotFoundError:
                continue
            except (ValueError, OSError) as error:
                problems.append(f"{path} is damaged: {error}")
            else:
                differs = difference(header["fingerprint"], self.fingerprint)
                if not differs:
                    if problems:
                        self.refused = True
                        warnings.warn(
                            f"{problems[0]}; the fit goes on from {path}, the one before it",
                            RuntimeWarning,
                            stacklevel=5,
                        )
                    return path, header
                problems.append(f"{path} is of another fit: {differs}")
        if problems:
            raise ValueError(
                f"checkpoint: {problems[0]}. Nothing was changed; give another path, or delete it "
                "to start from the beginning"
            )
        return None, None

    def begin(self, params: Any, bring: Any = None) -> dict[str, Any] | None:
        """Return the state to go on from, or None; `params` are the first ones of the fit.

        `bring` is the Decoder's.
        """
        self.start = _digest_of(params) + self.blocks  # says at once what cannot be written
        if self.found is None:
            return None
        if self.header["start"] != self.start:
            raise ValueError(
                f"checkpoint: {self.found} is of a fit with another start: random_state, the data "
                "or the function that makes first parameters are not the same. Nothing was "
                "changed; give another path, or delete it to start from the beginning"
            )
        with open(self.found, "rb") as file:
            file.seek(self.header["begin"])
            try:
                known = classes_in(params)
                decoder = Decoder(self.header["nodes"], _Filler(file), known, bring)
                return decoder.decode(self.header["state"])
            except (KeyError, AttributeError, TypeError, ValueError) as error:
                raise ValueError(f"checkpoint: {self.found} cannot be read: {error}") from error

    # ---- writing -----------------------------------------------------------------------------

    def due(self) -> bool:
        """Return whether it is time to write, after another iteration."""
        self.waited += 1
        rests = self.checkpoint
        if rests.iterations is not None and self.waited >= rests.iterations:
            return True
        return time.monotonic() - self.written >= rests.seconds

    def write(self, state: dict[str, Any]) -> None:
        """Write a state; where the disk does not take it, say so once, and leave the last one."""
        encoder = Encoder()
        header = {
            "fingerprint": self.fingerprint,
            "start": self.start,
            "state": encoder.encode(state),
            "nodes": encoder.nodes,
        }
        temporary = self.path + ".tmp"
        try:
            try:
                _write(temporary, header, encoder.arrays)
                self._take_place(temporary)
            except BaseException:
                if os.path.exists(temporary):
                    os.unlink(temporary)
                raise
        except OSError as error:
            if not self.complained:
                self.complained = True
                warnings.warn(
                    f"checkpoint: {self.path} could not be written: {error}. The fit goes on, and "
                    "tries again; the last checkpoint is as it was",
                    RuntimeWarning,
                    stacklevel=4,
                )
        self.written, self.waited = time.monotonic(), 0

    def _take_place(self, temporary):
        """Give a file that is on the disk the last one's name, and that the previous one's."""
        if self.refused:
            os.replace(self.path, self.path + ".refused")
            self.refused = False
        elif os.path.exists(self.path):
            os.replace(self.path, self.previous)
        os.replace(temporary, self.path)
        if os.name == "posix":  # the names must be on the disk, too
            folder = os.open(os.path.dirname(self.path), os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


class _Filler:
    """Fills arrays with what comes next in a file."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def __call__(self, array: np.ndarray) -> None:
        """Fill a flat array."""
        if array.size and self.file.readinto(array.view(np.uint8).data) != array.nbytes:
            raise ValueError("the file is too short")


def _write(path, header, arrays):
    """Write a file and its digest, and wait until it is on the disk."""
    text = json.dumps(header).encode()
    digest = hashlib.blake2b(digest_size=_DIGEST)
    with open(path, "wb") as file:
        for piece in _pieces(text, arrays):
            digest.update(piece)
            file.write(piece)
        file.write(digest.digest())
        file.flush()
        os.fsync(file.fileno())


def _pieces(text, arrays) -> Iterator[Any]:
    yield _MAGIC
    yield len(text).to_bytes(_LENGTH, "little")
    yield text
    for one in arrays:
        for array in one.fetch() if isinstance(one, Elsewhere) else [one]:
            if array.size:
                yield array.view(np.uint8).data


def _read_header(path):
    """Return a file's header, if all of it is as it was written."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if file.read(len(_MAGIC)) != _MAGIC:
            raise ValueError("it is no checkpoint of fastem, or of another format")
        digest, left = hashlib.blake2b(_MAGIC, digest_size=_DIGEST), size - len(_MAGIC) - _DIGEST
        while left > 0:
            piece = file.read(min(_PIECE, left))
            if not piece:
                break
            digest.update(piece)
            left -= len(piece)
        if left != 0 or digest.digest() != file.read():
            raise ValueError("its checksum is wrong: it was cut off or changed")
        file.seek(len(_MAGIC))
        length = int.from_bytes(file.read(_LENGTH), "little")
        header = json.loads(file.read(length))
        header["begin"] = file.tell()
        return header


def _digest_of(value):
    """Return a digest of a value that can be written."""
    encoder = Encoder()
    root = encoder.encode(value)
    digest = hashlib.blake2b(json.dumps([root, encoder.nodes]).encode(), digest_size=16)
    for array in encoder.arrays:
        digest.update(array.view(np.uint8).data if array.size else b"")
    return digest.hexdigest()
