"""Builds the untrained parts of `onebox-shapes` and puts them together as a pipeline."""

import json
from collections.abc import Sequence

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers import Tokenizer, models, trainers
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from onebox.starter.shapes_data import IMAGE_SIZE

MAX_TOKENS = 16
TEXT_WIDTH = 96
START, END = "<|startoftext|>", "<|endoftext|>"


def create_tokenizer(words: Sequence[str]) -> CLIPTokenizer:
    """A byte-level CLIP tokenizer in which each of the words is one token.

    Any other text is spelled with the pieces of these words and with single bytes.
    """
    alphabet = list(bytes_to_unicode().values())
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trainer = trainers.BpeTrainer(
        vocab_size=4096, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False
    )
    # Twice: the trainer merges no pair that it meets only once.
    learner.train_from_iterator([*words, *words], trainer)
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    pieces = alphabet + [char + "</w>" for char in alphabet] + [a + b for a, b in merges]
    vocab = {piece: i for i, piece in enumerate(dict.fromkeys([*pieces, START, END]))}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=MAX_TOKENS)


def create_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Two layers, hidden size TEXT_WIDTH, output (batch, MAX_TOKENS, TEXT_WIDTH)."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        projection_dim=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def create_vae() -> AutoencoderKL:
    """(batch, 3, 8h, 8w) from -1 to 1 <-> (batch, 4, h, w).

    Without attention, so that what it learns on small crops holds for whole pictures.
    """
    levels = 4
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=(16, 32, 48, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=2,
        sample_size=IMAGE_SIZE,
        mid_block_add_attention=False,
        scaling_factor=1.0,
    )


def create_unet() -> UNet2DConditionModel:
    """Predicts the velocity of (batch, 4, 32, 32) latents; looks at the text at 8x8 only."""
    return UNet2DConditionModel(
        sample_size=IMAGE_SIZE // 8,
        down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        block_out_channels=(32, 64, 128),
        layers_per_block=1,
        attention_head_dim=4,
        cross_attention_dim=TEXT_WIDTH,
        norm_num_groups=4,
    )


def create_scheduler() -> DDIMScheduler:
    """A schedule that ends in pure noise.

    With the usual one a little of the picture is left at the last step; the network then
    reads the background colour there instead of in the caption, and at inference, where
    nothing is left, it paints any background.
    """
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        steps_offset=1,
    )


def create_pipeline(
    vae: AutoencoderKL,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    unet: UNet2DConditionModel,
) -> StableDiffusionPipeline:
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=create_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def normalise_latents(vae: AutoencoderKL, mean: torch.Tensor, deviation: torch.Tensor) -> None:
    """Folds a shift and scale per latent channel (4,) into the VAE's two 1x1 convolutions.

    StableDiffusionPipeline knows one scaling factor for all channels and no shift.
    """
    into, back = vae.quant_conv, vae.post_quant_conv
    assert isinstance(into, nn.Conv2d)
    assert isinstance(back, nn.Conv2d)
    assert into.bias is not None
    assert back.bias is not None
    with torch.no_grad():
        into.bias[:4] = (into.bias[:4] - mean) / deviation
        into.weight[:4] /= deviation[:, None, None, None]
        into.bias[4:] -= 2 * deviation.log()
        back.bias += back.weight[:, :, 0, 0] @ mean
        back.weight *= deviation[None, :, None, None]
