"""What of a pickled file are its weights; and whole checkpoints that draw as before."""

from __future__ import annotations

import io
import json
import pickle
import sys
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load, load_file

from onebox.cli import main
from onebox.core.errors import ModelBroken
from onebox.registry.on_disk import open_on_disk
from onebox.services.pickles import weights
from onebox.services.pickles.converter import Converter
from tests.families.pictures import FAMILY, device, draw, entry
from tests.support.hostile_pickles import touching, zipped_pickle

ONE = torch.ones(2)


def names(value: Any) -> set[str]:
    return set(weights.weights_of(value))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": ONE, "b.c": ONE}, {"a", "b.c"}),
        ({"state_dict": {"a": ONE}, "epoch": 3}, {"a"}),
        ({"model": {"state_dict": {"a": ONE}}}, {"a"}),
        ({"state_dict": {"model": {"a": ONE}}}, {"a"}),
        ({"params_ema": {"a": ONE}, "params": {"b": ONE}}, {"a"}),
        ({"image_proj": {"a": ONE}, "ip_adapter": {"b": ONE}}, {"image_proj.a", "ip_adapter.b"}),
        ({"a": ONE, "optimizer": {"state": {"x": ONE}}}, {"a"}),
        ({"string_to_token": {"*": 265}, "string_to_param": {"*": ONE}}, {"emb_params"}),
        ({"<cat>": ONE}, {"<cat>"}),
        ({"a": ONE, 7: ONE, "note": "text"}, {"a"}),
    ],
)  # fmt: skip
def test_weights_are_found_in_their_wrapping(value: Any, expected: set[str]) -> None:
    assert names(value) == expected


def bottomless() -> dict[str, Any]:
    value: dict[str, Any] = {"a": ONE}
    for _ in range(30):
        value = {"a": value, "b": value}
    return value


@pytest.mark.parametrize(
    "value", [{}, {"a": 1}, ONE, [ONE], {"a": {"b": ONE}, "a.b": ONE}, bottomless()]
)
def test_what_is_no_set_of_named_weights_is_refused(value: Any) -> None:
    with pytest.raises(weights.Refused):
        names(value)


def test_a_tensor_that_safetensors_cannot_hold_is_refused() -> None:
    with pytest.raises(weights.Refused):
        weights.Piece("a", torch.ones(2, 2).to_sparse(), 100)


def converted(raw: bytes) -> dict[str, torch.Tensor]:
    source = weights.Source(io.BytesIO(raw))  # type: ignore[arg-type]  # reads as a raw file does
    loaded = weights.weights_of(weights.load(source))
    pieces = [weights.Piece(name, tensor, len(raw)) for name, tensor in loaded.items()]
    data = b"".join(bytes(chunk) for piece in pieces for chunk in piece.chunks(source))
    found: dict[str, torch.Tensor] = load(weights.header_of(pieces) + data)
    return found


class Noted:
    """Stands for a class of a training library that is not installed here."""


def test_notes_of_a_training_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    path = "pytorch_lightning.callbacks.model_checkpoint"
    for name in ("pytorch_lightning", "pytorch_lightning.callbacks", path):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    Noted.__module__, Noted.__qualname__ = path, "ModelCheckpoint"
    sys.modules[path].ModelCheckpoint = Noted  # type: ignore[attr-defined]
    note = Noted()
    note.best = np.float64(0.5)  # type: ignore[attr-defined]
    value = {"state_dict": {"a": ONE}, "callbacks": {Noted: note}, "loss": np.float32(1.5)}
    raw = io.BytesIO()
    torch.save(value, raw)
    weights.allow_notes()
    assert converted(raw.getvalue())["a"].tolist() == [1.0, 1.0]


def test_an_embedding_in_a_parameter_dict_is_found() -> None:
    weights.allow_notes()
    raw = io.BytesIO()
    parameters = torch.nn.ParameterDict({"*": torch.nn.Parameter(torch.ones(2, 3))})
    torch.save({"string_to_param": parameters, "name": "cat"}, raw)
    assert converted(raw.getvalue())["emb_params"].shape == (2, 3)


@pytest.fixture
def pickled_sd(tiny_sd: Path, tmp_path: Path) -> Path:
    """The tiny pipeline, as it was saved before there were safetensors."""
    folder = tmp_path / "pickled"
    for file in tiny_sd.rglob("*"):
        place = folder / file.relative_to(tiny_sd)
        place.parent.mkdir(parents=True, exist_ok=True)
        if file.name == "model.safetensors":
            torch.save(load_file(file), place.with_name("pytorch_model.bin"))
        elif file.suffix == ".safetensors":
            torch.save(OrderedDict(load_file(file)), place.with_suffix(".bin"))
        elif file.is_file():
            place.write_bytes(file.read_bytes())
    return folder


def test_a_pickled_pipeline_draws_bit_for_bit_as_its_twin(
    tiny_sd: Path, pickled_sd: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelBroken, match="pickle"):
        FAMILY.matches(open_on_disk(pickled_sd))
    made, on_disk = tmp_path / "made", open_on_disk(pickled_sd)
    fractions: list[float] = []
    Converter(pickled_sd, on_disk.files, is_folder=True).run(made, fractions.append)
    assert fractions == sorted(fractions)
    assert FAMILY.matches(open_on_disk(made)) == FAMILY.matches(open_on_disk(tiny_sd))
    pictures = [
        draw(FAMILY.load(entry(folder), device()), folder, seed=3)[0] for folder in (tiny_sd, made)
    ]
    assert np.array_equal(*pictures)


def convert_by_hand(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["convert", *arguments])
    return result.exit_code, result.output


def test_a_file_is_converted_by_hand_beside_itself(tmp_path: Path) -> None:
    source = tmp_path / "a.ckpt"
    torch.save({"state_dict": {"x": ONE}}, source)
    status, output = convert_by_hand(str(source))
    assert (status, str(tmp_path / "a.safetensors") in output) == (0, True)
    assert load_file(tmp_path / "a.safetensors")["x"].tolist() == [1.0, 1.0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ckpt", "a.safetensors"]
    assert convert_by_hand(str(source))[0] == 1


def test_a_folder_is_converted_by_hand_to_another_place(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"a": 1}))
    (folder / "onebox.toml").write_text('aliases = ["x"]')
    torch.save({"x": ONE}, folder / "pytorch_model.bin")
    status, output = convert_by_hand(str(folder), "--out", str(tmp_path / "deep" / "n"))
    assert status == 0, output
    made = tmp_path / "deep" / "n"
    assert {path.name for path in made.iterdir()} == {
        "config.json", "model.safetensors", "onebox.toml",
    }  # fmt: skip


def test_by_hand_a_hostile_file_is_refused_and_nothing_stays(tmp_path: Path) -> None:
    source = tmp_path / "a.ckpt"
    source.write_bytes(zipped_pickle({"a": touching(tmp_path / "ran", "system")}))
    status, output = convert_by_hand(str(source))
    assert status == 1
    assert "none of it was run" in output
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]


def test_a_pickle_without_weights_is_not_converted(tmp_path: Path) -> None:
    source = tmp_path / "a.bin"
    source.write_bytes(pickle.dumps([1], protocol=2))
    assert convert_by_hand(str(source))[0] == 1
