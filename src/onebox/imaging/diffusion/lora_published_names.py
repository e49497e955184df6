"""What layers of FLUX and Stable Diffusion 3 are called in the layout they were published in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple


class Alias(NamedTuple):
    """Another name of a module, or of several that were one layer there.

    `swapped`: the two halves of the layer's outputs are the module's the other way round.
    """

    modules: tuple[str, ...]
    name: str
    swapped: bool = False

    def below(self, block: str, published: str) -> Alias:
        modules = tuple(block + module for module in self.modules)
        return Alias(modules, published + self.name, self.swapped)


_FLUX_DOUBLE = (
    Alias(("attn.to_q", "attn.to_k", "attn.to_v"), "img_attn.qkv"),
    Alias(("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"), "txt_attn.qkv"),
    Alias(("attn.to_out.0",), "img_attn.proj"),
    Alias(("attn.to_add_out",), "txt_attn.proj"),
    Alias(("ff.net.0.proj",), "img_mlp.0"),
    Alias(("ff.net.2",), "img_mlp.2"),
    Alias(("ff_context.net.0.proj",), "txt_mlp.0"),
    Alias(("ff_context.net.2",), "txt_mlp.2"),
    Alias(("norm1.linear",), "img_mod.lin"),
    Alias(("norm1_context.linear",), "txt_mod.lin"),
)
_FLUX_SINGLE = (
    Alias(("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"), "linear1"),
    # Its first rows alone, as XLabs trains them.
    Alias(("attn.to_q", "attn.to_k", "attn.to_v"), "linear1_qkv"),
    Alias(("proj_out",), "linear2"),
    Alias(("norm.linear",), "modulation.lin"),
)
_FLUX_OUTER = (
    Alias(("x_embedder",), "img_in"),
    Alias(("context_embedder",), "txt_in"),
    Alias(("proj_out",), "final_layer.linear"),
    # Shift before scale there, scale before shift here.
    Alias(("norm_out.linear",), "final_layer.adaLN_modulation.1", swapped=True),
    Alias(("time_text_embed.timestep_embedder.linear_1",), "time_in.in_layer"),
    Alias(("time_text_embed.timestep_embedder.linear_2",), "time_in.out_layer"),
    Alias(("time_text_embed.text_embedder.linear_1",), "vector_in.in_layer"),
    Alias(("time_text_embed.text_embedder.linear_2",), "vector_in.out_layer"),
    Alias(("time_text_embed.guidance_embedder.linear_1",), "guidance_in.in_layer"),
    Alias(("time_text_embed.guidance_embedder.linear_2",), "guidance_in.out_layer"),
)
_SD3_JOINT = (
    Alias(("attn.to_q", "attn.to_k", "attn.to_v"), "x_block.attn.qkv"),
    Alias(("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"), "context_block.attn.qkv"),
    Alias(("attn2.to_q", "attn2.to_k", "attn2.to_v"), "x_block.attn2.qkv"),
    Alias(("attn.to_out.0",), "x_block.attn.proj"),
    Alias(("attn.to_add_out",), "context_block.attn.proj"),
    Alias(("attn2.to_out.0",), "x_block.attn2.proj"),
    Alias(("ff.net.0.proj",), "x_block.mlp.fc1"),
    Alias(("ff.net.2",), "x_block.mlp.fc2"),
    Alias(("ff_context.net.0.proj",), "context_block.mlp.fc1"),
    Alias(("ff_context.net.2",), "context_block.mlp.fc2"),
    Alias(("norm1.linear",), "x_block.adaLN_modulation.1"),
)
_SD3_TEXT_NORM = Alias(("norm1_context.linear",), "context_block.adaLN_modulation.1")
# The last block makes nothing more of the text than keys and values, and has a plainer norm for it.
_SD3_LAST_TEXT_NORM = Alias(
    ("norm1_context.linear",), "context_block.adaLN_modulation.1", swapped=True
)
_SD3_OUTER = (
    Alias(("pos_embed.proj",), "x_embedder.proj"),
    Alias(("proj_out",), "final_layer.linear"),
    Alias(("norm_out.linear",), "final_layer.adaLN_modulation.1", swapped=True),
    Alias(("time_text_embed.timestep_embedder.linear_1",), "t_embedder.mlp.0"),
    Alias(("time_text_embed.timestep_embedder.linear_2",), "t_embedder.mlp.2"),
    Alias(("time_text_embed.text_embedder.linear_1",), "y_embedder.mlp.0"),
    Alias(("time_text_embed.text_embedder.linear_2",), "y_embedder.mlp.2"),
)


def published_names(sizes: Mapping[str, int]) -> Iterator[Alias]:
    """Of a transformer by the names of its layers; a name that it has no modules for is left out.

    Args:
        sizes: name → number of outputs.
    """
    for alias in _all(sizes):
        if all(module in sizes for module in alias.modules):
            yield alias


def _all(sizes: Mapping[str, int]) -> Iterator[Alias]:
    yield from (*_FLUX_OUTER, *_SD3_OUTER)
    for number in _blocks(sizes, "transformer_blocks"):
        block = f"transformer_blocks.{number}."
        for alias in _FLUX_DOUBLE:
            yield alias.below(block, f"double_blocks.{number}.")
        is_last = f"{block}ff_context.net.2" not in sizes
        norm = _SD3_LAST_TEXT_NORM if is_last else _SD3_TEXT_NORM
        for alias in (*_SD3_JOINT, norm):
            yield alias.below(block, f"joint_blocks.{number}.")
    for number in _blocks(sizes, "single_transformer_blocks"):
        for alias in _FLUX_SINGLE:
            yield alias.below(f"single_transformer_blocks.{number}.", f"single_blocks.{number}.")


def _blocks(sizes: Mapping[str, int], kind: str) -> list[str]:
    return sorted({name.split(".")[1] for name in sizes if name.startswith(f"{kind}.")})
