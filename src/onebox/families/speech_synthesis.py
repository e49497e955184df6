"""Family `speech_synthesis`: voices, that is models which make sound of text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from onebox.audio.synthesis.contracts import Synthesizer
from onebox.audio.synthesis.loading import (
    BARK_PROMPTS,
    BARK_SPEAKERS,
    SPEAKER_FILES,
    SPEAKERS,
    VOCODER,
)
from onebox.core.contracts import Bundle, Device, Entry, Family
from onebox.core.errors import ModelBroken
from onebox.core.on_disk import Match, OnDisk
from onebox.core.plugins import FAMILIES
from onebox.core.remote_code import refuse_remote_code
from onebox.core.weight_sizes import bytes_as
from onebox.language.checkpoints.checkpoint_files import (
    CONFIG,
    class_name,
    optional_json,
    weight_files,
)

VITS, SPEECHT5, BARK = "VitsModel", "SpeechT5ForTextToSpeech", "BarkModel"
_VOCODER_CONFIG, _VOCODER_WEIGHTS = f"{VOCODER}/config.json", f"{VOCODER}/model.safetensors"
_VOCABULARIES = ("tokenizer.json", "vocab.json")
# What MMS calls languages that have a code of two letters: ISO 639-3 → 639-1.
_SHORT = {
    "ara": "ar", "ben": "bn", "bul": "bg", "cat": "ca", "ces": "cs", "cmn": "zh", "cym": "cy",
    "dan": "da", "deu": "de", "ell": "el", "eng": "en", "eus": "eu", "fas": "fa", "fin": "fi",
    "fra": "fr", "guj": "gu", "heb": "he", "hin": "hi", "hrv": "hr", "hun": "hu", "hye": "hy",
    "ind": "id", "isl": "is", "ita": "it", "jpn": "ja", "kan": "kn", "kat": "ka", "kaz": "kk",
    "kor": "ko", "lat": "la", "lav": "lv", "lit": "lt", "mal": "ml", "mar": "mr", "nep": "ne",
    "nld": "nl", "nob": "no", "pan": "pa", "pol": "pl", "por": "pt", "ron": "ro", "rus": "ru",
    "slk": "sk", "slv": "sl", "som": "so", "spa": "es", "sqi": "sq", "srp": "sr", "swe": "sv",
    "swh": "sw", "tam": "ta", "tel": "te", "tgl": "tl", "tha": "th", "tur": "tr", "ukr": "uk",
    "urd": "ur", "uzb": "uz", "vie": "vi", "yor": "yo", "zho": "zh",
}  # fmt: skip


class VoiceBundle:
    """One loaded model that speaks; its synthesizer owns the weights."""

    def __init__(self, synthesizer: Synthesizer) -> None:
        self.synthesizer = synthesizer
        self.size_bytes = synthesizer.size_bytes

    def close(self) -> None:
        self.synthesizer.close()
        del self.synthesizer


class SpeechSynthesis(Family):
    name = "speech_synthesis"
    engine = "piecewise"
    tasks = frozenset({"speech"})

    def matches(self, on_disk: OnDisk) -> Match | None:
        kind = class_name(on_disk)
        known = {VITS: _vits_facts, SPEECHT5: _speecht5_facts, BARK: _bark_facts}
        facts_of = known.get(kind or "")
        if kind is None or facts_of is None:
            return None
        refuse_remote_code(on_disk)
        for name in weight_files(on_disk):
            on_disk.tensors(name)
        return Match(kind, facts_of(on_disk))

    def estimate(self, on_disk: OnDisk, device: Device) -> int:
        files = [*weight_files(on_disk)]
        if _VOCODER_WEIGHTS in on_disk.files:
            files.append(_VOCODER_WEIGHTS)
        return sum(bytes_as(on_disk.tensors(file).values(), "float32") for file in files)

    def load(self, entry: Entry, device: Device) -> Bundle:
        from onebox.audio.synthesis.loading import load_bark, load_speecht5, load_vits

        load = {VITS: load_vits, SPEECHT5: load_speecht5, BARK: load_bark}[str(entry.kind)]
        return VoiceBundle(load(entry, device))

    def warm_up(self) -> None:
        from onebox.language.checkpoints.loading import silence

        silence()
        from transformers import AutoTokenizer, VitsModel  # noqa: F401


def _vits_facts(on_disk: OnDisk) -> dict[str, Any]:
    config = on_disk.read_json(CONFIG)
    told = optional_json(on_disk, "tokenizer_config.json")
    language = _language(told.get("language"))
    return {
        "sampling_rate": _rate(config, CONFIG),
        "voices": [{"id": name, "name": name, "language": language} for name in _speakers(config)],
        "language": language,
        # VitsTokenizer does so where it is not told otherwise.
        "phonemes": "espeak" if told.get("phonemize", True) else None,
        "symbols": _symbols(on_disk, told),
    }


def _speakers(config: Mapping[str, Any]) -> list[str]:
    """Names as `id2label` has them, else numbers."""
    count = config.get("num_speakers", 1)
    if not isinstance(count, int) or not 1 <= count <= 10_000:
        raise ModelBroken(f"{CONFIG}: num_speakers is {str(count)[:20]}; copy the file again")
    labels = config.get("id2label")
    if isinstance(labels, dict) and labels.keys() == {str(index) for index in range(count)}:
        names = [str(labels[str(index)]) for index in range(count)]
        if len(set(names)) == count and not names[0].startswith("LABEL_"):
            return names
    return ["default"] if count == 1 else [f"speaker-{index}" for index in range(count)]


def _symbols(on_disk: OnDisk, told: Mapping[str, Any]) -> str:
    """Every character that the tokenizer knows, but for those that mark and pad.

    Raises ModelBroken when there is no vocabulary.
    """
    file = next((name for name in _VOCABULARIES if name in on_disk.files), None)
    if file is None:
        raise ModelBroken("vocab.json is missing; copy the whole checkpoint")
    vocabulary = on_disk.read_json(file)
    if file == "tokenizer.json":
        model = vocabulary.get("model")
        vocabulary = model.get("vocab", {}) if isinstance(model, dict) else {}
        marks = {told.get(f"{mark}_token") for mark in ("pad", "bos", "eos", "unk")}
    else:
        # The symbol of id 0 is put between all others.
        marks = {next((symbol for symbol, index in vocabulary.items() if index == 0), None)}
    return "".join(symbol for symbol in vocabulary if len(symbol) == 1 and symbol not in marks)


def _speecht5_facts(on_disk: OnDisk) -> dict[str, Any]:
    if _VOCODER_CONFIG not in on_disk.files or _VOCODER_WEIGHTS not in on_disk.files:
        raise ModelBroken(
            f"SpeechT5 makes spectrograms; put the files of its vocoder (config.json and "
            f"model.safetensors of microsoft/speecht5_hifigan) into a folder {VOCODER} in it"
        )
    on_disk.tensors(_VOCODER_WEIGHTS)
    if not any(name in on_disk.files for name in ("spm_char.model", "tokenizer.json")):
        raise ModelBroken("spm_char.model is missing; copy the whole checkpoint")
    names = _speaker_files(on_disk)
    if not names:
        raise ModelBroken(
            f"SpeechT5 needs a speaker; put x-vectors into a folder {SPEAKERS} in it, one file "
            f"a voice, as in {SPEAKERS}/anna.npy or {SPEAKERS}/anna.safetensors"
        )
    # Its letters are English, and so are all the weights that were published with it.
    language = _language(optional_json(on_disk, "tokenizer_config.json").get("language")) or "en"
    return {
        "sampling_rate": _rate(on_disk.read_json(_VOCODER_CONFIG), _VOCODER_CONFIG),
        "voices": [{"id": name, "name": name, "language": language} for name in names],
        "language": language,
        "phonemes": None,
        "symbols": None,
    }


def _bark_facts(on_disk: OnDisk) -> dict[str, Any]:
    if "tokenizer.json" not in on_disk.files and "vocab.txt" not in on_disk.files:
        raise ModelBroken("tokenizer.json is missing; copy the whole checkpoint")
    names = [
        name
        for name, files in optional_json(on_disk, BARK_SPEAKERS).items()
        if isinstance(files, dict) and all(files.get(p) in on_disk.files for p in BARK_PROMPTS)
    ]
    told = optional_json(on_disk, "generation_config.json")
    # It hears the language from the text; a speaker's name begins with the one it was made of.
    return {
        "sampling_rate": _rate({"sampling_rate": told.get("sample_rate", 24_000)}, "sample_rate"),
        "voices": [
            {"id": name, "name": name, "language": _spoken_by(name)}
            for name in names or ["default"]
        ],
        "language": "",
        "phonemes": None,
        "symbols": None,
    }


def _spoken_by(name: str) -> str:
    """`v2/en_speaker_6` → `en`."""
    language = name.rpartition("/")[2].partition("_speaker_")[0]
    return language if len(language) == 2 else ""


def _speaker_files(on_disk: OnDisk) -> list[str]:
    paths = [PurePosixPath(name) for name in on_disk.files]
    return sorted(
        {
            path.stem
            for path in paths
            if path.parent == PurePosixPath(SPEAKERS) and path.suffix in SPEAKER_FILES
        }
    )


def _rate(config: Mapping[str, Any], where: str) -> int:
    rate = config.get("sampling_rate", 16_000)
    if not isinstance(rate, int) or not 4_000 <= rate <= 192_000:
        raise ModelBroken(f"{where}: sampling_rate is {json.dumps(rate)[:20]}; copy it again")
    return rate


def _language(told: Any) -> str:
    """`en-us` and `eng` → `en`; empty where nothing is told."""
    if not isinstance(told, str):
        return ""
    code = told.replace("_", "-").partition("-")[0].lower()
    return _SHORT.get(code, code)


FAMILIES.register(SpeechSynthesis.name, SpeechSynthesis())
