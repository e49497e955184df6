"""Tiny random encoders of several kinds, with files of sentence-transformers, and what plain
transformers make of a text with them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

WORDS = ("a", "cat", "dog", "sat", "on", "the", "mat", "ran", "home", "query", ":", "very", "big")
MARKS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]")
VOCAB = 32
WIDTH = 32
POSITIONS = 40
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": POSITIONS,
    "pad_token_id": 0,
}
OWN: dict[str, dict[str, Any]] = {
    "mpnet": {"pad_token_id": 1},
    "roberta": {"pad_token_id": 1},
    "xlm-roberta": {"pad_token_id": 1},
    "distilbert": {"dim": WIDTH, "n_layers": 2, "n_heads": 4, "hidden_dim": 48},
    "modernbert": {"global_attn_every_n_layers": 2, "local_attention": 4, "cls_token_id": 1},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 8},
    "t5": {"d_model": WIDTH, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4},
}


def tokenizer(padding: int, *, segments: bool) -> Any:
    """Over words; a text is [CLS] … [SEP], two are [CLS] … [SEP] … [SEP].

    `segments`: its model is told which of two texts a token is from.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = ["input_ids", "attention_mask", *(["token_type_ids"] if segments else [])]
    marks = list(MARKS)
    marks.insert(padding, marks.pop(0))
    vocab = {word: number for number, word in enumerate((*marks, *WORDS))}
    backend = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.add_special_tokens(list(MARKS))
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, vocab[name]) for name in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
        model_input_names=names,
    )


def config(kind: str, **changes: Any) -> Any:
    from transformers import AutoConfig

    return AutoConfig.for_model(kind, **{**SIZES, **OWN.get(kind, {}), **changes})


def save(model: Any, folder: Path) -> Path:
    """Weights far from zero, so that a wrong place of anything shows."""
    import torch

    torch.manual_seed(1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    segments = model.config.model_type in ("bert", "electra", "albert")
    made = tokenizer(model.config.pad_token_id or 0, segments=segments)
    made.save_pretrained(folder)
    return folder


def encoder(folder: Path, kind: str, **changes: Any) -> Path:
    from transformers import AutoModel

    return save(AutoModel.from_config(config(kind, **changes)), folder)


def add_modules(
    folder: Path,
    pooling: dict[str, Any] | None = None,
    *more: str,
    prompts: dict[str, Any] | None = None,
    sentences: dict[str, Any] | None = None,
) -> Path:
    """Files of sentence-transformers; `more` are further modules, each in a folder of its name."""
    names = ["Transformer", "Pooling", *more]
    modules = [
        {
            "idx": index,
            "name": str(index),
            "path": f"{index}_{name}" if index else "",
            "type": f"sentence_transformers.models.{name}",
        }
        for index, name in enumerate(names)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    write(
        folder / "1_Pooling" / "config.json", {"word_embedding_dimension": WIDTH, **(pooling or {})}
    )
    if prompts is not None:
        write(folder / "config_sentence_transformers.json", prompts)
    if sentences is not None:
        write(folder / "sentence_bert_config.json", sentences)
    return folder


def add_dense(folder: Path, place: str, into: int, activation: str) -> Path:
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(2)
    weights = {"linear.weight": torch.randn(into, WIDTH), "linear.bias": torch.randn(into)}
    write(
        folder / place / "config.json",
        {
            "in_features": WIDTH,
            "out_features": into,
            "bias": True,
            "activation_function": activation,
        },
    )
    save_file(weights, folder / place / "model.safetensors")
    return folder


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))


def hidden(folder: Path, text: str) -> Any:
    """Vectors of a text's tokens [tokens, width] by plain transformers."""
    import torch
    from transformers import AutoModel, AutoModelForTextEncoding, AutoTokenizer

    ids = AutoTokenizer.from_pretrained(folder)(text)["input_ids"]
    kind = json.loads((folder / "config.json").read_text())["model_type"]
    source = AutoModelForTextEncoding if kind == "t5" else AutoModel
    model = source.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids])).last_hidden_state[0]


def scores(folder: Path, query: str, documents: Sequence[str]) -> list[float]:
    """Logits of a cross-encoder by plain transformers, one pair at a time."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    found = []
    with torch.inference_mode():
        for document in documents:
            inputs = tokens(query, document, return_tensors="pt")
            found.append(float(model(**inputs).logits[0, 0]))
    return found
