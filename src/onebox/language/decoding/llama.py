"""The forward pass of models built like Llama, with fewer and larger operations than the library's.

The query, key and value products are one, and so are gate and up; weights are packed; the rotation
of queries and keys takes three operations. The residual is kept in float32, which costs nothing
here and brings half-precision answers nearer to those of full precision. What it gives is compared
with the library's model when it is loaded, and that is used where the two differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from onebox.language.decoding.batch import Forward
from onebox.language.decoding.kv_cache import KvShape
from onebox.language.decoding.projection import Projection, create_projection
from onebox.language.decoding.quantize import create_int8_projection

MODEL_TYPES = frozenset({"llama", "mistral", "qwen2", "qwen3"})
# Rotations that do not depend on how long the text is.
ROPE_TYPES = frozenset({"default", "linear", "llama3", "yarn"})


@dataclass(frozen=True, slots=True)
class _Layer:
    first_norm: Any
    query_key_value: Projection
    query_norm: Any
    key_norm: Any
    out: Projection
    second_norm: Any
    gate_up: Projection
    down: Projection


def is_like_llama(model: Any) -> bool:
    """Whether this pass can compute the model."""
    config = model.config
    rope = getattr(config, "rope_parameters", None) or {}
    return (
        config.model_type in MODEL_TYPES
        and config.hidden_act == "silu"
        and rope.get("rope_type", "default") in ROPE_TYPES
        and rope.get("partial_rotary_factor", 1.0) == 1.0
        and not _slides(config)
        and model.model.layers[0].self_attn.q_proj.weight.is_floating_point()
    )


def _slides(config: Any) -> bool:
    """Whether attention forgets what lies far back."""
    if getattr(config, "layer_types", None):
        return any(kind != "full_attention" for kind in config.layer_types)
    return bool(getattr(config, "sliding_window", None))


class LlamaPass:
    """Takes the weights out of a library model, layer by layer, and computes with them.

    Attributes:
        size_bytes: of all weights as they are kept.
    """

    def __init__(self, model: Any, *, quantized: bool = False) -> None:
        import torch

        config = model.config
        self._heads = config.num_attention_heads
        self._kv_heads = config.num_key_value_heads
        self._dim = getattr(config, "head_dim", None) or config.hidden_size // self._heads
        self._scale = self._dim**-0.5
        self._quantized = quantized
        self._width = (config.hidden_size,)
        self._eps = config.rms_norm_eps
        self._embedding = model.model.embed_tokens.weight
        self._norm = model.model.norm.weight.float()
        self._rotary = model.model.rotary_emb
        dtype, device = self._embedding.dtype, self._embedding.device
        self.shape = KvShape(
            config.num_hidden_layers, self._kv_heads, self._dim, dtype, torch.device(device)
        )
        self._layers = [self._take(layer) for layer in model.model.layers]
        self._head = self._joined(model.lm_head)
        self.size_bytes = self._count_bytes()

    def __call__(self, forward: Forward) -> Any:
        """Logits [wanted, vocabulary]. Writes the keys and values of all tokens."""
        import torch.nn.functional as functional

        embedded = functional.embedding(forward.ids, self._embedding)
        cosines, sines = self._rotation(embedded, forward.positions)
        x = embedded.float()
        for number, layer in enumerate(self._layers):
            x = self._attention(number, layer, x, cosines, sines, forward)
            x = self._feed_forward(layer, x)
        wanted = x.index_select(0, forward.wanted)
        return self._head(self._normed(wanted, self._norm))

    def _normed(self, x: Any, weight: Any) -> Any:
        import torch.nn.functional as functional

        return functional.rms_norm(x, self._width, weight, self._eps).to(self.shape.dtype)

    def _attention(
        self, number: int, layer: _Layer, x: Any, cosines: Any, sines: Any, forward: Forward
    ) -> Any:
        import torch

        every = layer.query_key_value(self._normed(x, layer.first_norm))
        every = every.view(len(x), -1, self._dim)
        if layer.query_norm is not None:
            every = self._normed_heads(layer, every)
        turned = every.roll(self._dim // 2, -1)
        every = torch.addcmul(every * cosines, turned, sines)
        query, key_value = every[:, : self._heads], every[:, self._heads :]
        out = forward.attend(number, query, key_value, self._scale)
        return x.add_(layer.out(out.reshape(len(x), -1)))

    def _feed_forward(self, layer: _Layer, x: Any) -> Any:
        import torch.nn.functional as functional

        gate, up = layer.gate_up(self._normed(x, layer.second_norm)).chunk(2, -1)
        return x.add_(layer.down(functional.silu(gate) * up))

    def _normed_heads(self, layer: _Layer, every: Any) -> Any:
        import torch
        import torch.nn.functional as functional

        ends = [self._heads, self._kv_heads, self._kv_heads]
        query, key, value = every.split(ends, dim=1)
        query = functional.rms_norm(query, (self._dim,), layer.query_norm, self._eps)
        key = functional.rms_norm(key, (self._dim,), layer.key_norm, self._eps)
        return torch.cat([query, key, value], dim=1)

    def _rotation(self, x: Any, positions: Any) -> tuple[Any, Any]:
        """Cosines and signed sines [tokens, heads + 2 x kv heads, dim]; values are not turned.

        The first half of the sines is negative: turning by half the width and multiplying by them
        is what "rotate half" does.
        """
        cosine, sine = self._rotary(x, positions[None])
        every = (len(x), self._heads + 2 * self._kv_heads, self._dim)
        cosines, sines = x.new_ones(every), x.new_zeros(every)
        turned = self._heads + self._kv_heads
        cosines[:, :turned] = cosine[0, :, None]
        sines[:, :turned] = sine[0, :, None]
        sines[..., : self._dim // 2].neg_()
        return cosines, sines

    def _take(self, layer: Any) -> _Layer:
        """The weights of a library layer, which has none after that."""
        attention, mlp = layer.self_attn, layer.mlp
        taken = _Layer(
            first_norm=layer.input_layernorm.weight.float(),
            query_key_value=self._joined(attention.q_proj, attention.k_proj, attention.v_proj),
            query_norm=getattr(getattr(attention, "q_norm", None), "weight", None),
            key_norm=getattr(getattr(attention, "k_norm", None), "weight", None),
            out=self._joined(attention.o_proj),
            second_norm=layer.post_attention_layernorm.weight.float(),
            gate_up=self._joined(mlp.gate_proj, mlp.up_proj),
            down=self._joined(mlp.down_proj),
        )
        layer.to("meta")
        return taken

    def _count_bytes(self) -> int:
        tables = [self._embedding, self._norm]
        tables += [norm for layer in self._layers for norm in (layer.first_norm, layer.second_norm)]
        products = [self._head]
        for layer in self._layers:
            products += [layer.query_key_value, layer.out, layer.gate_up, layer.down]
        held = sum(int(table.numel() * table.element_size()) for table in tables)
        return held + sum(product.size_bytes for product in products)

    def _joined(self, *linears: Any) -> Projection:
        """Several products of the same input as one."""
        import torch

        weight = torch.cat([linear.weight for linear in linears]).detach()
        biases = [linear.bias for linear in linears]
        bias = None if biases[0] is None else torch.cat(biases).detach()
        if self._quantized:
            return create_int8_projection(weight, bias)
        return create_projection(weight, bias)
