"""Make a model folder of OpenAI's `tiny.en.pt`: `python -m onebox.starter.convert_whisper FILE
FOLDER`. Beside the file lies `gpt2.tiktoken`, the tokens it was trained with.

Run in a process of its own, which ends with the memory it took.
"""

from __future__ import annotations

import base64
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

from onebox.core.os_support import die_with_parent

TOKENS = "gpt2.tiktoken"
END, START, TRANSLATE, TRANSCRIBE, START_OF_LM, START_OF_PREVIOUS, NO_SPEECH, NO_TIMESTAMPS = (
    50256, 50257, 50357, 50358, 50359, 50360, 50361, 50362,
)  # fmt: skip
BLANK = 220
LANGUAGES = 99
TIMESTAMPS = 1501
# The cross-attention heads of tiny.en that follow the speech, as OpenAI publishes them.
ALIGNMENT_HEADS = [[1, 0], [2, 0], [2, 5], [3, 0], [3, 1], [3, 2], [3, 3], [3, 4]]
# What names an OpenAI weight, and what transformers calls it.
RENAMED = (
    ("blocks.", "layers."),
    ("cross_attn_ln", "encoder_attn_layer_norm"),
    ("cross_attn", "encoder_attn"),
    ("attn_ln", "self_attn_layer_norm"),
    (".attn.", ".self_attn."),
    ("mlp_ln", "final_layer_norm"),
    ("mlp.0", "fc1"),
    ("mlp.2", "fc2"),
    (".query.", ".q_proj."),
    (".key.", ".k_proj."),
    (".value.", ".v_proj."),
    (".out.", ".out_proj."),
    ("decoder.ln.", "decoder.layer_norm."),
    ("encoder.ln_post.", "encoder.layer_norm."),
    ("token_embedding", "embed_tokens"),
    ("positional_embedding", "embed_positions.weight"),
)


def convert(weights: Path, folder: Path) -> None:
    """Write float16 safetensors, configuration, tokenizer and feature extractor into the folder.

    Raises ValueError for weights of another Whisper.
    """
    import torch
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

    saved = torch.load(weights, map_location="cpu", weights_only=True, mmap=True)
    config = _config(saved["dims"])
    model = WhisperForConditionalGeneration(config).to(torch.float16)
    named = {f"model.{_renamed(name)}": value for name, value in saved["model_state_dict"].items()}
    named["proj_out.weight"] = named["model.decoder.embed_tokens.weight"]
    model.load_state_dict(named)
    model.generation_config = _generation_config(config)
    model.save_pretrained(folder)
    _tokenizer(weights.with_name(TOKENS)).save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(folder)


def _config(dims: dict[str, int]) -> Any:
    from transformers import WhisperConfig

    if (dims["n_vocab"], dims["n_text_layer"]) != (NO_TIMESTAMPS + 1 + TIMESTAMPS, 4):
        raise ValueError("only the weights of Whisper tiny.en are converted")
    config = WhisperConfig(
        vocab_size=dims["n_vocab"],
        num_mel_bins=dims["n_mels"],
        d_model=dims["n_text_state"],
        encoder_layers=dims["n_audio_layer"],
        encoder_attention_heads=dims["n_audio_head"],
        encoder_ffn_dim=4 * dims["n_audio_state"],
        decoder_layers=dims["n_text_layer"],
        decoder_attention_heads=dims["n_text_head"],
        decoder_ffn_dim=4 * dims["n_text_state"],
        max_source_positions=dims["n_audio_ctx"],
        max_target_positions=dims["n_text_ctx"],
        bos_token_id=END,
        eos_token_id=END,
        pad_token_id=END,
        decoder_start_token_id=START,
    )
    config.architectures = ["WhisperForConditionalGeneration"]
    return config


def _generation_config(config: Any) -> Any:
    from transformers import GenerationConfig
    from transformers.models.whisper.configuration_whisper import NON_SPEECH_TOKENS

    own = {TRANSLATE, TRANSCRIBE, START, START_OF_LM, START_OF_PREVIOUS, NO_SPEECH}
    return GenerationConfig(
        alignment_heads=ALIGNMENT_HEADS,
        begin_suppress_tokens=[BLANK, END],
        bos_token_id=START,
        decoder_start_token_id=START,
        eos_token_id=END,
        pad_token_id=END,
        is_multilingual=False,
        max_initial_timestamp_index=50,
        max_length=config.max_target_positions,
        no_timestamps_token_id=NO_TIMESTAMPS,
        prev_sot_token_id=START_OF_PREVIOUS,
        return_timestamps=False,
        suppress_tokens=sorted({*NON_SPEECH_TOKENS, *own}),
    )


def _renamed(name: str) -> str:
    for theirs, ours in RENAMED:
        name = name.replace(theirs, ours)
    return name


def _tokenizer(tokens: Path) -> Any:
    from transformers import AddedToken, WhisperTokenizer
    from transformers.models.whisper.tokenization_whisper import LANGUAGES as CODES

    ranks = _ranks(tokens)
    tokenizer = WhisperTokenizer(
        vocab={_written(token): rank for token, rank in ranks.items()}, merges=_merges(ranks)
    )
    special = [f"<|{code}|>" for code in list(CODES)[:LANGUAGES]]
    special = ["<|endoftext|>", "<|startoftranscript|>", *special, "<|translate|>"]
    special += ["<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": [*special, "<|notimestamps|>"]})
    times = [f"<|{count * 0.02:.2f}|>" for count in range(TIMESTAMPS)]
    tokenizer.add_tokens([AddedToken(time, normalized=False, special=False) for time in times])
    tokenizer.pad_token = "<|endoftext|>"
    tokenizer.model_max_length = 1024
    for name, place in (("<|notimestamps|>", NO_TIMESTAMPS), ("<|30.00|>", len(tokenizer) - 1)):
        if tokenizer.convert_tokens_to_ids(name) != place:
            raise ValueError(f"{tokens.name} is not the list of GPT-2's tokens")
    return tokenizer


def _ranks(path: Path) -> dict[bytes, int]:
    pairs = (line.split() for line in path.read_bytes().splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


def _written(token: bytes) -> str:
    """Bytes as GPT-2's tokenizer files write them: one printable character for each."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = bytes_to_unicode()
    return "".join(letters[byte] for byte in token)


def _merges(ranks: dict[bytes, int]) -> list[tuple[str, str]]:
    """The two parts of each token, in the order of the tokens."""
    found = []
    for token in sorted(ranks, key=ranks.__getitem__):
        if len(token) > 1:
            first, second = _parts(token, ranks)
            found.append((_written(first), _written(second)))
    return found


def _parts(token: bytes, ranks: dict[bytes, int]) -> list[bytes]:
    """What its bytes become by all merges that come before its own."""
    parts = [token[place : place + 1] for place in range(len(token))]
    while len(parts) > 2:
        joined = [ranks.get(a + b, len(ranks)) for a, b in pairwise(parts)]
        place = joined.index(min(joined))
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts


def main(arguments: list[str]) -> None:
    die_with_parent()
    weights, folder = map(Path, arguments)
    convert(weights, folder)


if __name__ == "__main__":
    main(sys.argv[1:])
