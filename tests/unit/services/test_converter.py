"""The conversion of a whole checkpoint, with a stand-in for the child that converts one file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from onebox.core.errors import AppError, ModelBroken, ModelTooLarge, ShuttingDown, WorkerLost
from onebox.registry.on_disk import open_on_disk
from onebox.services.pickles import converter as module
from onebox.services.pickles.converter import Converter
from onebox.services.pickles.process import ChildFailed, PickleRefused
from tests.unit.registry.fakes import put

PICKLE = b"\x80\x02]."


class FakeChild:
    """Writes the source's name, or fails with `error`."""

    def __init__(self, source: Path, target: Path, error: Exception | None) -> None:
        self._source, self._target, self._error = source, target, error

    def run(self, tell: Callable[[float], None]) -> None:
        if self._error is not None:
            raise self._error
        tell(0.5)
        self._target.write_text(self._source.name)
        tell(1.0)

    def kill(self) -> None:
        return


class Bench:
    def __init__(self, path: Path) -> None:
        self.room: list[int] = []
        self.fractions: list[float] = []
        self.error: Exception | None = None
        on_disk = open_on_disk(path)
        self.converter = Converter(
            path,
            on_disk.files,
            is_folder=on_disk.is_folder,
            make_child=self._child,  # type: ignore[arg-type]  # one that is no process
        )

    def run(self, made: Path) -> Path:
        self.converter.run(made, self.fractions.append)
        return made

    def fail(self, made: Path) -> AppError:
        with pytest.raises(AppError) as failed:
            self.run(made)
        return failed.value

    def _child(self, source: Path, target: Path, most_bytes: int) -> FakeChild:
        self.room.append(most_bytes)
        return FakeChild(source, target, self.error)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work" / "made"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return put(tmp_path / "a.ckpt", PICKLE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "m"
    put(folder / "model_index.json", "{}")
    put(folder / "unet" / "config.json", '{"a": 1}')
    put(folder / "unet" / "diffusion_pytorch_model.bin", PICKLE)
    put(folder / "tokenizer" / "merges.txt", "a b")
    put(folder / "vae" / "diffusion_pytorch_model.safetensors", b"s" * 2_000_000)
    for number in (1, 2):
        put(folder / "text_encoder" / f"pytorch_model-0000{number}-of-00002.bin", PICKLE)
    weight_map = {name: f"pytorch_model-0000{name}-of-00002.bin" for name in "12"}
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    put(folder / "text_encoder" / "pytorch_model.bin.index.json", json.dumps(index))
    put(folder / "README.md", "about it")
    return folder


def test_a_file_becomes_a_file(file: Path, made: Path) -> None:
    bench = Bench(file)
    assert bench.run(made).read_text() == "a.ckpt"
    assert bench.fractions == [0.5, 1.0]


def test_a_folder_has_what_loading_reads_with_safetensors_in_place_of_pickles(
    folder: Path, made: Path
) -> None:
    Bench(folder).run(made)
    assert sorted(path.relative_to(made).as_posix() for path in made.rglob("*.*")) == [
        "model_index.json",
        "text_encoder/model-00001-of-00002.safetensors",
        "text_encoder/model-00002-of-00002.safetensors",
        "text_encoder/model.safetensors.index.json",
        "tokenizer/merges.txt",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    ]
    index = json.loads((made / "text_encoder" / "model.safetensors.index.json").read_text())
    assert index["weight_map"] == {name: f"model-0000{name}-of-00002.safetensors" for name in "12"}
    assert (made / "unet" / "config.json").read_text() == '{"a": 1}'


def test_large_files_that_stay_as_they_are_take_no_more_room(folder: Path, made: Path) -> None:
    Bench(folder).run(made)
    name = Path("vae", "diffusion_pytorch_model.safetensors")
    assert (made / name).samefile(folder / name)


def test_progress_is_of_the_whole_by_bytes(folder: Path, made: Path) -> None:
    bench = Bench(folder)
    bench.run(made)
    assert bench.fractions == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1])


def test_a_folder_whose_pickles_have_other_names_says_so(tmp_path: Path, made: Path) -> None:
    put(tmp_path / "m" / "config.json", "{}")
    put(tmp_path / "m" / "weights.pth", PICKLE)
    error = Bench(tmp_path / "m").fail(made)
    assert isinstance(error, ModelBroken)
    assert "known by name" in error.message


def test_code_is_refused_with_its_name_and_what_to_do(file: Path, made: Path) -> None:
    bench = Bench(file)
    bench.error = PickleRefused("code", "posix.system")
    error = bench.fail(made)
    assert isinstance(error, ModelBroken)
    assert "a.ckpt asks for posix.system" in error.message
    assert "none of it was run" in error.message


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (PickleRefused("contents", "no tensors"), ModelBroken),
        (PickleRefused("memory", "too much"), ModelBroken),
        (PickleRefused("time", "too long"), ModelBroken),
        (PickleRefused("space", "takes 5 bytes"), ModelTooLarge),
        (ChildFailed("it was killed"), WorkerLost),
        (OSError(5, "Input/output error"), WorkerLost),
    ],
)
def test_each_way_to_fail_has_its_error(
    file: Path, made: Path, error: Exception, expected: type[AppError]
) -> None:
    bench = Bench(file)
    bench.error = error
    assert type(bench.fail(made)) is expected


def test_a_full_disk_is_seen_before_anything_is_written(
    file: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT_FREE_BYTES", 2**60)
    bench = Bench(file)
    error = bench.fail(made)
    assert isinstance(error, ModelTooLarge)
    assert error.details["needed_bytes"] == len(PICKLE)
    assert bench.room == []


def test_what_was_stopped_begins_no_further_file(file: Path, made: Path) -> None:
    bench = Bench(file)
    bench.converter.stop()
    assert isinstance(bench.fail(made), ShuttingDown)
    assert bench.room == []


@pytest.mark.parametrize("index", ["[1]", "{", "[" * 100_000])
def test_a_hostile_index_is_refused(tmp_path: Path, made: Path, index: str) -> None:
    folder = tmp_path / "m"
    put(folder / "config.json", "{}")
    put(folder / "pytorch_model-00001-of-00001.bin", PICKLE)
    put(folder / "pytorch_model.bin.index.json", index)
    assert isinstance(Bench(folder).fail(made), ModelBroken)
