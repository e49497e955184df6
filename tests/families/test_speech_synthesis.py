"""Family `speech_synthesis` on tiny random voices: what it says of folders, and what they say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onebox.core.errors import AppError, Cancelled, InferenceFailed, InvalidInput, ModelBroken
from onebox.families.speech_synthesis import VoiceBundle
from onebox.registry.on_disk import open_on_disk
from tests.families import tiny_voices as tiny
from tests.families.voices import FAMILY, Context, load_voice, one, say, spoken


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("voices")
    return {
        "vits": tiny.vits(place / "vits"),
        "many": tiny.vits(place / "many", speakers=3),
        "plain": tiny.vits(place / "plain", use_stochastic_duration_prediction=False),
        "speecht5": tiny.speecht5(place / "speecht5"),
    }


@pytest.fixture(scope="module")
def vits(folders: dict[str, Path]) -> VoiceBundle:
    return load_voice(folders["vits"])


@pytest.fixture(scope="module")
def speecht5(folders: dict[str, Path]) -> VoiceBundle:
    return load_voice(folders["speecht5"])


def facts(folder: Path) -> dict[str, Any]:
    match = FAMILY.matches(open_on_disk(folder))
    assert match is not None
    return dict(match.facts)


def reason(folder: Path) -> str:
    with pytest.raises(ModelBroken) as refusal:
        FAMILY.matches(open_on_disk(folder))
    return refusal.value.message


def change(folder: Path, name: str, **values: Any) -> Path:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return folder


def test_it_knows_a_voice_of_letters(folders: dict[str, Path]) -> None:
    assert facts(folders["vits"]) == {
        "sampling_rate": 16_000,
        "voices": [{"id": "default", "name": "default", "language": "en"}],
        "language": "en",
        "phonemes": None,
        "symbols": tiny.LETTERS.replace("_", ""),
    }


def test_it_lists_every_speaker(folders: dict[str, Path], tmp_path: Path) -> None:
    voices = facts(folders["many"])["voices"]
    assert [voice["id"] for voice in voices] == ["speaker-0", "speaker-1", "speaker-2"]
    named = Path(shutil.copytree(folders["many"], tmp_path / "named"))
    change(named, "config.json", id2label={"0": "Ann", "1": "Bob", "2": "Cy"})
    assert [voice["id"] for voice in facts(named)["voices"]] == ["Ann", "Bob", "Cy"]


def test_a_tokenizer_that_makes_phonemes_is_given_them(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(folders["vits"], tmp_path / "copy"))
    change(copy, "tokenizer_config.json", phonemize=True, language="en-us")
    assert (facts(copy)["phonemes"], facts(copy)["language"]) == ("espeak", "en")
    assert len(one(load_voice(copy), say("abc")))


def test_speecht5_takes_its_voices_from_the_speaker_files(folders: dict[str, Path]) -> None:
    found = facts(folders["speecht5"])
    assert [voice["id"] for voice in found["voices"]] == ["anna", "ben"]
    assert (found["phonemes"], found["symbols"], found["sampling_rate"]) == (None, None, 16_000)


@pytest.mark.parametrize(
    ("kind", "lost", "remedy"),
    [
        ("speecht5", "vocoder/model.safetensors", "folder vocoder"),
        ("speecht5", "speakers", "folder speakers"),
        ("speecht5", "tokenizer.json", "spm_char.model is missing"),
        ("vits", "vocab.json", "vocab.json is missing"),
        ("vits", "model.safetensors", "model.safetensors is missing"),
    ],
)
def test_what_is_missing_is_told_with_its_remedy(
    folders: dict[str, Path], tmp_path: Path, kind: str, lost: str, remedy: str
) -> None:
    copy = Path(shutil.copytree(folders[kind], tmp_path / "copy"))
    gone = copy / lost
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    assert remedy in reason(copy)


def test_an_x_vector_of_another_length_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folders["speecht5"], tmp_path / "copy"))
    np.save(copy / "speakers" / "anna.npy", np.zeros(5, np.float32))
    with pytest.raises(ModelBroken, match="5 numbers and the model wants 4"):
        load_voice(copy)


def test_missing_weights_are_not_made_up(folders: dict[str, Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    copy = Path(shutil.copytree(folders["vits"], tmp_path / "copy"))
    tensors = load_file(copy / "model.safetensors")
    del tensors["decoder.conv_pre.weight"]
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelBroken, match=r"decoder\.conv_pre\.weight"):
        load_voice(copy)


def test_the_estimate_covers_what_is_loaded(folders: dict[str, Path]) -> None:
    from tests.families.languages import device

    for kind in ("vits", "many", "plain"):
        on_disk = open_on_disk(folders[kind])
        assert FAMILY.estimate(on_disk, device()) >= load_voice(folders[kind]).size_bytes > 0


@pytest.mark.parametrize("kind", ["vits", "plain", "speecht5"])
def test_equal_seeds_give_equal_samples(folders: dict[str, Path], kind: str) -> None:
    bundle = load_voice(folders[kind])
    voice = "anna" if kind == "speecht5" else "default"
    first, again, other = (one(bundle, say(voice=voice, seed=seed)) for seed in (1, 1, 2))
    assert first.dtype == np.float32
    assert first.ndim == 1
    assert np.abs(first).max() <= 1
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_sentence_sounds_the_same_whatever_comes_before_it(vits: VoiceBundle) -> None:
    alone = one(vits, say("fox", seed=5))
    _, beside = spoken(vits, say("the quick brown"), say("fox", seed=5))
    assert np.array_equal(alone, beside)


def test_it_gives_what_the_library_gives(folders: dict[str, Path], vits: VoiceBundle) -> None:
    import torch
    from transformers import AutoTokenizer, VitsModel

    from onebox.audio.synthesis.seeded import seeded

    model = VitsModel.from_pretrained(folders["vits"]).eval()
    tokenizer = AutoTokenizer.from_pretrained(folders["vits"])
    with torch.inference_mode(), seeded(3):
        wanted = model(**tokenizer("hello there", return_tensors="pt")).waveform[0].numpy()
    samples = one(vits, say("hello there", seed=3))
    assert np.abs(samples - wanted).max() < 1e-6


def test_a_long_sentence_in_parts_gives_what_it_gives_whole(
    vits: VoiceBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentence = say("the quick brown fox jumps over the lazy dog " * 4, speed=0.25)
    whole = one(vits, sentence)
    monkeypatch.setattr("onebox.audio.synthesis.vits._PART_S", 0.1)
    parts = one(vits, sentence)
    assert len(whole) > 2 * 0.1 * 16_000
    assert len(parts) == len(whole)
    assert np.abs(parts - whole).max() < 1e-4


@pytest.mark.parametrize("kind", ["vits", "speecht5"])
def test_twice_the_speed_takes_half_the_time(folders: dict[str, Path], kind: str) -> None:
    bundle = load_voice(folders[kind])
    voice = "anna" if kind == "speecht5" else "default"
    text = "the quick brown fox jumps"
    slow, usual, fast = (
        len(one(bundle, say(text, voice=voice, speed=speed))) for speed in (0.5, 1, 2)
    )
    assert 1.6 < slow / usual < 2.4
    assert 1.6 < usual / fast < 2.6


def test_speakers_sound_different(folders: dict[str, Path], speecht5: VoiceBundle) -> None:
    many = load_voice(folders["many"])
    for bundle, voices in ((many, ("speaker-0", "speaker-2")), (speecht5, ("anna", "ben"))):
        first, second = (one(bundle, say("hello", voice=voice)) for voice in voices)
        assert first.shape != second.shape or not np.allclose(first, second, atol=1e-4)


def test_what_cannot_be_spoken_is_the_sentences_own_error(vits: VoiceBundle) -> None:
    nothing, fine, endless = spoken(vits, say("123"), say("fox"), say("a" * 5000))
    assert isinstance(nothing, InvalidInput)
    assert len(fine)
    assert isinstance(endless, InvalidInput)
    assert endless.details["max_symbols"] == 2048


def test_speecht5_refuses_more_symbols_than_it_has_places_for(speecht5: VoiceBundle) -> None:
    (refusal,) = spoken(speecht5, say("a" * 41, voice="anna"))
    assert isinstance(refusal, InvalidInput)
    assert len(one(speecht5, say("a" * 39, voice="anna")))


def test_no_number_is_an_error_and_not_a_sound(folders: dict[str, Path]) -> None:
    bundle = load_voice(folders["vits"])
    bundle.synthesizer._model.decoder.conv_post.weight.data.fill_(float("nan"))
    (failure,) = spoken(bundle, say())
    assert isinstance(failure, InferenceFailed)


def test_the_device_is_handed_over_within_a_sentence(
    vits: VoiceBundle, speecht5: VoiceBundle
) -> None:
    for bundle, voice in ((vits, "default"), (speecht5, "anna")):
        context = Context()
        spoken(bundle, say("the quick brown fox", voice=voice), context=context)
        assert context.handed_over > 4


def test_a_cancelled_run_ends_within_a_sentence_and_the_next_one_is_sound(
    vits: VoiceBundle,
) -> None:
    before = one(vits, say())
    with pytest.raises(AppError):
        spoken(vits, say(), context=Context(3, Cancelled("nobody waits")))
    assert np.array_equal(before, one(vits, say()))


def test_a_closed_voice_keeps_no_weights(folders: dict[str, Path]) -> None:
    import gc
    import weakref

    bundle = load_voice(folders["many"])
    weights = weakref.ref(bundle.synthesizer._model.decoder.conv_pre.weight)
    bundle.close()
    gc.collect()
    assert weights() is None
