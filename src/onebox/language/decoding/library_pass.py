"""The forward pass of any library model whose attention can be replaced by ours."""

from __future__ import annotations

import inspect
from threading import get_ident
from typing import Any

from onebox.language.decoding.batch import Forward, Window
from onebox.language.decoding.kv_cache import KvShape
from onebox.language.decoding.quantize import model_bytes

ATTENTION = "onebox"
# Kinds of rotation that depend on how long a text is; in a packed row are many texts.
LENGTH_ROTATIONS = frozenset({"dynamic", "longrope"})
# What a model's attention may be given beside its tensors without changing what it computes.
HARMLESS_OPTIONS = frozenset(
    {
        "dropout",
        "scaling",
        "is_causal",
        "position_ids",
        "cache_position",
        "use_cache",
        "output_attentions",
        "output_hidden_states",
        "output_router_logits",
        "past_key_values",
        "sliding_window",
    }
)

# What the thread of each engine computes now.
_running: dict[int, LibraryPass] = {}


class NotOurs(Exception):
    """The model's attention needs something that ours does not do."""


class LibraryPass:
    """Calls the library's model on the packed row, with our attention in every layer.

    Raises NotOurs where the model cannot be computed so.

    Attributes:
        forward: what is computed now.
        attended: layers of it that have called our attention.
        windows: those that the layers named.
        masked: the windows of the masks that the library would have made.
    """

    forward: Forward
    attended: int
    windows: set[Window]
    masked: set[Window]

    def __init__(self, model: Any) -> None:
        from transformers import AttentionInterface, AttentionMaskInterface

        AttentionInterface.register(ATTENTION, _attention)
        AttentionMaskInterface.register(ATTENTION, _no_mask)
        if not getattr(model, "_supports_attention_backend", False):
            raise NotOurs(f"{type(model).__name__} has an attention of its own")
        if rotations := _rotations(model.config.get_text_config()) & LENGTH_ROTATIONS:
            raise NotOurs(f"rotations that depend on the text's length: {', '.join(rotations)}")
        model.set_attn_implementation(ATTENTION)
        self._model = model
        self._selects = "logits_to_keep" in inspect.signature(model.forward).parameters
        self.shape = _shape_of(model)
        self.size_bytes = model_bytes(model)

    def __call__(self, forward: Forward) -> Any:
        """Logits [wanted, vocabulary]. Writes the keys and values of all tokens."""
        self.forward, self.attended = forward, 0
        self.windows, self.masked = set(), set()
        _running[get_ident()] = self
        select = {"logits_to_keep": forward.wanted} if self._selects else {}
        try:
            logits = self._model(
                input_ids=forward.ids[None],
                position_ids=forward.positions[None],
                use_cache=False,
                **select,
            ).logits[0]
            if self.attended != self.shape.layers:
                raise NotOurs(f"{self.attended} of {self.shape.layers} layers use attention")
            if self.masked and self.masked != self.windows:
                raise NotOurs("masks that its layers say nothing of")
        finally:
            del _running[get_ident()]
        return logits if select else logits[forward.wanted]


def _attention(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **options: Any
) -> tuple[Any, None]:
    """The library's interface: query [1, heads, tokens, dim] → [1, tokens, heads, dim]."""
    import torch

    running = _running[get_ident()]
    others = {name for name, value in options.items() if value is not None}
    if others - HARMLESS_OPTIONS:
        raise NotOurs(f"attention with {', '.join(sorted(others - HARMLESS_OPTIONS))}")
    if attention_mask is not None:
        raise NotOurs("masks of its own")
    if key.shape[1:] != value.shape[1:] or getattr(module, "is_cross_attention", False):
        raise NotOurs("keys and values of different shapes")
    scale = options.get("scaling") or query.shape[-1] ** -0.5
    key_value = torch.cat([key[0], value[0]]).transpose(0, 1)
    running.attended += 1
    window = options.get("sliding_window")
    running.windows.add(window)
    out = running.forward.attend(
        module.layer_idx, query[0].transpose(0, 1), key_value, scale, window
    )
    return out[None], None


def _no_mask(*args: Any, local_size: Window = None, **options: Any) -> None:
    """Ours knows by itself who sees whom, but for windows it has to be told."""
    _running[get_ident()].masked.add(local_size)


def _shape_of(model: Any) -> KvShape:
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    weight = model.get_input_embeddings().weight
    return KvShape(
        layers=config.num_hidden_layers,
        kv_heads=getattr(config, "num_key_value_heads", None) or heads,
        head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
        dtype=weight.dtype,
        device=weight.device,
    )


def _rotations(config: Any) -> set[str]:
    """Of all its kinds of layers."""
    told = getattr(config, "rope_parameters", None) or {}
    kinds = [value for value in told.values() if isinstance(value, dict)] or [told]
    return {str(kind.get("rope_type")) for kind in kinds}
