"""Whisper's encoder and decoder with fewer and larger operations than the library's.

Query, key and value products are one, weights are packed, and the residual is float32. The encoder
takes one window after the other on CPUs: one fills them, and it stays in their caches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from onebox.audio.transcription.whisper.attention import attend_few, attend_many
from onebox.audio.transcription.whisper.memory import WhisperMemory, create_memory
from onebox.language.decoding.projection import Activation, Projection, create_projection

ROWS_ON_GPU = 8

Watch = Callable[[int, Any], None]


@dataclass(frozen=True, slots=True)
class _Norm:
    weight: Any
    bias: Any
    eps: float
    dtype: Any

    def __call__(self, x: Any) -> Any:
        import torch.nn.functional as functional

        shape = self.weight.shape
        return functional.layer_norm(x, shape, self.weight, self.bias, self.eps).to(self.dtype)


@dataclass(frozen=True, slots=True)
class _Layer:
    norm: _Norm
    query_key_value: Projection
    out: Projection
    mlp_norm: _Norm
    up: Projection
    down: Projection

    def products(self) -> list[Projection]:
        return [self.query_key_value, self.out, self.up, self.down]


@dataclass(frozen=True, slots=True)
class _Cross:
    """What a layer of the decoder has besides: attention to what the encoder heard."""

    norm: _Norm
    query: Projection
    key_value: Projection
    out: Projection

    def products(self) -> list[Projection]:
        return [self.query, self.key_value, self.out]


class WhisperNet:
    """Takes the weights out of a library model, which has none after that.

    Attributes:
        size_bytes: of all weights as they are kept.
        frames: of the encoder's output.
    """

    def __init__(self, model: Any) -> None:
        config = model.config
        self.layers: int = config.decoder_layers
        self.frames: int = config.max_source_positions
        self.heads: int = config.decoder_attention_heads
        self._encoder_heads: int = config.encoder_attention_heads
        self._width: int = config.d_model
        self._activation = _activation(config.activation_function)
        self._fused: Activation = "gelu" if config.activation_function == "gelu" else "none"
        encoder, decoder = model.model.encoder, model.model.decoder
        self._embedding = decoder.embed_tokens.weight.detach()
        self.dtype, self.device = self._embedding.dtype, self._embedding.device
        self._positions = decoder.embed_positions.weight.detach().float()
        self._frames_at = encoder.embed_positions.weight.detach().float()
        self._convolutions = (encoder.conv1, encoder.conv2)
        self._scale = self._width**0.5 if config.scale_embedding else 1.0
        self._head = create_projection(model.proj_out.weight.detach())
        self._encoder_norm = self._norm(encoder.layer_norm)
        self._decoder_norm = self._norm(decoder.layer_norm)
        self._crosses = [self._take_cross(layer) for layer in decoder.layers]
        self._encoder_layers = [self._take(layer) for layer in encoder.layers]
        self._decoder_layers = [self._take(layer) for layer in decoder.layers]
        self.size_bytes = self._count_bytes()

    def memory(self, slots: int, most: int) -> WhisperMemory:
        """For so many windows of at most so many tokens."""
        dim = self._width // self.heads
        return create_memory(
            self.layers, self.heads, dim, self.frames, slots, most, self._embedding
        )

    def hear(self, features: Any, memory: WhisperMemory, pause: Callable[[], None]) -> None:
        """Fill the first slots with what lies in log-mel spectra [slots, mels, frames].

        `pause` is called between layers.
        """
        at_once = 1 if self.device.type == "cpu" else ROWS_ON_GPU
        for first in range(0, len(features), at_once):
            some = slice(first, first + at_once)
            self._remember(self._encode(features[some], pause), memory.heard[:, :, some])

    def write(
        self, memory: WhisperMemory, ids: Any, starts: list[int], watch: Watch | None = None
    ) -> Any:
        """The hidden states [slots, tokens, width] that the next tokens are told from.

        Args:
            ids: [slots, tokens], that follow in each slot after as many as `starts` says. More
                than a slot's own may be given: its later tokens overwrite them.
            watch: called with each layer's number and its attention to the frames
                [slots, heads, tokens, frames].
        """
        import torch
        import torch.nn.functional as functional

        rows, count = ids.shape
        length = max(starts) + count
        first = torch.tensor(starts, device=self.device)[:, None]
        places = (first + torch.arange(count, device=self.device)).clamp_(max=length - 1)
        memory.reserve(length)
        mask = None
        if count > 1 or min(starts) != max(starts):
            hidden = torch.arange(length, device=self.device) > places[..., None]
            mask = torch.zeros(hidden.shape, device=self.device).masked_fill_(hidden, -torch.inf)
        x = functional.embedding(ids, self._embedding).float().mul_(self._scale)
        x = x.add_(self._positions[places]).view(rows * count, -1)
        held, heard = memory.written[:, :, :rows], memory.heard[:, :, :rows]
        slots = torch.arange(rows, device=self.device)[:, None]
        for number, (layer, cross) in enumerate(
            zip(self._decoder_layers, self._crosses, strict=True)
        ):
            every = layer.query_key_value(layer.norm(x)).view(rows, count, 3, self.heads, -1)
            query, key, value = every.unbind(2)
            held[number, 0][slots, :, places] = key
            held[number, 1][slots, :, places] = value
            own = held[number, :, :, :, :length]
            x.add_(layer.out(attend_few(query, own[0], own[1], mask)))
            watching = None if watch is None else partial(watch, number)
            query = cross.query(cross.norm(x)).view(rows, count, self.heads, -1)
            x.add_(cross.out(attend_few(query, heard[number, 0], heard[number, 1], watch=watching)))
            x.add_(self._fed(layer, x))
        return self._decoder_norm(x).view(rows, count, -1)

    def scores(self, hidden: Any) -> Any:
        """float32 [rows, vocabulary] of hidden states [rows, width]."""
        return self._head(hidden).float()

    def _encode(self, features: Any, pause: Callable[[], None]) -> Any:
        """[rows, mels, frames] → [rows * frames / 2, width]."""
        first, second = self._convolutions
        x = self._activation(first(features.to(self.dtype)))
        x = self._activation(second(x)).transpose(1, 2).float()
        rows, frames = x.shape[:2]
        x = x.add_(self._frames_at).view(rows * frames, -1)
        for layer in self._encoder_layers:
            pause()
            every = layer.query_key_value(layer.norm(x))
            every = every.view(rows, frames, 3, self._encoder_heads, -1)
            x.add_(layer.out(attend_many(*every.unbind(2)).view(rows * frames, -1)))
            x.add_(self._fed(layer, x))
        return self._encoder_norm(x)

    def _remember(self, encoded: Any, heard: Any) -> None:
        for number, cross in enumerate(self._crosses):
            both = cross.key_value(encoded).view(-1, self.frames, 2, self.heads, heard.shape[5])
            heard[number] = both.permute(2, 0, 3, 1, 4)

    def _fed(self, layer: _Layer, x: Any) -> Any:
        wide = layer.up(layer.mlp_norm(x))
        return layer.down(wide if self._fused == "gelu" else self._activation(wide))

    def _take(self, layer: Any) -> _Layer:
        own = layer.self_attn
        taken = _Layer(
            norm=self._norm(layer.self_attn_layer_norm),
            query_key_value=_joined(_scaled(own), _parts(own.k_proj), _parts(own.v_proj)),
            out=_joined(_parts(own.out_proj)),
            mlp_norm=self._norm(layer.final_layer_norm),
            up=_joined(_parts(layer.fc1), activation=self._fused),
            down=_joined(_parts(layer.fc2)),
        )
        layer.to("meta")
        return taken

    def _take_cross(self, layer: Any) -> _Cross:
        other = layer.encoder_attn
        return _Cross(
            norm=self._norm(layer.encoder_attn_layer_norm),
            query=_joined(_scaled(other)),
            key_value=_joined(_parts(other.k_proj), _parts(other.v_proj)),
            out=_joined(_parts(other.out_proj)),
        )

    def _norm(self, norm: Any) -> _Norm:
        return _Norm(norm.weight.detach().float(), norm.bias.detach().float(), norm.eps, self.dtype)

    def _count_bytes(self) -> int:
        tables = [self._embedding, self._positions, self._frames_at]
        tables += [value for layer in self._convolutions for value in layer.parameters()]
        products: list[Projection] = [self._head]
        for layer in (*self._encoder_layers, *self._decoder_layers):
            products += layer.products()
        for cross in self._crosses:
            products += cross.products()
        held = sum(int(table.numel() * table.element_size()) for table in tables)
        return held + sum(product.size_bytes for product in products)


def _activation(name: str) -> Callable[[Any], Any]:
    from transformers.activations import ACT2FN

    found: Callable[[Any], Any] = ACT2FN[name]
    return found


def _parts(linear: Any) -> tuple[Any, Any]:
    return linear.weight.detach(), None if linear.bias is None else linear.bias.detach()


def _scaled(attention: Any) -> tuple[Any, Any]:
    """The query product with the scale of the scores in it: a power of two in every Whisper."""
    weight, bias = _parts(attention.q_proj)
    return weight * attention.scaling, bias * attention.scaling


def _joined(*parts: tuple[Any, Any], activation: Activation = "none") -> Projection:
    """Products of the same input as one. Those of keys have no bias."""
    import torch

    weight = torch.cat([weight for weight, _ in parts])
    if all(bias is None for _, bias in parts):
        return create_projection(weight, activation=activation)
    biases = [weight.new_zeros(len(weight)) if bias is None else bias for weight, bias in parts]
    return create_projection(weight, torch.cat(biases), activation)
