"""The forward pass of encoders built like BERT over tokens of many texts, without padding.

Dense products run over all tokens at once; attention runs over texts of one length. The query, key
and value products are one, weights are packed for the CPU, and the activation is a part of the
product before it. Between the products everything stays in float32, also where these run in half
precision. What it gives is compared with the library's model when it is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from onebox.language.decoding.projection import Projection, create_projection
from onebox.language.encoding.packed import Packed
from onebox.language.encoding.products import ACTIVATIONS, create_activated


@dataclass(frozen=True, slots=True)
class _Layer:
    query_key_value: Projection
    out: Projection
    first_norm: Any
    up: Projection
    down: Projection
    second_norm: Any


@dataclass(frozen=True, slots=True)
class _Names:
    """Where a library model keeps its parts."""

    layers: str
    query: str
    key: str
    value: str
    out: str
    first_norm: str
    up: str
    down: str
    second_norm: str


_BERT = _Names(
    "encoder.layer",
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "attention.output.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
)
_MPNET = _Names(
    "encoder.layer",
    "attention.attn.q",
    "attention.attn.k",
    "attention.attn.v",
    "attention.attn.o",
    "attention.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
)
_DISTILBERT = _Names(
    "transformer.layer",
    "attention.q_lin",
    "attention.k_lin",
    "attention.v_lin",
    "attention.out_lin",
    "sa_layer_norm",
    "ffn.lin1",
    "ffn.lin2",
    "output_layer_norm",
)
_KINDS = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "camembert": _BERT,
    "mpnet": _MPNET,
    "distilbert": _DISTILBERT,
}


def is_like_bert(model: Any) -> bool:
    """Whether this pass can compute the model."""
    config = model.config
    return (
        config.model_type in _KINDS
        and not getattr(config, "is_decoder", False)
        and not getattr(config, "add_cross_attention", False)
        and getattr(config, "position_embedding_type", "absolute") in (None, "absolute")
        and _activation(config) in ACTIVATIONS
    )


def _activation(config: Any) -> str:
    return str(config.activation if config.model_type == "distilbert" else config.hidden_act)


class BertPass:
    """Takes the weights out of a library model in float32, layer by layer, and computes with them.

    Args:
        dtype: what products run in.

    Attributes:
        size_bytes: of all weights as they are kept.
    """

    def __init__(self, model: Any, dtype: Any) -> None:
        config = model.config
        names = _KINDS[config.model_type]
        self._heads = int(config.num_attention_heads)
        self._activation = _activation(config)
        self._embed = _Embedding(model, dtype)
        self._bias = _RelativeBias(model, dtype) if config.model_type == "mpnet" else None
        self.device = model.device
        self.dtype = dtype
        layers = model.get_submodule(names.layers)
        self._layers = [self._take(layer, names) for layer in layers]
        self.size_bytes = self._embed.size_bytes + sum(
            product.size_bytes
            for layer in self._layers
            for product in (layer.query_key_value, layer.out, layer.up, layer.down)
        )

    def __call__(self, packed: Packed, between: Callable[[], None]) -> Any:
        """Hidden states [tokens, width] in float32."""
        x = self._embed(packed)
        biases = {}
        if self._bias is not None:
            biases = {length: self._bias(length) for length in set(packed.lengths)}
        for layer in self._layers:
            between()
            x = self._attention(layer, x, packed, biases)
            x = layer.second_norm(x.add_(layer.down(layer.up(x.to(self.dtype)))))
        return x

    def _attention(self, layer: _Layer, x: Any, packed: Packed, biases: dict[int, Any]) -> Any:
        import torch.nn.functional as functional

        every = layer.query_key_value(x.to(self.dtype)).view(len(x), 3, self._heads, -1)
        mixed = every.new_empty(len(x), self._heads, every.shape[-1])
        for place, count, length in packed.equal_lengths():
            part = slice(place, place + count * length)
            texts = every[part].view(count, length, 3, self._heads, -1).permute(2, 0, 3, 1, 4)
            query, key, value = texts.unbind()
            bias = biases.get(length)
            found = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
            mixed[part].view(count, length, self._heads, -1).copy_(found.transpose(1, 2))
        return layer.first_norm(x.add_(layer.out(mixed.view(len(x), -1))))

    def _take(self, layer: Any, names: _Names) -> _Layer:
        """The weights of a library layer, which has none after that."""
        find = layer.get_submodule
        taken = _Layer(
            query_key_value=create_projection(
                *self._joined(*map(find, (names.query, names.key, names.value)))
            ),
            out=create_projection(*self._joined(find(names.out))),
            first_norm=Norm(find(names.first_norm)),
            up=create_activated(*self._joined(find(names.up)), self._activation),
            down=create_projection(*self._joined(find(names.down))),
            second_norm=Norm(find(names.second_norm)),
        )
        layer.to("meta")
        return taken

    def _joined(self, *linears: Any) -> tuple[Any, Any]:
        """Weight and bias of several products of the same input as one."""
        import torch

        weight = torch.cat([linear.weight.detach() for linear in linears])
        bias = torch.cat([linear.bias.detach() for linear in linears])
        return weight.to(self.dtype), bias.to(self.dtype)


class Norm:
    """Layer normalisation in float32."""

    def __init__(self, norm: Any) -> None:
        self._weight, self._bias = norm.weight.detach().float(), norm.bias.detach().float()
        self._shape, self._eps = norm.normalized_shape, norm.eps

    def __call__(self, x: Any) -> Any:
        import torch.nn.functional as functional

        return functional.layer_norm(x, self._shape, self._weight, self._bias, self._eps)


class _Embedding:
    """Words, places and, where there are any, segments."""

    def __init__(self, model: Any, dtype: Any) -> None:
        tables = model.embeddings
        self._words = tables.word_embeddings.weight.detach().to(dtype)
        self._places = tables.position_embeddings.weight.detach().float()
        segments = getattr(tables, "token_type_embeddings", None)
        self._segments = None if segments is None else segments.weight.detach().float()
        # Models of the RoBERTa kind begin to count behind the number of the padding token.
        late = model.config.model_type not in ("bert", "distilbert")
        self._first = int(tables.padding_idx) + 1 if late else 0
        self._norm = Norm(tables.LayerNorm)
        kept = [self._words, self._places, *([] if segments is None else [self._segments])]
        self.size_bytes = sum(int(one.numel() * one.element_size()) for one in kept)

    def __call__(self, packed: Packed) -> Any:
        x = self._words[packed.ids].float() + self._places[packed.positions + self._first]
        if self._segments is not None:
            x += self._segments[packed.segments]
        return self._norm(x)


class _RelativeBias:
    """What MPNet adds to the scores of attention, by distance."""

    def __init__(self, model: Any, dtype: Any) -> None:
        self._table = model.encoder.relative_attention_bias.weight.detach().to(dtype)
        self._bucket = model.encoder.relative_position_bucket

    def __call__(self, length: int) -> Any:
        """[1, heads, length, length]."""
        import torch

        places = torch.arange(length, device=self._table.device)
        distances = places[None, :] - places[:, None]
        return self._table[self._bucket(distances)].permute(2, 0, 1)[None].contiguous()
