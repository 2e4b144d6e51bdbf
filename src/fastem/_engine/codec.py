"""Parameters, statistics and rows' states as JSON and plain arrays, and back: no code is run.

What was one object is one object again, so that arrays that share their memory by being the same
still do. Classes are looked up among those that are known, never imported, and no method of theirs
is run but the constructors that are registered here.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from fastem._engine import arrays
from fastem._engine.statistics import Moments, Statistics
from fastem._engine.tree import SumTree

__all__ = ["Decoder", "Elsewhere", "Encoder", "classes_in", "savable"]

#: How objects are taken apart and made again, by the name of their class.
_KNOWN: dict[str, tuple[Callable[[Any], Any], Callable[..., Any]]] = {}


def savable(cls: Any, parts: Callable[[Any], Any], make: Callable[..., Any] | None = None) -> None:
    """Register a class whose objects are ``make(*parts(object))``; `make` is the class itself."""
    _KNOWN[_name_of(cls)] = parts, make or cls


def _name_of(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _random_state(state: dict[str, Any]) -> np.random.RandomState:
    random_state = np.random.RandomState()
    random_state.set_state(state)
    return random_state


savable(Statistics, lambda s: [vars(s)], lambda fields: Statistics(**fields))
savable(Moments, lambda m: [m.weight, m.mean, m.scatter, m.kind])
savable(SumTree, lambda tree: [list(tree)])  # whose sums follow from its leaves
savable(np.random.RandomState, lambda r: [r.get_state(legacy=False)], _random_state)


def _is_named(cls: Any) -> bool:
    return isinstance(cls, type) and issubclass(cls, tuple) and hasattr(cls, "_fields")


def classes_in(value: Any) -> dict[str, type]:
    """Return the named tuples and dataclasses within a value, by name.

    Those that a function defines cannot be found by name alone.
    """
    found: dict[str, type] = {}
    cls = type(value)
    if _is_named(cls) or dataclasses.is_dataclass(cls):
        found[_name_of(cls)] = cls
    if isinstance(value, (list, tuple)):
        inner = list(value)
    elif isinstance(value, dict):
        inner = list(value.values())
    else:
        inner = list(vars(value).values()) if dataclasses.is_dataclass(cls) else []
    for one in inner:
        found |= classes_in(one)
    return found


class Elsewhere:
    """A value that another process holds: only what it is made of comes here to be written.

    Its arrays come when it is their turn, and go when they are written, so that no more than one
    such value is ever in memory.
    """

    def outline(self) -> tuple[Any, list[Any]]:
        """Return what an Encoder says of the value, and its nodes."""
        raise NotImplementedError

    def fetch(self) -> list[np.ndarray]:
        """Return the arrays that an Encoder finds in the value."""
        raise NotImplementedError


class Encoder:
    """Takes values apart.

    Attributes
    ----------
    nodes : list
        What JSON can have, one for each compound object; later ones refer to earlier ones.
    arrays : list of ndarray or Elsewhere
        C-contiguous; what is elsewhere stands for all its arrays.
    """

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.arrays: list[Any] = []
        self._seen: dict[int, tuple[Any, int]] = {}  # the object too, so that no other gets its id

    def encode(self, value: Any) -> Any:
        """Return a value as JSON, which may refer to nodes."""
        if value is None or isinstance(value, (bool, str)) or type(value) is int:
            return value
        if type(value) is float:
            return {"float": value.hex()}
        if isinstance(value, np.generic):
            return {"scalar": [value.dtype.str, value.tobytes().hex()]}
        if isinstance(value, np.dtype):
            return {"dtype": value.str}
        if id(value) not in self._seen:
            node = self._node(value)
            self._seen[id(value)] = value, len(self.nodes)
            self.nodes.append(node)
        return {"node": self._seen[id(value)][1]}

    def _node(self, value):
        cls = type(value)
        if cls is np.ndarray and not value.dtype.hasobject and value.dtype.names is None:
            return self._array(value)
        if isinstance(value, Elsewhere):
            self.arrays.append(value)
            return ["elsewhere", *value.outline()]
        if cls in (list, tuple):
            return [cls.__name__, [self.encode(one) for one in value]]
        if isinstance(value, dict):
            pairs = [[self.encode(k), self.encode(v)] for k, v in value.items()]
            return ["dict", pairs]
        name = _name_of(cls)
        if name in _KNOWN:
            return ["object", name, [self.encode(one) for one in _KNOWN[name][0](value)]]
        if _is_named(cls):
            return ["named", name, [self.encode(one) for one in value]]
        if dataclasses.is_dataclass(cls):
            fields = [field.name for field in dataclasses.fields(cls)]
            return ["data", name, [[n, self.encode(getattr(value, n))] for n in fields]]
        raise TypeError(
            f"a checkpoint cannot have a {cls.__module__}.{cls.__qualname__}: let parameters and "
            "rows' states be numbers, arrays, named tuples, dataclasses, lists or dicts of these"
        )

    def _array(self, value):
        """Keep an array; how its numbers lie in memory belongs to it, for sums depend on that."""
        layout: Any = "C"
        if not value.flags.c_contiguous:
            layout = "F" if value.flags.f_contiguous else list(value.strides)
            if layout != "F" and min(layout) < 0:
                layout = "C"
        plain = value.T if layout == "F" else value
        self.arrays.append(np.ascontiguousarray(plain).reshape(-1))
        return ["array", value.dtype.str, list(value.shape), layout]


class Decoder:
    """Puts together what an Encoder took apart.

    Parameters
    ----------
    nodes : list
    fill : callable
        Writes the next array into a flat one.
    known : dict
        Classes that may not be found by name.
    bring : callable or None
        Brings a value that was elsewhere to such a place again, and returns what stands for it.
    """

    def __init__(
        self,
        nodes: list[Any],
        fill: Callable[[np.ndarray], None],
        known: dict[str, type],
        bring: Callable[[Any], Elsewhere] | None = None,
    ) -> None:
        self.fill, self.known, self.bring = fill, known, bring
        self.values: list[Any] = []
        for kind, *rest in nodes:
            self.values.append(getattr(self, f"_{kind}")(*rest))

    def decode(self, value: Any) -> Any:
        """Return the value that JSON stands for."""
        if not isinstance(value, dict):
            return value
        ((kind, content),) = value.items()
        if kind == "node":
            return self.values[content]
        if kind == "float":
            return float.fromhex(content)
        if kind == "dtype":
            return np.dtype(content)
        dtype, digits = content
        return np.frombuffer(bytes.fromhex(digits), dtype)[0]

    def _all(self, values):
        return [self.decode(one) for one in values]

    def _list(self, values):
        return self._all(values)

    def _tuple(self, values):
        return tuple(self._all(values))

    def _dict(self, pairs):
        return {self.decode(k): self.decode(v) for k, v in pairs}

    def _elsewhere(self, root, nodes):
        if self.bring is None:
            raise ValueError(
                "the states of its rows were on the workers of a cluster: go on there, with the "
                "same executor"
            )
        return self.bring(Decoder(nodes, self.fill, self.known).decode(root))

    def _object(self, name, parts):
        return _KNOWN[name][1](*self._all(parts))

    def _named(self, name, values):
        cls = self._class(name)
        values = self._all(values)
        if not _is_named(cls) or len(cls._fields) != len(values):
            raise ValueError(f"{name} is no named tuple of {len(values)} fields")
        return tuple.__new__(cls, values)

    def _data(self, name, fields):
        cls = self._class(name)
        if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
            raise ValueError(f"{name} is no dataclass")
        value: Any = object.__new__(cls)
        for field, one in fields:
            object.__setattr__(value, field, self.decode(one))
        return value

    def _class(self, name):
        """Return a class that is there already."""
        if name in self.known:
            return self.known[name]
        module, _, path = name.partition(":")
        found: Any = sys.modules.get(module)
        for part in path.split("."):
            found = vars(found).get(part) if hasattr(found, "__dict__") else None
        if found is None:
            raise ValueError(f"there is no class {name}")
        return found

    def _array(self, dtype, shape, layout):
        shape, kind = tuple(shape), np.dtype(dtype)
        plain = arrays.empty(shape[::-1] if layout == "F" else shape, kind)
        self.fill(plain.reshape(-1))
        if layout in ("C", "F"):
            return plain.T if layout == "F" else plain
        size = sum((n - 1) * step for n, step in zip(shape, layout, strict=True)) + kind.itemsize
        memory = arrays.zeros((size,), np.uint8) if plain.size else arrays.zeros((0,), np.uint8)
        value: np.ndarray = np.ndarray(shape, kind, memory, strides=tuple(layout))
        value[...] = plain
        return value
