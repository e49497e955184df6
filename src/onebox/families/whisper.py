"""Family `whisper`: speech to text, as transformers folders of any size and language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onebox.audio.transcription.bundle import TranscriberBundle
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
    require_loadable,
    weight_tensors,
)

EXTRACTOR = "preprocessor_config.json"
KIND = "WhisperForConditionalGeneration"
# Vocabularies below this have one language, where generation_config.json does not tell.
MULTILINGUAL_VOCABULARY = 51_865
NUMBERS = (
    "vocab_size",
    "d_model",
    "num_mel_bins",
    "encoder_layers",
    "decoder_layers",
    "encoder_attention_heads",
    "decoder_attention_heads",
    "encoder_ffn_dim",
    "max_source_positions",
    "max_target_positions",
)
MAX_NUMBER = 1_000_000


class Whisper(Family):
    name = "whisper"
    engine = "piecewise"
    tasks = frozenset({"transcription"})

    def matches(self, on_disk: OnDisk) -> Match | None:
        if class_name(on_disk) != KIND:
            return None
        refuse_remote_code(on_disk)
        require_loadable(on_disk)
        if EXTRACTOR not in on_disk.files:
            raise ModelBroken(f"{EXTRACTOR} is missing; copy the whole checkpoint")
        config = on_disk.read_json(CONFIG)
        _require_numbers(config)
        told = optional_json(on_disk, "generation_config.json")
        languages = _languages(config, told)
        return Match(
            KIND,
            {
                "languages": languages,
                "translates": languages != ["en"],
                "words": bool(told.get("alignment_heads")),
                "window_values": _window_values(config),
            },
        )

    def estimate(self, on_disk: OnDisk, device: Device) -> int:
        tensors = weight_tensors(on_disk)
        tied = [info for name, info in tensors.items() if name.endswith("embed_tokens.weight")]
        # The table of tokens is also the product that tells the next one, laid out for it.
        untied = "proj_out.weight" in tensors
        return bytes_as([*tensors.values(), *([] if untied else tied)], device.dtype)

    def load(self, entry: Entry, device: Device) -> Bundle:
        from onebox.audio.transcription.loading import load_speech_model
        from onebox.audio.transcription.whisper.transcriber import WhisperTranscriber

        if entry.overrides.get("quantization"):
            raise ModelBroken(
                f"{entry.name} is not quantised; take quantization out of its onebox.toml"
            )
        loaded = load_speech_model(entry, device, "seq2seq")
        return TranscriberBundle(
            WhisperTranscriber(loaded.model, loaded.tokenizer, loaded.features)
        )

    def warm_up(self) -> None:
        from onebox.language.checkpoints.loading import silence

        silence()
        from transformers import (  # noqa: F401
            AutoFeatureExtractor,
            AutoModelForSpeechSeq2Seq,
            AutoTokenizer,
        )
        from transformers.models.whisper import modeling_whisper  # noqa: F401


def _require_numbers(config: Mapping[str, Any]) -> None:
    for name in NUMBERS:
        value = config.get(name)
        if type(value) is not int or not 0 < value <= MAX_NUMBER:
            raise ModelBroken(f"the configuration's {name} is {str(value)[:40]}")


def _languages(config: Mapping[str, Any], told: Mapping[str, Any]) -> list[str]:
    """Codes, as far as the files tell; a model of one language is an English one."""
    default = config["vocab_size"] >= MULTILINGUAL_VOCABULARY
    if told.get("is_multilingual", default) is False:
        return ["en"]
    known = told.get("lang_to_id")
    if not isinstance(known, dict):
        return []
    return sorted(str(token).strip("<|>")[:10] for token in known)


def _window_values(config: Mapping[str, Any]) -> int:
    """How many values one window takes while it is written down: keys, values, and activations."""
    width, frames = config["d_model"], config["max_source_positions"]
    kept = 2 * config["decoder_layers"] * width * (frames + config["max_target_positions"])
    encoding = frames * (8 * width + 2 * config["encoder_ffn_dim"]) + 4 * frames * frames
    return int(kept + encoding + 4 * config["vocab_size"])


FAMILIES.register(Whisper.name, Whisper())
