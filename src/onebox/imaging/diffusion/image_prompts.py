"""Pictures as prompts: an IP-Adapter set into a denoiser for one run, and taken out after it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onebox.core.contracts import Device, Entry, RunContext
from onebox.core.errors import InvalidInput
from onebox.imaging.diffusion.companion_files import owned, reading
from onebox.imaging.diffusion.recipe import Picture, Recipe

ADAPTER_SLOT = "ip_adapter"
ENCODER_SLOT = "image_encoder"
# Among what a bundle keeps: the attention of its denoiser as it was loaded.
KEPT = "attention"
# An adapter's facts hold one of these, an encoder's both.
ENCODER_FACTS = ("projection_dim", "hidden_size")
# What CLIP's image encoders were trained with: red, green and blue of values from 0 to 1.
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)


@contextlib.contextmanager
def image_prompted(
    bundle: Any, pictures: Sequence[Picture], recipe: Recipe, context: RunContext
) -> Iterator[dict[str, Any]]:
    """Inside the block the denoiser also follows the first reference of the pictures, which must be
    the same for all of them; gives further arguments of the pipeline's calls.

    Does nothing for a recipe without an image prompt. Raises InvalidInput for an adapter that does
    not fit the denoiser, and for an encoder that does not fit the adapter.
    """
    with _as_loaded(bundle):
        if recipe.image_prompt is None:
            yield {}
            return
        adapter = context.companions[ADAPTER_SLOT]
        unet = bundle.pipeline.unet
        bundle.kept.setdefault(KEPT, _attention(unet))
        like = _like(unet, context.device)
        away, leading = _embedded(pictures[0].references[0], adapter, like, context)
        # Guided, a pipeline takes what to lead away from and what to lead to, one behind the other.
        guided = recipe.guidance_scale > 1 and unet.config.time_cond_proj_dim is None
        with _exchanged(unet, _with_adapter(unet, adapter, recipe.image_prompt, like)):
            yield {"ip_adapter_image_embeds": [_joined(away, leading) if guided else leading]}


def _like(unet: Any, device: Device) -> Any:
    """An empty tensor where the denoiser works, which its weights may not lie, in its dtype."""
    import torch

    return torch.empty(0, dtype=unet.dtype, device=device.torch_device)


@dataclass(frozen=True, slots=True)
class _Attention:
    """How a denoiser looks at its prompt: nothing of its weights."""

    processors: Mapping[str, Any]
    projection: Any
    projection_kind: str | None


@contextlib.contextmanager
def _as_loaded(bundle: Any) -> Iterator[None]:
    """Without the adapter of a run that this one may be nested in."""
    plain = bundle.kept.get(KEPT)
    with contextlib.nullcontext() if plain is None else _exchanged(bundle.pipeline.unet, plain):
        yield


@contextlib.contextmanager
def _exchanged(unet: Any, attention: _Attention) -> Iterator[None]:
    before = _attention(unet)
    try:
        _set(unet, attention)
        yield
    finally:
        _set(unet, before)


def _attention(unet: Any) -> _Attention:
    projection = unet.encoder_hid_proj
    # Its own attention would count among the denoiser's.
    unet.encoder_hid_proj = None
    processors = dict(unet.attn_processors)
    unet.encoder_hid_proj = projection
    return _Attention(processors, projection, unet.config.encoder_hid_dim_type)


def _set(unet: Any, attention: _Attention) -> None:
    unet.encoder_hid_proj = None
    unet.set_attn_processor(dict(attention.processors))
    unet.encoder_hid_proj = attention.projection
    unet.config.encoder_hid_dim_type = attention.projection_kind


def _with_adapter(unet: Any, adapter: Entry, scale: float, like: Any) -> _Attention:
    weights = _weights(adapter)
    processors = _processors(unet, adapter, weights["ip_adapter"], scale, like)
    project = _projection(unet, weights["image_proj"], like)
    return _Attention({**unet.attn_processors, **processors}, project, "ip_image_proj")


def _weights(adapter: Entry) -> dict[str, dict[str, Any]]:
    """The adapter's tensors by its two parts."""
    from safetensors.torch import load_file

    parts: dict[str, dict[str, Any]] = {"image_proj": {}, "ip_adapter": {}}
    with reading(adapter, ADAPTER_SLOT):
        for key, tensor in load_file(adapter.path).items():
            part, _, name = key.partition(".")
            parts[part][name] = owned(tensor)
    return parts


def _processors(
    unet: Any, adapter: Entry, weights: Mapping[str, Any], scale: float, like: Any
) -> dict[str, Any]:
    """For each layer that looks at the prompt one that also looks at the picture, by its name.

    Raises InvalidInput when the adapter's layers are not the denoiser's.
    """
    from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0

    names = [name for name in unet.attn_processors if name.endswith("attn2.processor")]
    found = {}
    for number, name in enumerate(names):
        attention = unet.get_submodule(name.removesuffix(".processor"))
        shape = attention.inner_kv_dim, attention.cross_attention_dim
        # In the files only layers of this kind have odd numbers.
        pair = [weights.get(f"{2 * number + 1}.{part}.weight") for part in ("to_k_ip", "to_v_ip")]
        if any(weight is None or tuple(weight.shape) != shape for weight in pair):
            raise _misfit(adapter, len(names))
        processor: Any = IPAdapterAttnProcessor2_0(*shape, scale=scale)
        for layers, weight in zip((processor.to_k_ip, processor.to_v_ip), pair, strict=True):
            layers[0].weight.data = weight
        found[name] = processor.to(like.device, like.dtype)
    if len(names) != adapter.facts["layers"]:
        raise _misfit(adapter, len(names))
    return found


def _projection(unet: Any, weights: Mapping[str, Any], like: Any) -> Any:
    """What makes words for the denoiser of what the image encoder makes."""
    from diffusers.models.embeddings import MultiIPAdapterImageProjection

    # Not on the meta device first: that changes torch's modules for all threads.
    made = unet._convert_ip_adapter_image_proj_to_diffusers(weights, low_cpu_mem_usage=False)
    return MultiIPAdapterImageProjection([made]).to(like.device, like.dtype)


def _misfit(adapter: Entry, layers: int) -> InvalidInput:
    return InvalidInput(
        f"{adapter.name} has {adapter.facts['layers']} layers that do not fit the model's "
        f"{layers}; name an IP-Adapter that was made for it",
        param=ADAPTER_SLOT,
        details={"layers": adapter.facts["layers"], "model_layers": layers},
    )


def _embedded(reference: Any, adapter: Entry, like: Any, context: RunContext) -> tuple[Any, Any]:
    """What the image encoder makes of nothing and of the reference: [1, 1, ...] each.

    The encoder is needed once, and is gone before drawing begins.
    """
    import torch
    from transformers import CLIPVisionModelWithProjection

    context.check()
    entry = context.companions[ENCODER_SLOT]
    _require_encoder(adapter, entry)
    encoder: Any = CLIPVisionModelWithProjection.from_pretrained(
        entry.path, dtype=like.dtype, use_safetensors=True, local_files_only=True
    )
    encoder.to(like.device)
    pixels = _pixels(reference, encoder.config.image_size).to(like.device, like.dtype)
    with torch.inference_mode():
        if "hidden_size" not in adapter.facts:
            leading = encoder(pixels).image_embeds
            return torch.zeros_like(leading)[None], leading[None]
        # Led away from what it makes of a black picture.
        both = encoder(torch.cat([torch.zeros_like(pixels), pixels]), output_hidden_states=True)
        away, leading = both.hidden_states[-2].chunk(2)
        return away[None], leading[None]


def _joined(away: Any, leading: Any) -> Any:
    import torch

    return torch.cat([away, leading])


def _require_encoder(adapter: Entry, encoder: Entry) -> None:
    """Raises InvalidInput for an encoder that makes something else than the adapter takes."""
    for fact in ENCODER_FACTS:
        wanted, made = adapter.facts.get(fact, encoder.facts[fact]), encoder.facts[fact]
        if wanted != made:
            raise InvalidInput(
                f"{encoder.name} has a {fact} of {made}, and {adapter.name} needs {wanted}; name "
                "the image encoder that was made for it",
                param=ENCODER_SLOT,
                details={fact: made, "wanted": wanted},
            )


def _pixels(picture: Any, side: int) -> Any:
    """Tensor [1, 3, side, side]: the whole picture on white, as the encoder wants it."""
    import numpy as np
    import torch
    from PIL import Image, ImageOps

    square = ImageOps.pad(picture, (side, side), Image.Resampling.BICUBIC, "white")
    values = np.asarray(square, dtype=np.float32) / 255
    return torch.from_numpy((values - MEAN) / DEVIATION).permute(2, 0, 1)[None].float()
