"""A random Whisper of three languages that hears two seconds at once, and sounds for it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

CODES = ("en", "de", "zh")
END, START = 256, 257
PREVIOUS, NO_SPEECH, NO_TIMESTAMPS = 264, 265, 266
ZERO = NO_TIMESTAMPS + 1
TIMES = 101  # 0.00 to 2.00
SECONDS = 2
SPECIAL = [
    *(f"<|{code}|>" for code in CODES),
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
]


def tokenizer() -> Any:
    from tokenizers import pre_tokenizers
    from transformers import AddedToken, WhisperTokenizer

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {letter: place for place, letter in enumerate(letters)} | {"<|endoftext|>": END}
    made = WhisperTokenizer(vocab=vocab, merges=[])
    special = ["<|endoftext|>", "<|startoftranscript|>", *SPECIAL]
    made.add_special_tokens({"additional_special_tokens": special})
    times = [f"<|{number * 0.02:.2f}|>" for number in range(TIMES)]
    made.add_tokens([AddedToken(time, normalized=False, special=False) for time in times])
    assert len(made) == ZERO + TIMES
    return made


def extractor() -> Any:
    from transformers import WhisperFeatureExtractor

    return WhisperFeatureExtractor(feature_size=16, chunk_length=SECONDS)


def config(**changes: Any) -> Any:
    from transformers import WhisperConfig

    values: dict[str, Any] = {
        "vocab_size": ZERO + TIMES,
        "num_mel_bins": 16,
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "max_source_positions": 50 * SECONDS,
        "max_target_positions": 128,
        "bos_token_id": END,
        "eos_token_id": END,
        "pad_token_id": END,
        "decoder_start_token_id": START,
        "init_std": 0.3,
    }
    return WhisperConfig(**values | changes)


def generation_config(**changes: Any) -> Any:
    from transformers import GenerationConfig

    values: dict[str, Any] = {
        "alignment_heads": [[0, 1], [1, 0]],
        "begin_suppress_tokens": [220, END],
        "bos_token_id": END,
        "decoder_start_token_id": START,
        "eos_token_id": END,
        "pad_token_id": END,
        "is_multilingual": True,
        "lang_to_id": {f"<|{code}|>": 258 + place for place, code in enumerate(CODES)},
        "task_to_id": {"translate": 261, "transcribe": 262},
        "max_initial_timestamp_index": 50,
        "max_length": 128,
        "no_timestamps_token_id": NO_TIMESTAMPS,
        "prev_sot_token_id": PREVIOUS,
        "suppress_tokens": [3, 7, *range(START, NO_TIMESTAMPS)],
    }
    return GenerationConfig(**values | changes)


def model(**changes: Any) -> Any:
    """Always the same weights."""
    import torch
    from transformers import WhisperForConditionalGeneration

    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = WhisperForConditionalGeneration(config(**changes)).eval().requires_grad_(False)
    made.generation_config = generation_config()
    return made


@cache
def transcriber() -> Any:
    from onebox.audio.transcription.whisper.transcriber import WhisperTranscriber

    return WhisperTranscriber(model(), tokenizer(), extractor())


def folder(path: Path, **changes: Any) -> Path:
    """A checkpoint as transformers saves it."""
    made = model(**changes)
    made.save_pretrained(path)
    tokenizer().save_pretrained(path)
    extractor().save_pretrained(path)
    return path


def sound(seed: int, seconds: float = 1.6) -> Any:
    """int16 samples: noise that swells and fades a few times."""
    import numpy as np

    count = int(seconds * 16_000)
    random = np.random.default_rng(seed)
    swell = np.sin(np.linspace(0, random.uniform(3, 9), count)) ** 2
    tone = np.sin(np.arange(count) * random.uniform(0.02, 0.3))
    wave = (random.normal(0, 0.2, count) + tone) * swell * 8000
    return wave.clip(-32768, 32767).astype(np.int16)
