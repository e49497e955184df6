"""The plugin tables: filled by import, frozen at start, the only lists of tasks and families there
are.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Collection, Iterator, Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from onebox.core.contracts import Family, Task
    from onebox.core.results import Encoder

T = TypeVar("T")

BUILT_IN_PACKAGES = ("onebox.families", "onebox.tasks", "onebox.encoders")
ENTRY_POINT_GROUP = "onebox.plugins"
PLUGINS_VARIABLE = "ONEBOX_PLUGINS"


class PluginTable(Mapping[str, T], Generic[T]):
    """Name → plugin. Refuses duplicates, and additions once frozen."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._items: dict[str, T] = {}
        self._frozen = False

    def register(self, name: str, item: T) -> T:
        """Add an item and return it. Raises RuntimeError for a taken name or a frozen table."""
        if self._frozen:
            raise RuntimeError(f"{self._kind} {name!r} came after start; register it at import")
        if name in self._items and type(self._items[name]) is not type(item):
            raise RuntimeError(f"two plugins are called {self._kind} {name!r}")
        self._items[name] = item
        return item

    def freeze(self) -> None:
        self._frozen = True

    def __getitem__(self, name: str) -> T:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)


FAMILIES: PluginTable[Family] = PluginTable("family")
TASKS: PluginTable[Task[Any]] = PluginTable("task")
ENCODERS: PluginTable[Encoder] = PluginTable("encoder")


def load_plugins() -> None:
    """Import every built-in and installed plugin, then freeze the tables. Idempotent."""
    for package_name in BUILT_IN_PACKAGES:
        package = importlib.import_module(package_name)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package_name}.{module.name}")
    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        entry_point.load()
    for name in filter(None, os.environ.get(PLUGINS_VARIABLE, "").split(",")):
        importlib.import_module(name.strip())
    for table in (FAMILIES, TASKS, ENCODERS):
        table.freeze()


def tasks_of_family(family_name: str, own: Collection[str] | None = None) -> tuple[str, ...]:
    """Names of the tasks a family serves: the union of what either side declares, sorted.

    `own`: of those that the family itself declares only these, for a checkpoint that can do no
    others.
    """
    declared = set(FAMILIES[family_name].tasks) if family_name in FAMILIES else set()
    if own is not None:
        declared &= set(own)
    declared |= {name for name, task in TASKS.items() if family_name in task.families}
    return tuple(sorted(declared & set(TASKS)))
