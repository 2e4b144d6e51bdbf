"""What tells one fit from another: parameters, and a look at the data, as JSON has them."""

from __future__ import annotations

import hashlib
import numbers
from typing import Any

import numpy as np
import scipy.sparse as sp

__all__ = ["describe", "difference"]

_MOST_ROWS = 4096  # of an array that are looked at, evenly spaced


def describe(value: Any) -> Any:
    """Return what is known of a parameter or of data; of large arrays some rows are looked at."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value).hex()
    if sp.issparse(value):
        parts = [getattr(value, name, None) for name in ("data", "indices", "row", "col")]
        seen = [_digest(part) for part in parts if isinstance(part, np.ndarray)]
        return [value.format, list(value.shape), str(value.dtype), value.nnz, seen]
    if hasattr(value, "iloc"):
        some = value.iloc[_rows(len(value))]
        return [type(value).__name__, list(value.shape), _digest(np.asarray(some))]
    if isinstance(value, np.ndarray):
        return [list(value.shape), value.dtype.str, _digest(value)]
    if isinstance(value, (list, tuple)):
        if len(value) > 64:
            return [type(value).__name__, len(value), [describe(one) for one in value[:64]]]
        return [describe(one) for one in value]
    if isinstance(value, dict):
        return {str(k): describe(v) for k, v in value.items()}
    return getattr(value, "__qualname__", type(value).__qualname__)


def _rows(n: int) -> np.ndarray:
    return np.unique(np.linspace(0, max(0, n - 1), min(n, _MOST_ROWS)).astype(np.int64))


def _digest(array: np.ndarray) -> str:
    """Return a digest of some rows of an array."""
    some = array[_rows(len(array))] if array.ndim else array
    text = repr(some.tolist()).encode() if some.dtype.hasobject else some.tobytes()
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def difference(there: dict[str, Any], here: dict[str, Any], within: str = "") -> str:
    """Return in words what two descriptions differ in, '' if they do not."""
    for name in sorted({*there, *here}):
        a, b = there.get(name), here.get(name)
        if a == b:
            continue
        if isinstance(a, dict) and isinstance(b, dict):
            return difference(a, b, f"{within}{name}: ")
        return f"its {within}{name} is {_short(a)}, here {_short(b)}"
    return ""


def _short(value: Any) -> str:
    if isinstance(value, str) and value.startswith(("0x", "-0x")):
        value = float.fromhex(value)
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
