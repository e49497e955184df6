"""Tiny random voices, as transformers folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LETTERS = "_abcdefghijklmnopqrstuvwxyz '"
SPEECHT5_SYMBOLS = ["<s>", "<pad>", "</s>", "<unk>", "▁", *"abcdefghijklmnopqrstuvwxyz'.,"]


def vits(folder: Path, *, speakers: int = 1, language: str = "eng", **changes: Any) -> Path:
    """MMS's layout: letters in, 16 kHz out."""
    import torch
    from transformers import VitsConfig, VitsModel

    torch.manual_seed(0)
    config = VitsConfig(
        **{
            "vocab_size": len(LETTERS),
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "ffn_dim": 16,
            "flow_size": 16,
            "spectrogram_bins": 9,
            "upsample_initial_channel": 16,
            "upsample_rates": [4, 4],
            "upsample_kernel_sizes": [8, 8],
            "resblock_kernel_sizes": [3, 5],
            "resblock_dilation_sizes": [[1, 2], [1, 3]],
            "prior_encoder_num_flows": 2,
            "prior_encoder_num_wavenet_layers": 2,
            "posterior_encoder_num_wavenet_layers": 1,
            "duration_predictor_filter_channels": 16,
            "num_speakers": speakers,
            "speaker_embedding_size": 4 if speakers > 1 else 0,
            **changes,
        }
    )
    model = VitsModel(config).eval()
    if config.use_stochastic_duration_prediction is False:
        model.duration_predictor.proj.bias.data.fill_(1.5)
    model.save_pretrained(folder)
    write_json(folder / "vocab.json", {letter: index for index, letter in enumerate(LETTERS)})
    told = {"tokenizer_class": "VitsTokenizer", "phonemize": False, "language": language}
    write_json(folder / "tokenizer_config.json", told | {"pad_token": "_", "unk_token": "_"})
    return folder


def speecht5(folder: Path, speakers: tuple[str, ...] = ("anna", "ben")) -> Path:
    """With a vocoder and x-vectors: the first as `.npy`, the others as `.safetensors`."""
    import numpy as np
    import torch
    from safetensors.torch import save_file
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import (
        SpeechT5Config,
        SpeechT5ForTextToSpeech,
        SpeechT5HifiGan,
        SpeechT5HifiGanConfig,
    )

    torch.manual_seed(0)
    size = {"hidden_size": 16, "encoder_layers": 1, "decoder_layers": 1}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = SpeechT5Config(
        vocab_size=len(SPEECHT5_SYMBOLS), encoder_ffn_dim=16, decoder_ffn_dim=16, num_mel_bins=8,
        speech_decoder_prenet_units=8, speech_decoder_postnet_units=8, speaker_embedding_dim=4,
        max_text_positions=40, max_speech_positions=400, **size, **heads,
    )  # fmt: skip
    model = SpeechT5ForTextToSpeech(config).eval()
    model.speech_decoder_postnet.prob_out.bias.data.fill_(-20)  # it never ends by itself
    model.save_pretrained(folder)
    SpeechT5HifiGan(
        SpeechT5HifiGanConfig(
            model_in_dim=8, upsample_initial_channel=8, upsample_rates=[4, 4],
            upsample_kernel_sizes=[8, 8], resblock_kernel_sizes=[3],
            resblock_dilation_sizes=[[1, 3]], initializer_range=0.3,
        )
    ).save_pretrained(folder / "vocoder")  # fmt: skip
    symbols = {symbol: index for index, symbol in enumerate(SPEECHT5_SYMBOLS)}
    tokenizer = Tokenizer(models.WordLevel(symbols, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", symbols["</s>"])]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"})
    (folder / "speakers").mkdir()
    for index, name in enumerate(speakers):
        vector = np.random.default_rng(index).normal(size=4).astype(np.float32)
        if index == 0:
            np.save(folder / "speakers" / f"{name}.npy", vector)
        else:
            save_file({"x": torch.from_numpy(vector)}, folder / "speakers" / f"{name}.safetensors")
    return folder


def bark(folder: Path) -> Path:
    """With one described speaker, `v2/de_speaker_1`, and one of which a file is missing."""
    import numpy as np
    import torch
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import (
        BarkCoarseConfig,
        BarkConfig,
        BarkFineConfig,
        BarkModel,
        BarkSemanticConfig,
        EncodecConfig,
        GenerationConfig,
    )
    from transformers.models.bark import generation_configuration_bark as generation

    torch.manual_seed(0)
    size = {"num_layers": 1, "num_heads": 2, "hidden_size": 8}
    model = BarkModel(
        BarkConfig(
            semantic_config=BarkSemanticConfig(input_vocab_size=129_600, **size).to_dict(),
            coarse_acoustics_config=BarkCoarseConfig(
                input_vocab_size=12_096, output_vocab_size=12_096, **size
            ).to_dict(),
            fine_acoustics_config=BarkFineConfig(
                input_vocab_size=1056, output_vocab_size=1056, **size
            ).to_dict(),
            codec_config=EncodecConfig(hidden_size=8, num_filters=2, codebook_dim=8).to_dict(),
        )
    ).eval()
    for name, buffer in model.codec_model.named_buffers():
        if name.endswith("codebook.embed"):
            buffer.normal_()
    model.generation_config = GenerationConfig()
    model.save_pretrained(folder)
    parts = (
        generation.BarkSemanticGenerationConfig(do_sample=True, max_new_tokens=8),
        generation.BarkCoarseGenerationConfig(do_sample=True),
        generation.BarkFineGenerationConfig(),
    )
    told = generation.BarkGenerationConfig.from_sub_model_configs(*parts)
    write_json(folder / "generation_config.json", told.to_dict())
    symbols = {symbol: index for index, symbol in enumerate(LETTERS)}
    tokenizer = Tokenizer(models.WordLevel(symbols, unk_token="_"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.save(str(folder / "tokenizer.json"))
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "_"}
    write_json(folder / "tokenizer_config.json", told)
    names = {"semantic": (9,), "coarse": (2, 12), "fine": (8, 12)}
    files = {f"{part}_prompt": f"speaker_embeddings/{part}.npy" for part in names}
    (folder / "speaker_embeddings").mkdir()
    for part, shape in names.items():
        codes = np.random.default_rng(0).integers(0, 1000, shape)
        np.save(folder / "speaker_embeddings" / f"{part}.npy", codes)
    lost = files | {"fine_prompt": "speaker_embeddings/gone.npy"}
    index = {"v2/de_speaker_1": files, "v2/en_speaker_2": lost, "repo_or_path": "org/name"}
    write_json(folder / "speaker_embeddings_path.json", index)
    return folder


def write_json(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values), encoding="utf-8")
