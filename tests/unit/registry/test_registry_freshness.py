"""The registry over time: freshness before use, restarts, many files, damage."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from onebox.core.errors import InvalidInput, ModelBusy, ModelNotFound
from onebox.registry import HashStore
from tests.unit.registry.fakes import Bench, put, put_pipeline, weights


def test_ensure_fresh_gives_the_same_entry_for_an_unchanged_file(
    folder: Path, bench: Bench
) -> None:
    put(folder / "a.safetensors", weights())
    put_pipeline(folder / "pipe")
    entries = bench.settle()
    bench.disk.opened.clear()
    for entry in entries.values():
        assert bench.registry.ensure_fresh(entry) is entry
        assert bench.registry.on_disk(entry).path == Path(entry.path)
    assert bench.disk.opened == []


def test_ensure_fresh_sees_a_change_and_a_deletion(folder: Path, tmp_path: Path) -> None:
    bench = Bench(folder, tmp_path / "cache.db", settle_s=0.0)
    path = put(folder / "a.safetensors", weights(b"1"))
    before = bench.settle()["a"]
    put(path, weights(b"22"))
    after = bench.registry.ensure_fresh(before)
    assert after.key != before.key
    assert after.status == "hashing"
    assert bench.registry.ensure_fresh(before) is after
    path.unlink()
    with pytest.raises(ModelNotFound, match="'a' is no longer there"):
        bench.registry.ensure_fresh(after)


def test_ensure_fresh_sees_a_file_added_to_a_folder(folder: Path, tmp_path: Path) -> None:
    bench = Bench(folder, tmp_path / "cache.db", settle_s=0.0)
    model = put_pipeline(folder / "pipe")
    before = bench.settle()["pipe"]
    put(model / "unet" / "more.safetensors", weights())
    assert bench.registry.ensure_fresh(before).key != before.key


def test_ensure_fresh_refuses_what_never_holds_still(folder: Path, tmp_path: Path) -> None:
    # The fake clock stands still, so the change never settles.
    bench = Bench(folder, tmp_path / "cache.db", settle_s=0.02)
    path = put(folder / "a.safetensors", weights(b"1"))
    before = bench.settle()["a"]
    put(path, weights(b"22"))
    with pytest.raises(ModelBusy, match="being written") as caught:
        bench.registry.ensure_fresh(before)
    assert caught.value.retry_after_s


@pytest.mark.parametrize("name", ["a.safetensors", "a"])
def test_what_is_being_written_is_not_said_to_be_missing(
    folder: Path, tmp_path: Path, name: str
) -> None:
    bench = Bench(folder, tmp_path / "cache.db", settle_s=0.02)
    path = put(folder / "a.safetensors", weights(b"1"))
    bench.settle()
    put(path, weights(b"22"))
    bench.scan()
    with pytest.raises(ModelBusy, match=f"'{name}' is being written") as caught:
        bench.registry.resolve(name)
    assert caught.value.retry_after_s
    with pytest.raises(ModelNotFound):
        bench.registry.resolve("b")


def test_a_restart_opens_no_known_checkpoint(folder: Path, tmp_path: Path) -> None:
    put(folder / "a.safetensors", weights())
    put(folder / "bad.safetensors", b"rubbish rubbish")
    put_pipeline(folder / "pipe")
    first = Bench(folder, tmp_path / "cache.db")
    before = first.settle()
    first.registry.stop()
    first.store.close()

    second = Bench(folder, tmp_path / "cache.db")
    assert second.scan() == before
    assert second.disk.opened == []
    assert second.family.asked == []


def test_other_families_after_a_restart_look_again(folder: Path, tmp_path: Path) -> None:
    put(folder / "a.safetensors", weights())
    first = Bench(folder, tmp_path / "cache.db", families={})
    assert first.settle()["a"].family is None
    first.store.close()
    second = Bench(folder, tmp_path / "cache.db")
    assert second.scan()["a"].family == "fake"


def test_five_thousand_files(folder: Path, tmp_path: Path) -> None:
    base = put(tmp_path / "base.safetensors", weights())
    for number in range(5000):
        os.link(base, folder / f"m{number:04}.safetensors")
    bench = Bench(folder, tmp_path / "cache.db", settle_s=0.0)
    entries = bench.scan()
    assert len(entries) == 5000
    assert list(entries) == sorted(entries)
    assert bench.registry.resolve("m2500").status == "hashing"
    bench.disk.opened.clear()
    (folder / "m0000.safetensors").unlink()
    (folder / "m0001.safetensors").unlink()
    put(folder / "m0001.safetensors", weights(b"other"))
    put(folder / "n.safetensors", weights(b"new"))
    assert len(bench.scan()) == 5000
    assert sorted(bench.disk.opened) == ["m0001.safetensors", "n.safetensors"]


def test_folders_come_and_go(folder: Path, bench: Bench) -> None:
    put(folder / "a.safetensors", weights())
    bench.settle()
    shutil.rmtree(folder)
    assert bench.scan() == {}
    put(folder / "a.safetensors", weights())
    assert set(bench.settle()) == {"a"}


def test_entries_are_a_copy(folder: Path, bench: Bench) -> None:
    put(folder / "a.safetensors", weights())
    bench.settle()
    bench.registry.entries().clear()
    assert set(bench.entries()) == {"a"}


def test_default_for_asks_the_settings_first(folder: Path, tmp_path: Path) -> None:
    put(folder / "a.safetensors", weights(b"1"))
    put(folder / "b.safetensors", weights(b"2"))
    bench = Bench(
        folder, tmp_path / "cache.db",
        default_models={"text-to-image": "b"}, task_aliases={"dall-e-3": "text-to-image"},
    )  # fmt: skip
    entries = bench.settle()
    assert bench.registry.default_for("text-to-image") is entries["b"]
    assert bench.registry.resolve("dall-e-3") is entries["b"]
    with pytest.raises(InvalidInput, match="no model here can do chat"):
        bench.registry.default_for("chat")


def test_a_touched_file_is_the_same_model(folder: Path, bench: Bench) -> None:
    path = put(folder / "a.safetensors", weights())
    before = bench.settle()["a"]
    os.utime(path, (1, 1))
    assert bench.settle()["a"].sha256 == before.sha256


def test_the_store_may_be_damaged(folder: Path, tmp_path: Path) -> None:
    put(folder / "a.safetensors", weights())
    (tmp_path / "cache.db").write_bytes(b"rubbish" * 1000)
    bench = Bench(folder, tmp_path / "cache.db")
    assert bench.settle()["a"].status == "ready"
    bench.store.close()
    again = HashStore(tmp_path / "cache.db")
    again.close()
