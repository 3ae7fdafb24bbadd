"""Modules that are imported when they are first used, for a program that has to stay small.

`import x` then gives a module that is empty until somebody asks it for a name. `from x import y` asks at once, and a module
that is asked while its importer is being imported gains nothing. As importlib.util.LazyLoader, which in Python 3.11 shows
other threads a module that is half there.
"""

import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from threading import RLock
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # that module brings a megabyte of others
    from importlib.abc import Loader


def defer(names: Iterable[str]) -> None:
    """From now on, import each of these modules (not packages) when it is first used; what is there already stays."""
    sys.meta_path.insert(0, _Finder(names))


class _Finder:
    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname in self._names else None
        if spec is not None and spec.loader is not None:
            spec.loader = _Later(spec.loader)  # type: ignore[assignment]  # it has all that is asked of one
        return spec


class _Later:
    def __init__(self, loader: "Loader") -> None:
        self._loader = loader
        self._lock = RLock()  # one for each module, as the import system has it, so that no two wait for each other
        self._loads = False

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__class__ = _Deferred

    def load(self, module: ModuleType) -> bool:
        """Import it now, if that was not done; False where this thread is just doing it."""
        with self._lock:
            if self._loads:
                return False
            if type(module) is _Deferred:
                self._loads = True
                try:
                    self._loader.exec_module(module)
                finally:
                    self._loads = False
                # Only now: until then other threads come here, and wait.
                module.__class__ = ModuleType  # type: ignore[assignment]  # mypy took it for one that never changes
            return True


class _Deferred(ModuleType):
    def __getattr__(self, name: str) -> object:
        """Of a name that is not there (yet)."""
        loader = self.__spec__.loader if self.__spec__ is not None else None
        if isinstance(loader, _Later) and loader.load(self):
            return getattr(self, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
