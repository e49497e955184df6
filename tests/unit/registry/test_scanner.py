from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from onebox.registry.scanner import scan
from tests.unit.registry.fakes import put, put_pipeline, weights


def names(folder: Path) -> set[str]:
    return {candidate.name for candidate in scan([folder]).values()}


def test_finds_files_and_folders_to_any_depth(folder: Path) -> None:
    for name in (
        "a.safetensors",
        "b.ckpt",
        "c.pt",
        "d.pth",
        "e.bin",
        "f.GGUF",
        "org/x/y/g.safetensors",
    ):
        put(folder / name, weights())
    put_pipeline(folder / "org" / "pipeline")
    put(folder / "org" / "lm" / "config.json", "{}")
    put(folder / "org" / "lm" / "model.safetensors", weights())
    assert names(folder) == {
        "a.safetensors", "b.ckpt", "c.pt", "d.pth", "e.bin", "f.GGUF", "org/x/y/g.safetensors",
        "org/pipeline", "org/lm",
    }  # fmt: skip


def test_a_config_without_weights_beside_it_is_no_checkpoint(folder: Path) -> None:
    put(folder / "x" / "config.json", "{}")
    put(folder / "x" / "deeper" / "a.safetensors", weights())
    put(folder / "config.json", "{}")
    put(folder / "b.safetensors", weights())
    assert names(folder) == {"x/deeper/a.safetensors", "b.safetensors"}


def test_an_adapter_and_its_configuration_alone_in_a_folder_are_one(folder: Path) -> None:
    for place in ("ink", "."):
        put(folder / "loras" / place / "adapter_config.json", "{}")
        put(folder / "loras" / place / "adapter_model.safetensors", weights())
    put(folder / "loras" / "line.safetensors", weights())
    assert names(folder) == {
        "loras/ink",
        "loras/line.safetensors",
        "loras/adapter_model.safetensors",
    }


@pytest.mark.parametrize(
    "name",
    [
        ".hidden.safetensors", ".git/a.safetensors", "a.safetensors.part", "a.safetensors.tmp",
        "a.safetensors.crdownload", "a.safetensors.incomplete", "notes.txt", "a.onnx",
    ],
)  # fmt: skip
def test_ignores_what_is_hidden_partial_or_no_model(folder: Path, name: str) -> None:
    put(folder / name, weights())
    assert names(folder) == set()


def test_ignores_a_file_that_a_downloader_is_not_done_with(folder: Path) -> None:
    put(folder / "a.safetensors", weights())
    put(folder / "a.safetensors.aria2", "x")
    assert names(folder) == set()


def test_links_that_leave_are_ignored_and_those_inside_are_followed(
    folder: Path, tmp_path: Path
) -> None:
    outside = put(tmp_path / "outside" / "secret.safetensors", weights())
    inside = put(folder / "real" / "a.safetensors", weights())
    (folder / "b.safetensors").symlink_to(inside)
    (folder / "stolen.safetensors").symlink_to(outside)
    (folder / "stolen").symlink_to(outside.parent)
    (folder / "dangling.safetensors").symlink_to(folder / "nothing")
    (folder / "again").symlink_to(inside.parent)
    assert names(folder) == {"real/a.safetensors", "b.safetensors", "again/a.safetensors"}


def test_a_sibling_with_the_same_prefix_is_outside(folder: Path, tmp_path: Path) -> None:
    outside = put(tmp_path / "models-secret" / "a.safetensors", weights())
    (folder / "a.safetensors").symlink_to(outside)
    assert names(folder) == set()


def test_link_loops_end(folder: Path) -> None:
    put(folder / "x" / "a.safetensors", weights())
    (folder / "x" / "up").symlink_to(folder)
    (folder / "x" / "self").symlink_to(folder / "x")
    (folder / "y").symlink_to(folder / "x")
    (folder / "round").symlink_to(folder / "round")
    assert names(folder) == {"x/a.safetensors", "y/a.safetensors"}


def test_a_checkpoint_folder_with_a_leaving_link_has_a_problem(
    folder: Path, tmp_path: Path
) -> None:
    outside = put(tmp_path / "outside" / "w.safetensors", weights())
    (put_pipeline(folder / "file") / "unet" / "more.safetensors").symlink_to(outside)
    (put_pipeline(folder / "dir") / "vae").symlink_to(outside.parent)
    (put_pipeline(folder / "picture") / "cat.png").symlink_to(outside)
    problems = {item.name: item.problem for item in scan([folder]).values()}
    assert "unet/more.safetensors is a link" in (problems["file"] or "")
    assert "vae is a link" in (problems["dir"] or "")
    assert problems["picture"] is None


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_special_files_and_names_that_are_not_text_are_ignored(folder: Path) -> None:
    os.mkfifo(folder / "pipe.safetensors")
    (folder / "folder.safetensors").mkdir()
    with open(os.fsencode(folder) + b"/\xff.safetensors", "wb") as file:
        file.write(weights())
    assert names(folder) == set()


def test_settings_lie_beside_a_file_and_inside_a_folder(folder: Path) -> None:
    put(folder / "a.safetensors", weights())
    put(folder / "a.onebox.toml", "")
    put(folder / "b.safetensors", weights())
    put(put_pipeline(folder / "c") / "onebox.toml", "")
    found = {item.name: item.settings for item in scan([folder]).values()}
    assert [bool(found[name]) for name in ("a.safetensors", "b.safetensors", "c")] == [
        True,
        False,
        True,
    ]


def test_folders_that_are_missing_or_inside_another_do_no_harm(
    folder: Path, tmp_path: Path
) -> None:
    put(folder / "x" / "a.safetensors", weights())
    found = scan([folder, folder / "x", folder, tmp_path / "missing"])
    assert [item.name for item in found.values()] == ["x/a.safetensors"]
