from __future__ import annotations

import os
from pathlib import Path

import pytest

from onebox.core.errors import InvalidInput, ModelBusy
from onebox.services.model_files import remove_checkpoints


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_files_and_folders_go_and_their_neighbours_stay(models):
    file, kept = put(models / "a.safetensors"), put(models / "b.safetensors")
    inner = put(models / "org/c/unet/w.safetensors")
    folder = models / "org/c"
    removed = remove_checkpoints([str(file), str(folder)], [models])
    assert removed == [str(file), str(folder)]
    assert not file.exists()
    assert not inner.exists()
    assert kept.exists()
    assert (models / "org").is_dir()


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_link_goes_and_what_it_points_to_stays(models, tmp_path, is_folder):
    outside = put(tmp_path / "outside/w.safetensors")
    link = models / "link"
    link.symlink_to(outside.parent if is_folder else outside)
    assert remove_checkpoints([str(link)], [models]) == [str(link)]
    assert not link.is_symlink()
    assert outside.exists()


def test_links_in_a_folder_are_not_followed(models, tmp_path):
    outside = put(tmp_path / "outside/w.safetensors")
    put(models / "a/config.json")
    (models / "a/unet").symlink_to(outside.parent)
    remove_checkpoints([str(models / "a")], [models])
    assert not (models / "a").exists()
    assert outside.exists()


def test_the_same_contents_by_two_ways_are_removed_once(models):
    put(models / "real/w.safetensors")
    (models / "way").symlink_to(models / "real")
    paths = [str(models / "real/w.safetensors"), str(models / "way/w.safetensors")]
    assert remove_checkpoints(paths, [models]) == paths[:1]
    assert (models / "way").is_symlink()


def outside_paths(models: Path) -> dict[str, str]:
    (models / "leaving").symlink_to(models.parent / "outside")
    return {
        "outside": str(models.parent / "outside/w.safetensors"),
        "the folder itself": str(models),
        "above": str(models.parent),
        "dots": str(models / "../outside/w.safetensors"),
        "dots at the end": str(models / "a/.."),
        "through a link": str(models / "leaving/w.safetensors"),
        "a namesake": str(models) + "-2/w.safetensors",
        "nothing": "",
        "the root": os.sep,
    }


@pytest.mark.parametrize(
    "name",
    [
        *("outside", "the folder itself", "above", "dots", "dots at the end", "through a link"),
        *("a namesake", "nothing", "the root"),
    ],
)
def test_nothing_outside_is_touched_nor_what_was_named_with_it(models, tmp_path, name):
    outside = put(tmp_path / "outside/w.safetensors")
    namesake = put(tmp_path / "models-2/w.safetensors")
    first = put(models / "a/w.safetensors")
    with pytest.raises(InvalidInput):
        remove_checkpoints([str(first), outside_paths(models)[name]], [models])
    assert outside.exists()
    assert namesake.exists()
    assert first.exists()


def test_a_folder_that_holds_another_model_folder_stays(models):
    nested = put(models / "a/nested/w.safetensors").parent
    with pytest.raises(InvalidInput):
        remove_checkpoints([str(models / "a")], [models, nested])
    assert nested.exists()


def test_a_model_folder_that_is_itself_a_link(models, tmp_path):
    way = tmp_path / "way"
    way.symlink_to(models)
    file = put(models / "a.safetensors")
    assert remove_checkpoints([str(file)], [way]) == [str(file)]


def test_what_the_system_does_not_let_go(models, monkeypatch):
    file = put(models / "a.safetensors")

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(ModelBusy) as caught:
        remove_checkpoints([str(file)], [models])
    assert "Permission denied" in caught.value.message
    assert str(models) not in caught.value.message
    assert caught.value.should_retry is False
