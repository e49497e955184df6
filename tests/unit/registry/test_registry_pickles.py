"""The registry and pickles: listed at once, and what they are once they were converted."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from onebox.core.contracts import Entry
from onebox.core.errors import InvalidInput
from onebox.registry.converted import ConvertedStore
from tests.unit.registry.fakes import Bench, put, weights

PICKLE = pickle.dumps([1, 2], protocol=2)


@pytest.fixture
def store(tmp_path: Path) -> ConvertedStore:
    return ConvertedStore(tmp_path / "converted")


@pytest.fixture
def pickles(folder: Path, store: ConvertedStore) -> Iterator[Bench]:
    bench = Bench(folder, Path(":memory:"), converted=store)
    yield bench
    bench.registry.stop()
    bench.store.close()


def convert(bench: Bench, store: ConvertedStore, entry: Entry, content: bytes) -> Entry:
    made = put(store.workspace() / "made", content)
    assert entry.sha256 is not None
    store.keep(made, entry.sha256, is_folder=False)
    return bench.registry.take_conversion(entry)


def test_a_pickle_is_listed_at_once_without_tasks(folder: Path, pickles: Bench) -> None:
    put(folder / "a.ckpt", PICKLE)
    entry = pickles.scan()["a"]
    assert (entry.status, entry.tasks, entry.family) == ("hashing", (), None)
    assert entry.unconverted
    assert pickles.settle()["a"].status == "ready"
    assert pickles.family.asked == []


def test_converted_it_has_its_tasks_and_its_own_name_and_path(
    folder: Path, pickles: Bench, store: ConvertedStore
) -> None:
    path = put(folder / "a.ckpt", PICKLE)
    before = pickles.settle()["a"]
    entry = convert(pickles, store, before, weights())
    assert (entry.family, entry.tasks) == ("fake", ("text-to-image",))
    assert (entry.name, entry.path, entry.key) == ("a", str(path), before.key)
    assert not entry.unconverted
    assert entry.as_loaded().path == str(store.place(before.sha256 or "", is_folder=False))
    assert pickles.registry.on_disk(entry).path == Path(entry.as_loaded().path)


def test_families_see_the_name_of_the_original(
    folder: Path, pickles: Bench, store: ConvertedStore
) -> None:
    put(folder / "512-base-ema.ckpt", PICKLE)
    convert(pickles, store, pickles.settle()["512-base-ema"], weights())
    assert pickles.family.names == ["512-base-ema.ckpt"]
    put(folder / "other.ckpt", PICKLE)
    pickles.settle()
    assert pickles.family.names == ["512-base-ema.ckpt", "other.ckpt"]


def test_that_is_remembered_over_a_restart(
    folder: Path, pickles: Bench, store: ConvertedStore
) -> None:
    put(folder / "a.ckpt", PICKLE)
    convert(pickles, store, pickles.settle()["a"], weights())
    again = Bench(folder, Path(":memory:"), converted=store)
    entry = again.settle()["a"]
    assert (entry.tasks, entry.unconverted) == (("text-to-image",), False)
    again.store.close()


def test_equal_pickles_share_what_was_made_of_one(
    folder: Path, pickles: Bench, store: ConvertedStore
) -> None:
    put(folder / "a.ckpt", PICKLE)
    convert(pickles, store, pickles.settle()["a"], weights())
    put(folder / "b.ckpt", PICKLE)
    pickles.settle()
    assert pickles.registry.resolve("b").tasks == ("text-to-image",)


def test_a_changed_pickle_is_to_be_converted_again(
    folder: Path, pickles: Bench, store: ConvertedStore
) -> None:
    put(folder / "a.ckpt", PICKLE)
    convert(pickles, store, pickles.settle()["a"], weights())
    put(folder / "a.ckpt", pickle.dumps([3], protocol=2), age_s=50)
    pickles.scan()
    assert pickles.settle()["a"].unconverted


def test_so_is_one_whose_conversion_was_removed(
    folder: Path, pickles: Bench, store: ConvertedStore, tmp_path: Path
) -> None:
    put(folder / "a.ckpt", PICKLE)
    entry = convert(pickles, store, pickles.settle()["a"], weights())
    shutil.rmtree(tmp_path / "converted")
    assert pickles.registry.ensure_fresh(entry).unconverted


def test_what_no_family_can_use_says_so_once_it_is_converted(
    folder: Path, pickles: Bench, store: ConvertedStore
) -> None:
    put(folder / "a.ckpt", PICKLE)
    entry = convert(pickles, store, pickles.settle()["a"], b"damaged")
    assert (entry.status, entry.unconverted) == ("broken", False)


def test_a_conversion_goes_with_its_original(
    folder: Path, pickles: Bench, store: ConvertedStore, tmp_path: Path
) -> None:
    for name, content in (("a.ckpt", PICKLE), ("b.ckpt", PICKLE + b"b")):
        put(folder / name, content)
    for name in ("a", "b"):
        convert(pickles, store, pickles.settle()[name], weights(name.encode()))
    (folder / "a.ckpt").unlink()
    pickles.settle()
    pickles.registry.drop_conversions()
    (left,) = [path for path in (tmp_path / "converted").iterdir() if path.is_file()]
    assert str(left) == pickles.entries()["b"].loaded_from


def test_none_goes_while_a_pickle_is_not_hashed_or_a_folder_is_away(
    folder: Path, pickles: Bench, store: ConvertedStore
) -> None:
    put(folder / "a.ckpt", PICKLE)
    entry = convert(pickles, store, pickles.settle()["a"], weights())
    again = Bench(folder, Path(":memory:"), converted=store)
    again.scan()
    again.registry.drop_conversions()
    shutil.move(folder, folder.with_name("away"))
    pickles.scan()
    pickles.registry.drop_conversions()
    assert store.find(entry.sha256 or "", is_folder=False) is not None
    again.store.close()


def test_pickles_are_refused_where_nothing_converts_them(folder: Path, bench: Bench) -> None:
    put(folder / "a.ckpt", PICKLE)
    put(folder / "b" / "config.json", "{}")
    put(folder / "b" / "pytorch_model.bin", PICKLE)
    for entry in bench.scan().values():
        assert entry.status == "broken"
        assert "ONEBOX_PICKLE=refuse" in (entry.reason or "")


def test_a_folder_with_pickles_asks_no_family_before(folder: Path, pickles: Bench) -> None:
    put(folder / "b" / "config.json", "{}")
    put(folder / "b" / "pytorch_model.bin", PICKLE)
    assert pickles.scan()["b"].unconverted
    assert pickles.family.asked == []


def test_who_names_no_model_learns_which_may_do_it(folder: Path, pickles: Bench) -> None:
    put(folder / "a.ckpt", PICKLE)
    pickles.scan()
    with pytest.raises(InvalidInput, match="on first use: a"):
        pickles.registry.default_for("text-to-image")


def test_a_pickle_is_identified_in_the_calling_thread(folder: Path, pickles: Bench) -> None:
    put(folder / "a.ckpt", PICKLE)
    entry = pickles.scan()["a"]
    assert entry.sha256 is None
    assert len(pickles.registry.identify(entry).sha256 or "") == 64
