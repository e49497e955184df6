"""A folder of tiny random encoders for a server, one for each thing that can be different."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.families import tiny_encoders as tiny

BIG = {
    "num_hidden_layers": 8,
    "hidden_size": 256,
    "intermediate_size": 1024,
    "max_position_embeddings": 512,
}
# A text with this word has no finite numbers with the model `poisoned`.
POISON = "mat"
DENSE_SIZE = 12


def encoder_models(folder: Path) -> Path:
    """
    bert: a plain folder, of 40 tokens.
    qwen: a decoder with the last token's vector, of length 1, and prompts.
    dense: a dense layer after the mean.
    poisoned: see POISON.
    half: in bfloat16, because its onebox.toml says so; `whole` has the same weights.
    big: takes seconds for a thousand long texts.
    cross: ranks.
    """
    tiny.encoder(folder / "bert", "bert")
    qwen = tiny.encoder(folder / "qwen", "qwen3")
    prompts = {"prompts": {"query": "query : ", "document": ""}}
    tiny.add_modules(qwen, {"pooling_mode_lasttoken": True}, "Normalize", prompts=prompts)
    dense = tiny.add_modules(tiny.encoder(folder / "dense", "bert"), None, "Dense")
    tiny.add_dense(dense, "2_Dense", DENSE_SIZE, "torch.nn.Tanh")
    _poison(tiny.encoder(folder / "poisoned", "bert"))
    tiny.encoder(folder / "whole", "bert", num_hidden_layers=1)
    half = tiny.encoder(folder / "half", "bert", num_hidden_layers=1)
    (half / "onebox.toml").write_text('dtype = "bfloat16"\n')
    # Other contents, since folders of equal contents are one model.
    with (half / "config.json").open("a") as config:
        config.write("\n")
    tiny.encoder(folder / "big", "bert", **BIG)
    cross_encoder(folder / "cross")
    return folder


def cross_encoder(folder: Path, **changes: Any) -> Path:
    from transformers import AutoModelForSequenceClassification

    config = tiny.config("bert", num_labels=1, **changes)
    return tiny.save(AutoModelForSequenceClassification.from_config(config), folder)


def _poison(folder: Path) -> None:
    from safetensors.torch import load_file, save_file
    from transformers import AutoTokenizer

    path = folder / "model.safetensors"
    weights = load_file(path)
    number = AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids(POISON)
    weights["embeddings.word_embeddings.weight"][number] = float("nan")
    save_file(weights, path, {"format": "pt"})
