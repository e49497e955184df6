"""The registry driven by hand: a fake clock, no threads."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from onebox.core.errors import ModelNotFound
from onebox.registry.fingerprint import sha256_of_manifest
from tests.unit.registry.fakes import Bench, put, put_pipeline, weights


def test_an_old_file_is_listed_by_the_first_scan_and_hashed_later(
    folder: Path, bench: Bench
) -> None:
    path = put(folder / "org" / "a.safetensors", weights())
    entry = bench.scan()["org/a"]
    assert (entry.status, entry.sha256) == ("hashing", None)
    assert (entry.family, entry.kind, entry.tasks) == ("fake", "Marked", ("text-to-image",))
    assert (entry.path, entry.extension) == (str(path), ".safetensors")
    assert (entry.size_bytes, entry.created) == (path.stat().st_size, int(path.stat().st_mtime))
    assert bench.registry.resolve("org/a") is entry

    bench.registry.hash_now()
    ready = bench.entries()["org/a"]
    assert (ready.status, ready.sha256) == ("ready", hashlib.sha256(weights()).hexdigest())
    assert ready.key == entry.key


def test_a_new_file_appears_once_it_held_still(folder: Path, bench: Bench) -> None:
    assert bench.scan() == {}
    put(folder / "a.safetensors", weights())
    assert bench.scan() == {}
    assert bench.scan(after_s=0.4) == {}
    assert set(bench.scan(after_s=0.2)) == {"a"}


def test_a_half_copied_file_is_not_served(folder: Path, bench: Bench) -> None:
    whole = weights(b"x" * 100)
    bench.scan()
    for part in range(20, len(whole), 40):
        put(folder / "a.safetensors", whole[:part])
        assert bench.scan(after_s=0.4) == {}
    put(folder / "a.safetensors", whole)
    assert bench.settle()["a"].status == "ready"


def test_a_copy_that_stalls_is_broken_until_it_goes_on(folder: Path, bench: Bench) -> None:
    whole = weights(b"x" * 100)
    bench.scan()
    put(folder / "a.safetensors", whole[:-50])
    stalled = bench.settle()["a"]
    assert stalled.status == "broken"
    assert "copy it again" in (stalled.reason or "")
    put(folder / "a.safetensors", whole)
    assert bench.scan() == {}
    assert bench.settle()["a"].status == "ready"


def test_a_changed_file_gets_a_new_key_and_hash(folder: Path, bench: Bench) -> None:
    put(folder / "a.safetensors", weights(b"1"))
    before = bench.settle()["a"]
    put(folder / "a.safetensors", weights(b"2"), age_s=50)
    assert bench.scan() == {}
    after = bench.settle()["a"]
    assert after.status == "ready"
    assert after.key != before.key
    assert after.sha256 != before.sha256


def test_a_renamed_file_is_served_without_hashing_it_again(folder: Path, bench: Bench) -> None:
    path = put(folder / "old.safetensors", weights())
    before = bench.settle()["old"]
    path.rename(folder / "new.safetensors")
    bench.disk.opened.clear()
    after = bench.scan()
    assert set(after) == {"new"}
    assert (after["new"].status, after["new"].sha256) == ("ready", before.sha256)
    assert len(bench.disk.opened) <= 1


def test_a_renamed_folder_keeps_its_hash(folder: Path, bench: Bench) -> None:
    put_pipeline(folder / "old")
    before = bench.settle()["old"]
    (folder / "old").rename(folder / "new")
    assert bench.scan()["new"].sha256 == before.sha256


def test_a_deleted_file_goes(folder: Path, bench: Bench) -> None:
    path = put(folder / "a.safetensors", weights())
    bench.settle()
    path.unlink()
    assert bench.scan() == {}
    with pytest.raises(ModelNotFound):
        bench.registry.resolve("a")


def test_a_folder_is_one_checkpoint_with_the_id_of_its_manifest(folder: Path, bench: Bench) -> None:
    model = put_pipeline(folder / "org" / "pipe")
    entry = bench.settle()["org/pipe"]
    files = [
        "model_index.json",
        "unet/config.json",
        "unet/model.safetensors",
        "tokenizer/merges.txt",
    ]
    contents = {name: (model / name).read_bytes() for name in files}
    assert entry.sha256 == sha256_of_manifest(
        (name, len(content), hashlib.sha256(content).hexdigest())
        for name, content in contents.items()
    )
    assert (entry.kind, entry.extension) == ("FakePipeline", "")
    assert entry.size_bytes == sum(map(len, contents.values()))
    assert set(bench.entries()) == {"org/pipe"}


def test_what_loading_does_not_read_changes_nothing(folder: Path, bench: Bench) -> None:
    model = put_pipeline(folder / "pipe")
    before = bench.settle()["pipe"]
    put(model / "README.md", "hello")
    assert bench.scan()["pipe"] is before
    put(model / "unet" / "config.json", "{ }")
    assert bench.settle()["pipe"].sha256 != before.sha256


def test_a_broken_file_does_not_stop_the_scan(folder: Path, bench: Bench) -> None:
    put(folder / "a.safetensors", b"\xff" * 100)
    put(folder / "b.safetensors", weights())
    put(folder / "c.ckpt", b"rubbish")
    entries = bench.settle()
    assert [entries[name].status for name in "abc"] == ["broken", "ready", "broken"]
    assert "the header claims" in (entries["a"].reason or "")
    assert entries["a"].tasks == ()
    assert bench.registry.resolve("a").status == "broken"


def test_an_unreadable_file_is_broken_until_it_can_be_read(folder: Path, bench: Bench) -> None:
    put(folder / "a.safetensors", weights())
    bench.disk.unreadable.add("a.safetensors")
    broken = bench.settle()["a"]
    assert broken.status == "broken"
    assert "cannot be read (permission)" in (broken.reason or "")
    assert bench.scan(after_s=10)["a"] is broken
    bench.disk.unreadable.clear()
    bench.scan(after_s=10)
    bench.registry.hash_now()
    assert bench.entries()["a"].status == "ready"


def test_a_file_that_only_hashing_cannot_read_is_tried_again_later(
    folder: Path, bench: Bench
) -> None:
    put_pipeline(folder / "pipe")
    bench.disk.unreadable.add("merges.txt")
    broken = bench.settle()["pipe"]
    assert broken.status == "broken"
    assert "tokenizer/merges.txt cannot be read (permission)" in (broken.reason or "")
    bench.disk.unreadable.clear()
    bench.scan(after_s=10)
    bench.registry.hash_now()
    assert bench.entries()["pipe"].status == "broken"
    bench.scan(after_s=60)
    bench.registry.hash_now()
    assert bench.entries()["pipe"].status == "ready"


def test_a_link_out_of_the_folder_is_not_a_checkpoint(
    folder: Path, tmp_path: Path, bench: Bench
) -> None:
    outside = put(tmp_path / "secret.safetensors", weights())
    (folder / "a.safetensors").symlink_to(outside)
    (put_pipeline(folder / "pipe") / "unet" / "b.safetensors").symlink_to(outside)
    entries = bench.settle()
    assert set(entries) == {"pipe"}
    assert "leaves the model folder" in (entries["pipe"].reason or "")
    assert "secret.safetensors" not in bench.disk.opened


def test_equal_contents_are_one_model_with_two_paths(folder: Path, bench: Bench) -> None:
    first = put(folder / "z.safetensors", weights())
    before = bench.settle()["z"]
    second = put(folder / "org" / "a.safetensors", weights())
    entries = bench.settle()
    assert set(entries) == {"z"}
    assert entries["z"].key == before.key
    assert entries["z"].other_paths == (str(second),)
    assert bench.registry.resolve("org/a") is entries["z"]
    assert bench.registry.resolve("org/a.safetensors") is entries["z"]

    first.unlink()
    left = bench.scan()
    assert set(left) == {"org/a"}
    assert bench.registry.ensure_fresh(entries["z"]) is left["org/a"]


def test_names_get_their_extension_when_they_would_be_equal(folder: Path, bench: Bench) -> None:
    put(folder / "a.safetensors", weights())
    put(folder / "a.pt", b"PK\x03\x04")
    assert set(bench.settle()) == {"a.safetensors", "a.pt"}


def test_a_checkpoint_nobody_knows_is_listed_without_tasks(folder: Path, bench: Bench) -> None:
    put(folder / "a.safetensors", weights(marker="x"))
    entry = bench.settle()["a"]
    assert (entry.status, entry.family, entry.kind, entry.tasks) == ("ready", None, None, ())


def test_onebox_toml_of_files_and_folders(folder: Path, bench: Bench) -> None:
    put(folder / "a.safetensors", weights())
    put(folder / "a.onebox.toml", 'aliases = ["tiny"]\npin = true\n[defaults]\nsteps = 4')
    put(put_pipeline(folder / "pipe") / "onebox.toml", 'dtype = "float32"')
    entries = bench.settle()
    assert entries["a"].overrides == {"aliases": ["tiny"], "pin": True, "defaults": {"steps": 4}}
    assert entries["a"].aliases == ("tiny",)
    assert entries["pipe"].overrides == {"dtype": "float32"}
    assert bench.registry.resolve("tiny") is entries["a"]
    assert bench.registry.default_for("text-to-image") is entries["a"]


def test_a_malformed_onebox_toml_breaks_its_checkpoint_until_mended(
    folder: Path, bench: Bench
) -> None:
    put(folder / "a.safetensors", weights())
    settings = put(folder / "a.onebox.toml", "pin = ")
    broken = bench.settle()["a"]
    assert broken.status == "broken"
    assert "onebox.toml" in (broken.reason or "")
    put(settings, "pin = true")
    mended = bench.settle()["a"]
    assert (mended.status, mended.overrides) == ("ready", {"pin": True})


def test_only_overrides_that_change_the_loaded_weights_change_the_key(
    folder: Path, bench: Bench
) -> None:
    put(folder / "a.safetensors", weights())
    plain = bench.settle()["a"]
    put(folder / "a.onebox.toml", 'aliases = ["tiny"]')
    assert set(bench.scan()) == {"a"}
    assert bench.settle()["a"].key == plain.key
    put(folder / "a.onebox.toml", 'dtype = "float32"')
    assert bench.settle()["a"].key != plain.key
