"""Makes the parts of `onebox-shapes-motion` out of those of `onebox-shapes`."""

from collections.abc import Sequence

from diffusers import (
    AnimateDiffPipeline,
    AutoencoderKL,
    MotionAdapter,
    UNet2DConditionModel,
    UNetMotionModel,
)
from diffusers.models.embeddings import SinusoidalPositionalEmbedding
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from onebox.starter.motion_data import MAX_FRAMES
from onebox.starter.shapes_model import create_scheduler, create_text_encoder, create_tokenizer

# A new word begins as the known word that stands beside it.
LIKENESSES = {"up": "top", "down": "bottom"}
SHARPNESS = 1.4


def grow_text_encoder(
    encoder: CLIPTextModel, tokenizer: CLIPTokenizer, words: Sequence[str]
) -> tuple[CLIPTextModel, CLIPTokenizer]:
    """The encoder and a tokenizer in which each of `words` is one token.

    Known tokens keep what they mean; their numbers change.
    """
    more = create_tokenizer(words)
    grown = create_text_encoder(more)
    state, fresh = encoder.state_dict(), grown.state_dict()
    name = next(key for key in state if key.endswith("token_embedding.weight"))
    known, table = tokenizer.get_vocab(), fresh[name]
    for piece, number in more.get_vocab().items():
        if piece in known:
            table[number] = state[name][known[piece]]
    for word, like in LIKENESSES.items():
        table[_number(more, word)] = state[name][_number(tokenizer, like)]
    grown.load_state_dict({**state, name: table})
    return grown, more


def _number(tokenizer: CLIPTokenizer, word: str) -> int:
    return int(tokenizer.get_vocab()[word + "</w>"])


def create_motion_unet(unet: UNet2DConditionModel) -> UNetMotionModel:
    """The picture UNet with attention over the frames at 8x8, where it also sees the text.

    It begins as the picture UNet: what the new layers add is zero at first.
    """
    adapter = MotionAdapter(
        block_out_channels=tuple(unet.config["block_out_channels"]),
        motion_layers_per_block=unet.config["layers_per_block"],
        motion_transformer_layers_per_block=(0, 0, 1),
        motion_num_attention_heads=4,
        motion_norm_num_groups=unet.config["norm_num_groups"],
        motion_max_seq_length=MAX_FRAMES,
    )
    motion = UNetMotionModel.from_unet2d(unet, adapter)
    for module in motion.modules():
        if isinstance(module, AnimateDiffTransformer3D):
            nn.init.zeros_(module.proj_out.weight)
            nn.init.zeros_(module.proj_out.bias)
            for block in module.transformer_blocks:
                tell_frames_apart(block.attn1)
                tell_frames_apart(block.attn2)
    return motion


def tell_frames_apart(attention: nn.Module) -> None:
    """Makes each frame look at itself and its neighbours at first.

    With random weights every frame looks at all alike, and so learns nothing of its own
    number, which reaches it through what it looks at alone; several hundred steps pass first.
    """
    for part in (attention.to_q, attention.to_k):
        assert isinstance(part, nn.Linear)
        nn.init.eye_(part.weight)
        part.weight.data *= SHARPNESS


def show_frames(unet: UNetMotionModel, frames: Sequence[int]) -> None:
    """Tells the layers over the frames which frames of a clip they are given."""
    for module in unet.modules():
        if isinstance(module, SinusoidalPositionalEmbedding):
            whole = SinusoidalPositionalEmbedding(module.pe.shape[-1], MAX_FRAMES).pe
            module.pe = whole[:, list(frames)]


def motion_parts(unet: UNetMotionModel) -> tuple[nn.ParameterList, nn.ParameterList]:
    """(the layers over the frames, all the others), to be trained at rates of their own."""
    named = list(unet.named_parameters())
    new = nn.ParameterList([p for name, p in named if "motion_modules" in name])
    return new, nn.ParameterList([p for name, p in named if "motion_modules" not in name])


def create_motion_pipeline(
    vae: AutoencoderKL, text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer, unet: UNetMotionModel
) -> AnimateDiffPipeline:
    """A pipeline without a separate adapter: the UNet has its layers over the frames inside."""
    return AnimateDiffPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        motion_adapter=None,
        scheduler=create_scheduler(),
    )
