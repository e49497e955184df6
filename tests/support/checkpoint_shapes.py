"""Names and shapes by which the tests know image checkpoints of one file."""

from __future__ import annotations

from collections.abc import Mapping

Shapes = Mapping[str, tuple[int, ...]]

UNET = {
    "input_blocks.0.0.weight": (320, 4, 3, 3),
    "input_blocks.1.0.in_layers.2.weight": (320, 320, 3, 3),
    "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
    "middle_block.0.in_layers.0.weight": (1280,),
    "output_blocks.0.0.in_layers.0.weight": (2560,),
    "time_embed.0.weight": (1280, 320),
    "out.2.weight": (4, 320, 3, 3),
}
SD3 = {
    "joint_blocks.0.context_block.adaLN_modulation.1.weight": (9216, 1536),
    "joint_blocks.0.x_block.attn.qkv.weight": (4608, 1536),
    "final_layer.linear.weight": (64, 1536),
    "context_embedder.weight": (1536, 4096),
    "x_embedder.proj.weight": (1536, 16, 2, 2),
    "pos_embed": (1, 36864, 1536),
}
FLUX = {
    "double_blocks.0.img_attn.norm.key_norm.scale": (128,),
    "double_blocks.0.img_attn.qkv.weight": (9216, 3072),
    "single_blocks.0.linear1.weight": (21504, 3072),
    "final_layer.linear.weight": (64, 3072),
    "vector_in.in_layer.weight": (3072, 768),
    "img_in.weight": (3072, 64),
    "txt_in.weight": (3072, 4096),
}
DIFFUSION = "model.diffusion_model."
VAE = {"first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3)}
CLIP_L = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
OPEN_CLIP = "cond_stage_model.model.token_embedding.weight"
XL_L = "conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight"
XL_G = "conditioner.embedders.1.model.token_embedding.weight"
REFINER_G = "conditioner.embedders.0.model.token_embedding.weight"


def whole(denoiser: Shapes, *texts: str, **changed: tuple[int, ...]) -> Shapes:
    own = {DIFFUSION + name: changed.get(name, shape) for name, shape in denoiser.items()}
    return {**own, **VAE, **dict.fromkeys(texts, (49408, 768))}


def with_channels(denoiser: Shapes, name: str, channels: int) -> Shapes:
    shape = denoiser[name]
    return {**denoiser, name: (shape[0], channels, *shape[2:])}
