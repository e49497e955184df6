"""What was measured is there again after a restart, for the same card and dtype only."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from onebox.registry import HashStore
from onebox.services.footprints import Footprints

SHA = "ab" * 32
SIZE = (SHA, "float16", "cuda A card")
PEAK = (SHA, "text-to-image", "512x512", "float16", "cuda A card")


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[], Footprints]]:
    """Opens the store; each time as if the server had been restarted."""
    stores: list[Footprints] = []

    def _opened() -> Footprints:
        for store in stores:
            store.close()
        stores.append(Footprints(tmp_path / "cache.db"))
        return stores[-1]

    yield _opened
    for store in stores:
        store.close()


def changed(key: tuple[str, ...], part: int) -> tuple[str, ...]:
    return (*key[:part], "another", *key[part + 1 :])


def test_sizes_are_remembered_over_a_restart(opened: Callable[[], Footprints]) -> None:
    store = opened()
    assert store.size_of(*SIZE) is None
    store.remember_size(*SIZE, 100)
    store.remember_size(*SIZE, 90)  # the last one holds
    assert store.size_of(*SIZE) == 90
    assert opened().size_of(*SIZE) == 90


def test_the_largest_peak_is_remembered_over_a_restart(opened: Callable[[], Footprints]) -> None:
    store = opened()
    assert store.peak_of(*PEAK) is None
    for peak_bytes in (100, 300, 200):
        store.remember_peak(*PEAK, peak_bytes)
    assert store.peak_of(*PEAK) == 300
    again = opened()
    assert again.peak_of(*PEAK) == 300
    again.remember_peak(*PEAK, 250)
    assert opened().peak_of(*PEAK) == 300


def test_a_peak_of_nothing_is_a_peak(opened: Callable[[], Footprints]) -> None:
    opened().remember_peak(*PEAK, 0)
    assert opened().peak_of(*PEAK) == 0


def test_nothing_is_inherited_by_another(opened: Callable[[], Footprints]) -> None:
    store = opened()
    store.remember_size(*SIZE, 100)
    store.remember_peak(*PEAK, 100)
    assert [store.size_of(*changed(SIZE, part)) for part in range(3)] == [None] * 3
    assert [store.peak_of(*changed(PEAK, part)) for part in range(5)] == [None] * 5


def test_a_damaged_database_is_made_anew(opened: Callable[[], Footprints], tmp_path: Path) -> None:
    store = opened()
    store.remember_size(*SIZE, 100)
    store.close()
    (tmp_path / "cache.db").write_bytes(b"rubbish" * 2000)
    again = opened()
    assert again.size_of(*SIZE) is None
    again.remember_size(*SIZE, 200)
    assert opened().size_of(*SIZE) == 200


def test_works_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    store = Footprints(tmp_path / "file" / "cache.db")
    store.remember_size(*SIZE, 100)
    store.close()
    assert store.size_of(*SIZE) == 100


def test_without_a_file_it_remembers_for_this_process() -> None:
    store = Footprints(None)
    store.remember_size(*SIZE, 100)
    store.remember_peak(*PEAK, 100)
    store.close()
    assert (store.size_of(*SIZE), store.peak_of(*PEAK)) == (100, 100)


def test_what_comes_after_the_end_is_no_error(opened: Callable[[], Footprints]) -> None:
    store = opened()
    store.close()
    store.remember_size(*SIZE, 100)
    assert store.size_of(*SIZE) == 100
    assert opened().size_of(*SIZE) is None


def test_remembering_does_not_wait_for_another_writer(
    opened: Callable[[], Footprints], tmp_path: Path
) -> None:
    store = opened()
    with closing(sqlite3.connect(tmp_path / "cache.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        store.remember_size(*SIZE, 100)  # would wait here, and never end
        other.execute("COMMIT")
    assert opened().size_of(*SIZE) == 100


def test_shares_the_file_with_the_registry(
    opened: Callable[[], Footprints], tmp_path: Path
) -> None:
    hashes = HashStore(tmp_path / "cache.db")
    opened().remember_size(*SIZE, 100)
    assert opened().size_of(*SIZE) == 100
    hashes.close()


def test_several_threads_lose_nothing(opened: Callable[[], Footprints]) -> None:
    store = opened()

    def remember(number: int) -> None:
        for size_class in ("a", "b"):
            store.remember_peak(SHA, "task", size_class, "float16", "card", number)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(remember, range(200)))
    again = opened()
    peaks = [again.peak_of(SHA, "task", name, "float16", "card") for name in ("a", "b")]
    assert peaks == [199, 199]
