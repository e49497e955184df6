"""Stored keys over a database of their own, with a clock that only the test moves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

from onebox.services.access.keys.keys import Keys
from onebox.services.database import Database, sqlite_url

T = TypeVar("T")
NOW = 1_000_000.0


class Keyring:
    """Two servers on one database, and their clock."""

    def __init__(self, path: Path) -> None:
        self.now = NOW
        self.databases = [Database(sqlite_url(path)) for _ in range(2)]
        self.keys, self.others = (Keys(each, clock=lambda: self.now) for each in self.databases)
        for keys in (self.keys, self.others):
            keys.load()

    def find(self, secret: str):
        return self.keys.index.find(secret)


@contextlib.contextmanager
def keyring(folder: Path) -> Iterator[Keyring]:
    ring = Keyring(folder / "onebox.db")
    try:
        yield ring
    finally:
        for database in ring.databases:
            database.close()


def run(work: Callable[[], Awaitable[T]]) -> T:
    async def whole() -> T:
        return await work()

    return asyncio.run(whole())
