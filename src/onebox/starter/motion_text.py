"""Teaches the text encoder of `onebox-shapes-motion` what the words for motion mean.

`moving right` becomes what `on the right` is to `onebox-shapes`: its UNet then draws the end of
the path in every frame, and the layers over the frames have something to change. With words that
mean nothing yet, frame and direction would have to be found out together, which they are not.
"""

import random
from collections.abc import Sequence

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from torch.nn import functional
from transformers import CLIPTextModel, CLIPTokenizer

from onebox.starter.motion_data import (
    Clip,
    ending,
    helping_words,
    loose_caption,
    still_scenes,
    training_clips,
)
from onebox.starter.shapes_data import caption
from onebox.starter.shapes_stages import Log, Rate, optimise, tokens

COMPARED = 13  # tokens of a caption without those that say how the shape moves or where it lies


def train_words(
    encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    known: tuple[CLIPTextModel, CLIPTokenizer],
    rate: Rate,
    log: Log,
) -> None:
    """Brings captions of moving shapes near those of the `known` encoder for where they end.

    Captions of shapes that lie still keep what the known encoder makes of them.
    """
    rng = random.Random(13)
    clips, scenes = list(training_clips(4000, seed=14)), list(still_scenes(2000, seed=15))

    def loss_of(part: float) -> Tensor:
        pairs = _pairs(clips, rng, 48)
        still = [caption(scene, rng) for scene in rng.sample(scenes, 16)]
        moving = functional.mse_loss(
            _compared(encoder, tokenizer, [text for text, _ in pairs]),
            _compared(known[0], known[1], [text for _, text in pairs]).detach(),
        )
        told = encoder(tokens(tokenizer, still)).last_hidden_state
        with torch.no_grad():
            wanted = known[0](tokens(known[1], still)).last_hidden_state
        loss: Tensor = moving + functional.mse_loss(told, wanted)
        return loss

    optimise([(encoder, 1.0)], rate, [loss_of], log)


def train_by_pictures(
    encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    known: tuple[CLIPTextModel, CLIPTokenizer],
    unet: UNet2DConditionModel,
    rate: Rate,
    log: Log,
) -> None:
    """The same again, compared by what the picture UNet draws first when it reads both.

    Outputs that are near are not enough: a few of the words left out decide where it draws.
    """
    rng = random.Random(13)
    clips, scenes = list(training_clips(4000, seed=14)), list(still_scenes(2000, seed=15))
    unet.requires_grad_(False)

    def loss_of(part: float) -> Tensor:
        pairs = _pairs(clips, rng, 14)
        pairs += [(text, text) for text in (caption(scene, rng) for scene in rng.sample(scenes, 2))]
        noise, time = torch.randn(len(pairs), 4, 32, 32), torch.randint(900, 1000, (1,))
        with torch.autocast("cpu", torch.bfloat16):
            read = encoder(tokens(tokenizer, [text for text, _ in pairs])).last_hidden_state
            with torch.no_grad():
                ids = tokens(known[1], [text for _, text in pairs])
                wanted = unet(noise, time, known[0](ids).last_hidden_state).sample.float()
            drawn = unet(noise, time, read).sample.float()
        loss: Tensor = functional.mse_loss(drawn, wanted) / wanted.var()
        return loss

    optimise([(encoder, 1.0)], rate, [loss_of], log)


def _pairs(clips: Sequence[Clip], rng: random.Random, count: int) -> list[tuple[str, str]]:
    """Captions of moving shapes, each with that of the place where the path ends."""
    pairs = []
    for clip in rng.sample(clips, count):
        assert clip.direction is not None
        text = loose_caption(clip.combination, clip.direction, rng)
        pairs.append((text, ending(text, clip.direction)))
    return pairs


def _compared(encoder: CLIPTextModel, tokenizer: CLIPTokenizer, texts: Sequence[str]) -> Tensor:
    """(len(texts), COMPARED, width): the outputs but for those of words like `moving` and `on the`.

    The word for the direction or the place itself is compared.
    """
    ids = tokens(tokenizer, texts)
    output = encoder(ids).last_hidden_state
    rows = []
    for text, row in zip(texts, output, strict=True):
        words = text.replace(",", " ,").split()
        left_out = helping_words(words)
        kept = [i for i in range(len(row)) if i - 1 not in left_out]
        rows.append(row[kept[:COMPARED]])
    return torch.stack(rows)
