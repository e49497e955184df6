"""Family `cross_encoder`: models that read two texts at once and give them one score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onebox.core.contracts import Bundle, Device, Entry, Family
from onebox.core.errors import ModelBroken
from onebox.core.on_disk import Match, OnDisk
from onebox.core.plugins import FAMILIES
from onebox.core.remote_code import refuse_remote_code
from onebox.families.text_encoder import encoder_bytes
from onebox.language.checkpoints.checkpoint_files import CONFIG, class_name, optional_json
from onebox.language.encoding.checkpoint import (
    MAX_TOKENS,
    PROMPTS_CONFIG,
    activation,
    lower_case,
    max_tokens,
    number,
    require_encoder,
)
from onebox.language.encoding.encoder import EncoderBundle

CLASS_ENDING = "ForSequenceClassification"
# What transformers takes for granted.
DEFAULT_LABELS = 2
DEFAULT_WIDTH = 768


class CrossEncoder(Family):
    name = "cross_encoder"
    engine = "piecewise"
    tasks = frozenset({"rerank"})

    def matches(self, on_disk: OnDisk) -> Match | None:
        """Only models of one label: the others sort texts into kinds, they do not rank them."""
        kind = class_name(on_disk)
        if kind is None or not kind.endswith(CLASS_ENDING):
            return None
        config = on_disk.read_json(CONFIG)
        if _labels(config) != 1:
            return None
        refuse_remote_code(on_disk)
        require_encoder(on_disk)
        facts = {
            "max_tokens": max_tokens(on_disk, config),
            "vocab": number(config, ("vocab_size",), CONFIG) or MAX_TOKENS,
            "width": number(config, ("hidden_size", "dim"), CONFIG) or DEFAULT_WIDTH,
            "lower": lower_case(on_disk),
            "activation": _activation(config, optional_json(on_disk, PROMPTS_CONFIG)),
        }
        return Match(kind, facts)

    def estimate(self, on_disk: OnDisk, device: Device) -> int:
        return encoder_bytes(on_disk)

    def load(self, entry: Entry, device: Device) -> Bundle:
        from onebox.language.encoding.loading import load_scorer

        return EncoderBundle(load_scorer(entry, device))

    def warm_up(self) -> None:
        from onebox.language.checkpoints.loading import silence

        silence()
        from transformers import AutoModelForSequenceClassification, AutoTokenizer  # noqa: F401
        from transformers.models.bert import modeling_bert  # noqa: F401


def _labels(config: Mapping[str, Any]) -> int:
    names = config.get("id2label")
    if isinstance(names, dict) and names:
        return len(names)
    told = config.get("num_labels")
    return told if isinstance(told, int) else DEFAULT_LABELS


def _activation(config: Mapping[str, Any], told: Mapping[str, Any]) -> str:
    """What makes a score of the model's one number, where sentence-transformers look for it."""
    own = config.get("sentence_transformers") or {}
    if not isinstance(own, dict):
        raise ModelBroken(f"{CONFIG}: sentence_transformers is not a table")
    places = (
        told.get("activation_fn"),
        own.get("activation_fn"),
        config.get("sbert_ce_default_activation_function"),
    )
    name = next((place for place in places if place is not None), "torch.nn.Sigmoid")
    return activation(name, CONFIG)


FAMILIES.register(CrossEncoder.name, CrossEncoder())
