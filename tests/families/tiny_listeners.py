"""Tiny random models that hear, of several kinds, and sound for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LETTERS = "etaoinshrdlu'"
CONV = {"conv_dim": (16, 16), "conv_stride": (20, 16), "conv_kernel": (40, 16)}
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
CTC_KINDS = ("wav2vec2", "hubert", "wavlm", "unispeech", "data2vec-audio")


def noise(seconds: float, seed: int = 0) -> Any:
    """int16 samples."""
    import numpy as np

    numbers = np.random.default_rng(seed)
    return (numbers.standard_normal(int(seconds * 16_000)) * 3000).astype(np.int16)


def letter_tokenizer(folder: Path) -> Any:
    from transformers import Wav2Vec2CTCTokenizer

    names = ["<pad>", "<s>", "</s>", "<unk>", "|", *LETTERS]
    folder.mkdir(parents=True, exist_ok=True)
    vocab = folder / "vocab.json"
    vocab.write_text(json.dumps({name: number for number, name in enumerate(names)}))
    return Wav2Vec2CTCTokenizer(str(vocab))


def wave_features(*, masked: bool) -> Any:
    from transformers import Wav2Vec2FeatureExtractor

    return Wav2Vec2FeatureExtractor(
        feature_size=1, sampling_rate=16_000, do_normalize=True, return_attention_mask=masked
    )


def ctc(folder: Path, kind: str = "wav2vec2", *, masked: bool = True) -> Path:
    """`masked`: as the models are that are told which samples only fill up a batch."""
    import torch
    from transformers import AutoConfig, AutoModelForCTC

    torch.manual_seed(0)
    tokenizer = letter_tokenizer(folder)
    config = AutoConfig.for_model(
        kind,
        vocab_size=len(tokenizer),
        pad_token_id=0,
        feat_extract_norm="layer" if masked else "group",
        **CONV,
        **SMALL,
    )
    AutoModelForCTC.from_config(config).save_pretrained(folder)
    wave_features(masked=masked).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def moonshine(folder: Path) -> Path:
    import torch
    from transformers import MoonshineConfig, MoonshineForConditionalGeneration

    from tests.families.tiny_language_models import IDS, VOCAB, byte_tokenizer

    torch.manual_seed(0)
    config = MoonshineConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=48,
        encoder_num_hidden_layers=2,
        decoder_num_hidden_layers=2,
        encoder_num_attention_heads=2,
        decoder_num_attention_heads=2,
        max_position_embeddings=64,
        decoder_start_token_id=256,
        **IDS,
    )
    MoonshineForConditionalGeneration(config).save_pretrained(folder)
    wave_features(masked=True).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def speech_encoder_decoder(folder: Path) -> Path:
    import torch
    from transformers import (
        AutoConfig,
        SpeechEncoderDecoderConfig,
        SpeechEncoderDecoderModel,
    )

    from tests.families.tiny_language_models import IDS, VOCAB, byte_tokenizer

    torch.manual_seed(0)
    ears = AutoConfig.for_model("wav2vec2", feat_extract_norm="layer", **CONV, **SMALL)
    writer = AutoConfig.for_model(
        "bert",
        vocab_size=VOCAB,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=64,
    )
    config = SpeechEncoderDecoderConfig.from_encoder_decoder_configs(ears, writer)
    model = SpeechEncoderDecoderModel(config)
    for owner in (model.config, model.generation_config):
        owner.decoder_start_token_id = 256
        owner.pad_token_id, owner.eos_token_id = IDS["pad_token_id"], IDS["eos_token_id"]
    model.save_pretrained(folder)
    wave_features(masked=True).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def speech_to_text(folder: Path) -> Path:
    import torch
    from transformers import (
        Speech2TextConfig,
        Speech2TextFeatureExtractor,
        Speech2TextForConditionalGeneration,
    )

    from tests.families.tiny_language_models import IDS, VOCAB, byte_tokenizer

    torch.manual_seed(0)
    config = Speech2TextConfig(
        vocab_size=VOCAB,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        max_target_positions=64,
        conv_channels=32,
        decoder_start_token_id=256,
        **(IDS | {"pad_token_id": 1}),
    )
    Speech2TextForConditionalGeneration(config).save_pretrained(folder)
    Speech2TextFeatureExtractor(feature_size=80, num_mel_bins=80).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


SEQ2SEQ_KINDS: dict[str, Any] = {
    "moonshine": moonshine,
    "speech-encoder-decoder": speech_encoder_decoder,
    "speech_to_text": speech_to_text,
}
