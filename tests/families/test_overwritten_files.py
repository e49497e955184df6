"""Loaded weights are copies: whoever overwrites the file in place does not change them."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from onebox.core.contracts import Entry, Family
from onebox.families.causal_lm import CausalLM
from onebox.families.image_checkpoint import ImageCheckpoint
from onebox.families.speech_ctc import SpeechCTC
from onebox.families.speech_synthesis import SpeechSynthesis
from onebox.families.text_encoder import TextEncoder
from onebox.imaging.diffusion.lora_files import read_lora
from onebox.registry.on_disk import open_on_disk
from tests.families import tiny_stable_diffusions
from tests.families.adapter_files import attention, kohya, layers, save
from tests.families.encoders import entry as known_entry
from tests.families.pictures import FAMILY, device, entry
from tests.families.single_file_loading import entry as file_entry
from tests.families.tiny_encoders import encoder
from tests.families.tiny_language_models import language_model
from tests.families.tiny_listeners import ctc
from tests.families.tiny_voices import vits
from tests.support.single_files import single_file


def spoil(folder: Path) -> None:
    """Other bytes in the same places of the same files."""
    for file in folder.rglob("*.safetensors"):
        with file.open("r+b") as opened:
            opened.seek(8 + int.from_bytes(opened.read(8), "little"))
            start, rest = opened.tell(), opened.read()
            opened.seek(start)
            opened.write(bytes(byte ^ 1 for byte in rest))


def load_entry(folder: Path, family: Family) -> Entry:
    match = family.matches(open_on_disk(folder))
    assert match is not None
    return msgspec.structs.replace(known_entry(folder, family), kind=match.kind)


def living_tensors() -> list[torch.Tensor]:
    return [
        one
        for one in gc.get_objects()
        if type(one) in (torch.Tensor, torch.nn.Parameter) and not one.is_mkldnn
    ]


def values(pipeline: Any) -> list[np.ndarray]:
    modules = [c for c in pipeline.components.values() if hasattr(c, "parameters")]
    tensors = [t for m in modules for t in (*m.parameters(), *m.buffers())]
    return [tensor.detach().numpy().copy() for tensor in tensors]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_weights_stay_as_they_were_loaded(tmp_path: Path, kind: str) -> None:
    folder = tiny_stable_diffusions.xl(tmp_path / "xl")
    if kind == "folder":
        bundle: Any = FAMILY.load(entry(folder), device())
    else:
        file = single_file(folder, tmp_path / "one.safetensors")
        shutil.copytree(folder, tmp_path / "config")
        parts = {"config": str(tmp_path / "config")}
        bundle = ImageCheckpoint().load(file_entry(file, components=parts), device())
    size_bytes, before = bundle.size_bytes, values(bundle.pipeline)
    assert size_bytes < 1.1 * sum(value.nbytes for value in before)  # shared ones stay shared
    spoil(tmp_path)
    for one, other in zip(before, values(bundle.pipeline), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("family", "build"),
    [
        (CausalLM(), language_model),
        (TextEncoder(), lambda folder: encoder(folder, "bert")),
        (SpeechCTC(), ctc),
        (SpeechSynthesis(), vits),
    ],
    ids=["chat", "embeddings", "transcription", "speech"],
)
def test_models_of_the_library_stay_too(
    tmp_path: Path, family: Family, build: Callable[[Path], Path]
) -> None:
    folder = build(tmp_path / "model")
    known = living_tensors()
    bundle = family.load(load_entry(folder, family), device())
    ids = {id(tensor) for tensor in known}
    made = [tensor for tensor in living_tensors() if id(tensor) not in ids]
    before = [tensor.detach().clone() for tensor in made]
    assert sum(tensor.numel() for tensor in before) > 1000
    spoil(folder)
    assert all(torch.equal(one, other) for one, other in zip(before, made, strict=True))
    bundle.close()


def test_a_lora_stays_as_it_was_read(bundle: Any, tmp_path: Path) -> None:
    chosen = layers(bundle.pipeline, "unet", attention)
    tensors = {key: value for layer in chosen for key, value in kohya(layer).items()}
    file = save(tmp_path / "a.safetensors", tensors)
    read = read_lora(str(file))
    before = [part.numpy().copy() for one in read for part in one.parts.values()]
    spoil(tmp_path)
    after = [part.numpy() for one in read for part in one.parts.values()]
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))
