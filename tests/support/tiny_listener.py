"""A tiny random Whisper that hears thirty seconds at once, as all real ones do. What it writes is
nonsense, or nothing.
"""

from __future__ import annotations

from pathlib import Path

from tests.audio import tiny_whisper

SECONDS = 30


def listening_model(path: Path) -> Path:
    from transformers import WhisperFeatureExtractor

    tiny_whisper.model(max_source_positions=50 * SECONDS).save_pretrained(path)
    tiny_whisper.tokenizer().save_pretrained(path)
    WhisperFeatureExtractor(feature_size=16, chunk_length=SECONDS).save_pretrained(path)
    return path
