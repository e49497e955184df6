"""Transformers of SD3 and FLUX with the names of their first authors."""

from __future__ import annotations

from typing import Any

Tensors = dict[str, Any]

SD3_OUTSIDE = {
    "pos_embed.pos_embed": "pos_embed",
    "pos_embed.proj": "x_embedder.proj",
    "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
    "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
    "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0",
    "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
    "context_embedder": "context_embedder",
    "proj_out": "final_layer.linear",
    "norm_out.linear": "final_layer.adaLN_modulation.1",
}
SD3_INSIDE = {
    "norm1.linear": "x_block.adaLN_modulation.1",
    "norm1_context.linear": "context_block.adaLN_modulation.1",
    "attn.to_out.0": "x_block.attn.proj",
    "attn.to_add_out": "context_block.attn.proj",
    "attn.norm_q": "x_block.attn.ln_q",
    "attn.norm_k": "x_block.attn.ln_k",
    "attn.norm_added_q": "context_block.attn.ln_q",
    "attn.norm_added_k": "context_block.attn.ln_k",
    "attn2.to_out.0": "x_block.attn2.proj",
    "attn2.norm_q": "x_block.attn2.ln_q",
    "attn2.norm_k": "x_block.attn2.ln_k",
    "ff.net.0.proj": "x_block.mlp.fc1",
    "ff.net.2": "x_block.mlp.fc2",
    "ff_context.net.0.proj": "context_block.mlp.fc1",
    "ff_context.net.2": "context_block.mlp.fc2",
}
SD3_FUSED = {
    "attn.to_q": ("x_block.attn.qkv", 0),
    "attn.to_k": ("x_block.attn.qkv", 1),
    "attn.to_v": ("x_block.attn.qkv", 2),
    "attn.add_q_proj": ("context_block.attn.qkv", 0),
    "attn.add_k_proj": ("context_block.attn.qkv", 1),
    "attn.add_v_proj": ("context_block.attn.qkv", 2),
    "attn2.to_q": ("x_block.attn2.qkv", 0),
    "attn2.to_k": ("x_block.attn2.qkv", 1),
    "attn2.to_v": ("x_block.attn2.qkv", 2),
}
FLUX_OUTSIDE = {
    "x_embedder": "img_in",
    "context_embedder": "txt_in",
    "time_text_embed.timestep_embedder.linear_1": "time_in.in_layer",
    "time_text_embed.timestep_embedder.linear_2": "time_in.out_layer",
    "time_text_embed.text_embedder.linear_1": "vector_in.in_layer",
    "time_text_embed.text_embedder.linear_2": "vector_in.out_layer",
    "time_text_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
    "time_text_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
    "proj_out": "final_layer.linear",
    "norm_out.linear": "final_layer.adaLN_modulation.1",
}
FLUX_DOUBLE = {
    "norm1.linear": "img_mod.lin",
    "norm1_context.linear": "txt_mod.lin",
    "attn.to_out.0": "img_attn.proj",
    "attn.to_add_out": "txt_attn.proj",
    "ff.net.0.proj": "img_mlp.0",
    "ff.net.2": "img_mlp.2",
    "ff_context.net.0.proj": "txt_mlp.0",
    "ff_context.net.2": "txt_mlp.2",
    "attn.norm_q": "img_attn.norm.query_norm",
    "attn.norm_k": "img_attn.norm.key_norm",
    "attn.norm_added_q": "txt_attn.norm.query_norm",
    "attn.norm_added_k": "txt_attn.norm.key_norm",
}
FLUX_DOUBLE_FUSED = {
    "attn.to_q": ("img_attn.qkv", 0),
    "attn.to_k": ("img_attn.qkv", 1),
    "attn.to_v": ("img_attn.qkv", 2),
    "attn.add_q_proj": ("txt_attn.qkv", 0),
    "attn.add_k_proj": ("txt_attn.qkv", 1),
    "attn.add_v_proj": ("txt_attn.qkv", 2),
}
FLUX_SINGLE = {
    "norm.linear": "modulation.lin",
    "proj_out": "linear2",
    "attn.norm_q": "norm.query_norm",
    "attn.norm_k": "norm.key_norm",
}
FLUX_SINGLE_FUSED = {
    "attn.to_q": ("linear1", 0),
    "attn.to_k": ("linear1", 1),
    "attn.to_v": ("linear1", 2),
    "proj_mlp": ("linear1", 3),
}


def sd3(weights: Tensors, config: dict[str, Any]) -> Tensors:
    """The last block's context is only scaled and shifted, in the other order there."""
    last = f"joint_blocks.{config['num_layers'] - 1}.context_block.adaLN_modulation.1."
    written = _written(
        weights, SD3_OUTSIDE, {"transformer_blocks": ("joint_blocks", SD3_INSIDE, SD3_FUSED)}
    )
    return {
        name: _swapped(value) if name.startswith((last, "final_layer.adaLN")) else value
        for name, value in written.items()
    }


def flux(weights: Tensors, config: dict[str, Any]) -> Tensors:
    blocks = {
        "transformer_blocks": ("double_blocks", FLUX_DOUBLE, FLUX_DOUBLE_FUSED),
        "single_transformer_blocks": ("single_blocks", FLUX_SINGLE, FLUX_SINGLE_FUSED),
    }
    written = _written(weights, FLUX_OUTSIDE, blocks)
    return {
        name.replace("_norm.weight", "_norm.scale"): _swapped(value)
        if name.startswith("final_layer.adaLN")
        else value
        for name, value in written.items()
    }


def _written(weights: Tensors, outside: dict[str, str], blocks: dict[str, Any]) -> Tensors:
    import torch

    found: Tensors = {}
    fused: dict[str, dict[int, Any]] = {}
    for name, value in weights.items():
        words = name.split(".")
        if words[0] not in blocks:
            stem, _, kind = name.rpartition(".")
            found[outside[name] if name in outside else f"{outside[stem]}.{kind}"] = value
            continue
        theirs, inside, together = blocks[words[0]]
        stem, kind = ".".join(words[2:-1]), words[-1]
        if stem in together:
            matrix, place = together[stem]
            fused.setdefault(f"{theirs}.{words[1]}.{matrix}.{kind}", {})[place] = value
        else:
            found[f"{theirs}.{words[1]}.{inside[stem]}.{kind}"] = value
    for name, parts in fused.items():
        found[name] = torch.cat([parts[place] for place in sorted(parts)])
    return found


def _swapped(value: Any) -> Any:
    import torch

    one, other = value.chunk(2, dim=0)
    return torch.cat([other, one], dim=0)
