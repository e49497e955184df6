from __future__ import annotations

import json
from pathlib import Path

import pytest

from onebox.core.errors import ModelBroken
from onebox.registry import open_on_disk
from onebox.registry.on_disk import MAX_JSON_BYTES
from tests.support.gguf import language_model
from tests.unit.registry.fakes import put, put_pipeline, weights


def test_a_folder_lists_what_loading_reads(folder: Path) -> None:
    model = put_pipeline(folder / "model")
    for name in (
        "README.md",
        "LICENSE.txt",
        "cat.png",
        "onebox.toml",
        ".cache/x.json",
        "a.bin.part",
    ):
        put(model / name, "x")
    on_disk = open_on_disk(model)
    assert on_disk.is_folder
    assert set(on_disk.files) == {
        "model_index.json", "unet/config.json", "unet/model.safetensors", "tokenizer/merges.txt",
    }  # fmt: skip
    assert on_disk.files["tokenizer/merges.txt"] == 3
    assert on_disk.read_json("model_index.json") == {"_class_name": "FakePipeline"}
    assert list(on_disk.tensors("unet/model.safetensors")) == ["marker"]


def test_a_single_file_is_its_only_file(folder: Path) -> None:
    on_disk = open_on_disk(put(folder / "a.safetensors", weights()))
    assert not on_disk.is_folder
    assert list(on_disk.files) == ["a.safetensors"]
    assert on_disk.tensors("a.safetensors")["marker"].dtype == "U8"


def test_headers_are_read_once(folder: Path) -> None:
    path = put(folder / "a.safetensors", weights())
    on_disk = open_on_disk(path)
    first = on_disk.tensors("a.safetensors")
    path.unlink()
    assert on_disk.tensors("a.safetensors") is first


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[1]", "not a JSON object"),
        ("{", "not JSON"),
        ('{"a":' * 100_000, "too deeply"),
        (b'{"\xff": 1}', "not JSON"),
        ('{"a": "' + "x" * MAX_JSON_BYTES + '"}', "larger than"),
    ],
)
def test_bad_json_is_broken(folder: Path, content: str | bytes, reason: str) -> None:
    model = put_pipeline(folder / "model")
    put(model / "unet" / "config.json", content)
    with pytest.raises(ModelBroken, match=reason):
        open_on_disk(model).read_json("unet/config.json")


@pytest.mark.parametrize(
    "name", ["../secret.json", "/etc/passwd", "unet/../../secret.json", "", "x"]
)
def test_paths_out_of_the_folder_are_missing(folder: Path, name: str) -> None:
    put(folder / "secret.json", json.dumps({"a": 1}))
    on_disk = open_on_disk(put_pipeline(folder / "model"))
    with pytest.raises(ModelBroken, match="is missing"):
        on_disk.read_json(name)
    with pytest.raises(ModelBroken, match="is missing"):
        on_disk.tensors(name)


def test_a_link_may_stay_inside_but_not_leave(folder: Path, tmp_path: Path) -> None:
    blob = put(folder / "blobs" / "abc", weights())
    model = put_pipeline(folder / "model")
    (model / "linked.safetensors").symlink_to(blob)
    assert "linked.safetensors" in open_on_disk(model, within=folder).files
    with pytest.raises(ModelBroken, match="leaves the model folder"):
        open_on_disk(model)


def test_nothing_there_is_broken(folder: Path) -> None:
    with pytest.raises(ModelBroken, match="not there"):
        open_on_disk(folder / "nothing.safetensors")


def test_a_gguf_header_is_read_once_and_its_faults_name_the_file(folder: Path) -> None:
    path = put(folder / "a.gguf", language_model())
    on_disk = open_on_disk(path)
    first = on_disk.gguf("a.gguf")
    path.unlink()
    assert on_disk.gguf("a.gguf") is first
    put(folder / "b.gguf", language_model()[:200])
    with pytest.raises(ModelBroken, match=r"b\.gguf: .*cut short"):
        open_on_disk(folder / "b.gguf").gguf("b.gguf")
