"""Do something with a module when it has been loaded, however a program comes to load it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["Finder"]


class Finder:
    """A finder for ``sys.meta_path`` that calls ``loaded(module)`` after the module's own code.

    It finds nothing itself: it asks the finders after it, and their loader loads. So submodules,
    ``from ... import``, pickles and reloads come through it, each as they do without it.
    """

    def __init__(self, names: Callable[[], Collection[str]], loaded: Callable[[ModuleType], None]):
        self.names, self.loaded = names, loaded

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return the spec that the other finders have for a module that is waited for."""
        if name not in self.names():
            return None
        for finder in [*sys.meta_path]:
            find = getattr(finder, "find_spec", None)
            spec = None if finder is self or find is None else find(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader, self.loaded)
                return spec
        return None


class _Loader:
    """Stands before a loader until that one is about to run the module, then tells that it has."""

    def __init__(self, loader: Any, loaded: Callable[[ModuleType], None]):
        self.loader, self.loaded = loader, loaded

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leave it to the loader."""
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module as if this had not been here, and tell."""
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        self.loaded(module)
