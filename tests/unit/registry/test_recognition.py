from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path

import pytest

from onebox.core.contracts import Family
from onebox.core.on_disk import Match, OnDisk
from onebox.registry.on_disk import CheckpointOnDisk
from onebox.registry.recognition import Recognition, recognise, recogniser_version
from onebox.registry.scanner import scan_one
from tests.unit.registry.fakes import Disk, FakeFamily, put, put_pipeline, weights


class CrashingFamily(FakeFamily):
    def matches(self, on_disk: OnDisk) -> Match | None:
        raise ZeroDivisionError("a bug")


def look(
    path: Path, families: Mapping[str, Family] | None = None, disk: Disk | None = None
) -> Recognition:
    candidate = scan_one(path)
    assert candidate is not None
    on_disk = CheckpointOnDisk(candidate, disk or Disk())
    return recognise(on_disk, {"fake": FakeFamily()} if families is None else families)


def test_the_first_family_that_claims_it_has_it(folder: Path) -> None:
    families = {"other": FakeFamily(marker="x"), "a": FakeFamily(), "b": FakeFamily()}
    found = look(put(folder / "a.safetensors", weights()), families)
    assert (found.family, found.kind, found.facts) == ("a", "Marked", {"size": [64, 64]})
    assert families["b"].asked == []


def test_what_no_family_knows_is_sound_all_the_same(folder: Path) -> None:
    assert look(put(folder / "a.safetensors", weights(marker="x"))) == Recognition()


def test_a_family_may_say_that_its_own_is_broken(folder: Path) -> None:
    found = look(put_pipeline(folder / "a", name="Evil"))
    assert (found.family, found.reason) == ("fake", "Evil is not on the allow-list")


def test_a_family_with_a_bug_breaks_only_the_checkpoint(folder: Path) -> None:
    path = put(folder / "a.safetensors", weights())
    found = look(path, {"crash": CrashingFamily()})
    assert found.reason == "recognition failed: ZeroDivisionError; see the log"


@pytest.mark.parametrize("name", ["a.ckpt", "a.pt", "a.pth", "a.bin"])
@pytest.mark.parametrize("content", [b"PK\x03\x04rest", b"\x80\x02}q\x00."])
def test_a_pickle_is_listed_by_its_first_bytes(folder: Path, name: str, content: bytes) -> None:
    assert look(put(folder / name, content)) == Recognition()


class Bomb:
    """Unpickling one leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def test_a_pickle_is_never_unpickled(folder: Path, tmp_path: Path) -> None:
    path = put(folder / "a.ckpt", pickle.dumps(Bomb(tmp_path / "exploded")))
    assert look(path) == Recognition()
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.ckpt", b"", "does not begin like a PyTorch file"),
        ("a.bin", b"lmggrest", "does not begin like a PyTorch file"),
        ("a.pt", b"\x80\x63aa", "does not begin like a PyTorch file"),
        ("a.gguf", b"GGML", "does not begin like a GGUF file"),
        ("a.safetensors", b"rubbish that is long", "a.safetensors: the header claims"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_broken(
    folder: Path, name: str, content: bytes, reason: str
) -> None:
    assert reason in (look(put(folder / name, content)).reason or "")


def test_a_gguf_file_is_listed(folder: Path) -> None:
    assert look(put(folder / "a.gguf", b"GGUF\x03\x00\x00\x00")) == Recognition()


def test_a_missing_shard_is_broken(folder: Path) -> None:
    model = folder / "lm"
    put(model / "config.json", "{}")
    put(model / "model-00001-of-00002.safetensors", weights())
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    weight_map = dict(zip("ab", shards, strict=True))
    put(model / "model.safetensors.index.json", json.dumps({"weight_map": weight_map}))
    assert f"names {shards[1]}, which is missing" in (look(model).reason or "")
    put(model / shards[1], weights())
    assert look(model).reason is None


@pytest.mark.parametrize(
    "name",
    ["openvino/openvino_model.bin", "original/consolidated.00.pth", "pytorch_model.bin", "rng.pt"],
)
def test_weights_of_other_programs_beside_those_that_are_loaded_do_not_matter(
    folder: Path, name: str
) -> None:
    model = folder / "lm"
    put(model / "config.json", "{}")
    put(model / "model.safetensors", weights())
    put(model / name, b"anything else")
    assert look(model).reason is None


def test_pickles_that_would_be_converted_are_looked_at(folder: Path) -> None:
    model = folder / "lm"
    put(model / "config.json", "{}")
    put(model / "pytorch_model.bin", b"anything else")
    assert "pytorch_model.bin: does not begin like" in (look(model).reason or "")


@pytest.mark.parametrize("pickled", ["", "diffusion_"])
def test_a_list_of_pickled_shards_counts_only_without_safetensors_in_its_place(
    folder: Path, pickled: str
) -> None:
    model = folder / "lm"
    put(model / "config.json", "{}")
    shard = f"{pickled}pytorch_model-00001-of-00001.bin"
    index = json.dumps({"weight_map": {"a": shard}})
    put(model / "unet" / f"{pickled}pytorch_model.bin.index.json", index)
    assert f"names {shard}, which is missing" in (look(model).reason or "")
    name = "diffusion_pytorch_model" if pickled else "model"
    put(model / "unet" / f"{name}.safetensors", weights())
    assert look(model).reason is None


def test_an_unreadable_file_may_become_readable(folder: Path) -> None:
    disk = Disk()
    disk.unreadable.add("a.safetensors")
    found = look(put(folder / "a.safetensors", weights()), disk=disk)
    assert found.reason == "cannot be read (permission); let the server's user read it"
    assert found.passing


def test_the_version_changes_with_the_families() -> None:
    one, two = FakeFamily(), FakeFamily()
    assert recogniser_version({"a": one}) == recogniser_version({"a": two})
    assert recogniser_version({"a": one}) != recogniser_version({"a": one, "b": two})
