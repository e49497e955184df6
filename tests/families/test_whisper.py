"""Family `whisper` on a tiny random checkpoint, and on the folder that is made of OpenAI's file."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from onebox.audio.transcription.contracts import Listen
from onebox.core.errors import ModelBroken
from onebox.families.whisper import Whisper
from onebox.registry.on_disk import open_on_disk
from tests.audio import tiny_whisper as tiny
from tests.families.languages import device, entry

FAMILY = Whisper()
CONTEXT: Any = SimpleNamespace(lean=False, hand_over=lambda: None)


@pytest.fixture(scope="session")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.folder(tmp_path_factory.mktemp("models") / "whisper")


@pytest.fixture
def copy(whisper: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whisper, tmp_path / "copy"))


def facts(folder: Path) -> Any:
    match = FAMILY.matches(open_on_disk(folder))
    assert match is not None
    return match.facts


def change(folder: Path, name: str, **values: Any) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_the_facts_are_those_of_its_files(whisper: Path):
    found = facts(whisper)
    assert found["languages"] == ["de", "en", "zh"]
    assert found["translates"] is True
    assert found["words"] is True


def test_a_model_of_one_language_is_english_and_does_not_translate(copy: Path):
    change(copy, "generation_config.json", is_multilingual=False)
    assert facts(copy)["languages"] == ["en"]
    assert facts(copy)["translates"] is False


def test_without_alignment_heads_there_are_no_words(copy: Path):
    change(copy, "generation_config.json", alignment_heads=None)
    assert facts(copy)["words"] is False


def test_another_kind_of_folder_is_not_its_own(copy: Path):
    change(copy, "config.json", architectures=["SpeechT5ForSpeechToText"])
    assert FAMILY.matches(open_on_disk(copy)) is None


@pytest.mark.parametrize(
    "name", ["model.safetensors", "tokenizer.json", "preprocessor_config.json"]
)
def test_a_folder_without_a_file_is_broken_and_named(name: str, copy: Path):
    (copy / name).unlink()
    with pytest.raises(ModelBroken, match=name.replace(".", r"\.")):
        FAMILY.matches(open_on_disk(copy))


def test_pickled_weights_are_refused(copy: Path):
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(ModelBroken, match="pickle"):
        FAMILY.matches(open_on_disk(copy))


def test_a_configuration_without_its_numbers_is_broken(copy: Path):
    change(copy, "config.json", d_model="wide")
    with pytest.raises(ModelBroken, match="d_model is wide"):
        FAMILY.matches(open_on_disk(copy))


def test_quantised_loading_is_refused(whisper: Path):
    with pytest.raises(ModelBroken, match=r"onebox\.toml"):
        FAMILY.load(entry(whisper, FAMILY, quantization="int8"), device())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_loaded_one_hears_and_is_as_large_as_estimated(whisper: Path, dtype: str):
    bundle: Any = FAMILY.load(entry(whisper, FAMILY), device(dtype))
    (heard,) = bundle.transcriber.transcribe([Listen(tiny.sound(1), words=True)], CONTEXT)
    assert heard.segments
    assert heard.language in tiny.CODES
    estimate = FAMILY.estimate(open_on_disk(whisper), device(dtype))
    assert 0.8 * bundle.size_bytes <= estimate <= 1.5 * bundle.size_bytes
    bundle.close()


def test_equal_sounds_become_equal_texts_in_half_precision_too(whisper: Path):
    bundle: Any = FAMILY.load(entry(whisper, FAMILY), device("bfloat16"))
    listen = Listen(tiny.sound(2), language="en")
    first, second = bundle.transcriber.transcribe([listen, listen], CONTEXT)
    assert first == second


def test_tokens_of_the_tiktoken_list_become_the_same_tokenizer(tmp_path: Path):
    from onebox.starter import convert_whisper

    ranks = [bytes([byte]) for byte in range(256)]
    ranks += [b"th", b"the", b" the", b"in", b"ing"]
    lines = [f"{base64.b64encode(token).decode()} {rank}" for rank, token in enumerate(ranks)]
    path = tmp_path / convert_whisper.TOKENS
    path.write_text("\n".join(lines))
    found = convert_whisper._merges(convert_whisper._ranks(path))
    space = "\u0120"
    assert found == [("t", "h"), ("th", "e"), (space, "the"), ("i", "n"), ("in", "g")]
