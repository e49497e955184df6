"""Where conversions lie: whole or not at all, and nothing else is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from onebox.registry.converted import ConvertedStore

A, B = "a" * 64, "b" * 64


@pytest.fixture
def store(tmp_path: Path) -> ConvertedStore:
    return ConvertedStore(tmp_path / "converted")


def made(store: ConvertedStore, content: bytes = b"x") -> Path:
    path = store.workspace() / "made"
    path.write_bytes(content)
    return path


def test_a_kept_one_is_found_by_its_originals_id(store: ConvertedStore) -> None:
    assert store.find(A, is_folder=False) is None
    store.keep(made(store), A, is_folder=False)
    found = store.find(A, is_folder=False)
    assert found is not None
    assert (Path(found.path).read_bytes(), found.extension) == (b"x", ".safetensors")
    assert store.find(A, is_folder=True) is None


def test_a_folder_that_is_there_already_stays(store: ConvertedStore) -> None:
    for content in (b"first", b"second"):
        folder = store.workspace() / "made"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(content)
        store.keep(folder, A, is_folder=True)
    place = store.place(A, is_folder=True)
    assert (place / "model.safetensors").read_bytes() == b"first"


def test_unfinished_ones_are_cleared_and_others_are_not(
    store: ConvertedStore, tmp_path: Path
) -> None:
    store.keep(made(store), A, is_folder=False)
    made(store)
    store.clear_unfinished()
    assert [path.name for path in (tmp_path / "converted").iterdir()] == [f"{A}.safetensors"]


def test_only_conversions_that_nobody_wants_are_dropped(
    store: ConvertedStore, tmp_path: Path
) -> None:
    for sha256 in (A, B):
        store.keep(made(store), sha256, is_folder=False)
    other = tmp_path / "converted" / "notes.txt"
    other.write_text("mine")
    assert store.drop_all_but({A}) == [B]
    assert store.find(A, is_folder=False) is not None
    assert store.find(B, is_folder=False) is None
    assert other.exists()


def test_a_link_is_no_conversion(store: ConvertedStore, tmp_path: Path) -> None:
    store.workspace()
    outside = tmp_path / "outside.safetensors"
    outside.write_bytes(b"x")
    store.place(A, is_folder=False).symlink_to(outside)
    assert store.find(A, is_folder=False) is None
    store.drop_all_but(())
    assert outside.exists()
