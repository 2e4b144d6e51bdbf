"""What a model keeps beside its parameters, because it is dear to make: seen by nobody.

Copies and pickles have none of it, and E-steps give the same bits without. Any thread may ask: what
it is given is its own until it gives it back.
"""

from __future__ import annotations

from typing import Any

from fastem._engine import arrays

__all__ = ["Kept", "Room"]


class Kept:
    """Values that follow from an object, for as long as that is the one that is asked about."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: list[tuple[Any, Any]] = []

    def __reduce__(self):
        return type(self), ()

    def look(self, key: Any) -> Any:
        """Return what is kept of this very object, to read; or None.

        Not beside :meth:`take`: whoever takes it may write over it.
        """
        for of, value in self._values:
            if of is key:
                return value
        self._values = []  # so that old and new values are not in memory at once
        return None

    def take(self, key: Any) -> Any:
        """Return what is kept of this very object, which is the caller's then; or None."""
        while self._values:
            try:
                of, value = self._values.pop()
            except IndexError:  # another thread has it
                break
            if of is key:
                return value
        return None

    def keep(self, key: Any, value: Any) -> None:
        """Keep a value that nobody else has."""
        self._values = [(of, other) for of, other in self._values if of is key]
        self._values.append((key, value))


class Room:
    """Memory for arrays that are needed within an E-step alone: new pages cost time."""

    __slots__ = ("_free",)

    def __init__(self) -> None:
        self._free: list[Any] = []

    def __reduce__(self):
        return type(self), ()

    def lend(self, shape: tuple[int, int], dtype: Any) -> _Loan:
        """Give an uninitialised array for the ``with`` block."""
        try:
            rows = self._free.pop()
        except IndexError:
            rows = None
        if rows is None or rows.shape[1] != shape[1] or len(rows) < shape[0] or rows.dtype != dtype:
            rows = arrays.empty(shape, dtype)
        return _Loan(self._free, rows, shape[0])


class _Loan:
    """Memory until the end of a ``with`` block. A generator takes as long as a small E-step."""

    __slots__ = ("_free", "_n_rows", "_rows")

    def __init__(self, free: list[Any], rows: Any, n_rows: int) -> None:
        self._free, self._rows, self._n_rows = free, rows, n_rows

    def __enter__(self) -> Any:
        return self._rows if len(self._rows) == self._n_rows else self._rows[: self._n_rows]

    def __exit__(self, *error: object) -> None:
        self._free.append(self._rows)
