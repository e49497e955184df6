"""Prompts that diffusers cannot encode by itself, on tiny pipelines of each kind of encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onebox.core.errors import InvalidInput
from onebox.imaging.diffusion.bundles import PipelineBundle
from onebox.imaging.diffusion.prompts import of_one_length, prompt_arguments
from onebox.imaging.diffusion.recipe import Picture, Recipe
from tests.families.pictures import TASK, Context, assert_alike, draw, resolve
from tests.families.tiny_pipelines import Shelf

LONG = "a red circle on a blue background, " * 6
CLIP = ["sd", "sdxl", "sdxl-refiner", "sd3"]


def recipe(**fields: Any) -> Recipe:
    own = {"width": 64, "height": 64, "steps": 1, "guidance_scale": 5.0}
    return Recipe("text-to-image", **{**own, **fields})


def arguments(pipeline: Any, *pictures: Picture, **fields: Any) -> dict[str, Any]:
    import torch

    with torch.inference_mode():
        return prompt_arguments(pipeline, pictures, recipe(**fields))


def picture(prompt: str, negative: str | None = None) -> Picture:
    return Picture(prompt, negative, 0)


def embeds(pipeline: Any, prompt: str, **fields: Any) -> Any:
    return arguments(pipeline, picture(prompt), **fields)["prompt_embeds"]


def plain_embeds(pipeline: Any, prompt: str) -> tuple[Any, ...]:
    """What diffusers makes of a prompt."""
    import torch

    several = "text_encoder_2" in pipeline.components
    third = {"prompt_3": None} if "text_encoder_3" in pipeline.components else {}
    with torch.inference_mode():
        more = {"prompt_2": None, **third} if several else {}
        return tuple(
            pipeline.encode_prompt(
                prompt=[prompt],
                device="cpu",
                num_images_per_prompt=1,
                do_classifier_free_guidance=False,
                **more,
            )
        )


@pytest.mark.parametrize("kind", [*CLIP, "pix2pix", "lcm", "flux", "kontext", "chroma", "pixart"])
def test_a_short_plain_prompt_is_left_to_the_pipeline(shelf: Shelf, kind: str) -> None:
    found = arguments(
        shelf.bundle(kind).pipeline, picture("a red circle"), picture("a blue square")
    )
    assert found == {"prompt": ["a red circle", "a blue square"]}


@pytest.mark.parametrize("kind", CLIP)
def test_negative_prompts_go_along(shelf: Shelf, kind: str) -> None:
    found = arguments(
        shelf.bundle(kind).pipeline, picture("a circle", "blue"), picture("a square", "large")
    )
    assert found == {"prompt": ["a circle", "a square"], "negative_prompt": ["blue", "large"]}


@pytest.mark.parametrize("kind", CLIP)
@pytest.mark.parametrize(
    ("prompt", "text"),
    [("(a red circle:1.0)", "a red circle"), (r"a red \(circle", "a red (circle")],
)
def test_our_own_encoding_of_an_unweighted_prompt_is_diffusers_own_bit_for_bit(
    shelf: Shelf, kind: str, prompt: str, text: str
) -> None:
    import torch

    pipeline = shelf.bundle(kind).pipeline
    found = arguments(pipeline, picture(prompt))
    expected, _, *pooled = plain_embeds(pipeline, text)
    assert torch.equal(found["prompt_embeds"], expected)
    if pooled:
        assert torch.equal(found["pooled_prompt_embeds"], pooled[0])


@pytest.mark.parametrize("kind", CLIP)
def test_every_word_of_a_long_prompt_counts(shelf: Shelf, kind: str) -> None:
    import torch

    pipeline = shelf.bundle(kind).pipeline
    one, two = embeds(pipeline, LONG + "red"), embeds(pipeline, LONG + "tan")
    assert one.shape == two.shape
    assert one.shape[1] > plain_embeds(pipeline, LONG)[0].shape[1]
    assert not torch.equal(one, two)
    assert torch.equal(one[:, :77], two[:, :77])


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_a_long_prompt_is_read_in_stretches(shelf: Shelf, kind: str) -> None:
    """The last stretch is what a prompt of its words alone gives."""
    import torch

    pipeline = shelf.bundle(kind).pipeline
    found = embeds(pipeline, "a circle BREAK a square")
    assert found.shape[1] == 2 * 77
    for half, text in ((found[:, :77], "a circle "), (found[:, 77:], " a square")):
        torch.testing.assert_close(half, plain_embeds(pipeline, text)[0])


def test_a_stretch_ends_at_a_comma_when_one_is_near(shelf: Shelf) -> None:
    import torch

    pipeline = shelf.bundle("sd").pipeline
    start = "a" * 60 + ","
    found = embeds(pipeline, f"{start} {'b' * 30}")
    torch.testing.assert_close(found[:, :77], plain_embeds(pipeline, start)[0])


@pytest.mark.parametrize("kind", ["sd", "sdxl", "sd3"])
def test_a_weight_moves_its_own_words_alone(shelf: Shelf, kind: str) -> None:
    import torch

    pipeline = shelf.bundle(kind).pipeline
    plain, _, *pooled = plain_embeds(pipeline, "a red circle")
    # Single bytes: the start, "a", then the letters of "red".
    red = slice(2, 5)
    found = arguments(pipeline, picture("a (red:1.5) circle"))
    moved = (found["prompt_embeds"] - plain)[:, :77].abs().amax(-1)[0]
    assert (moved[red] > 0).all()
    moved[red] = 0
    assert moved.max() == 0
    if pooled:
        torch.testing.assert_close(found["pooled_prompt_embeds"], pooled[0])


@pytest.mark.parametrize("kind", CLIP)
def test_weights_go_from_nothing_through_what_it_was_and_on(shelf: Shelf, kind: str) -> None:
    import torch

    pipeline = shelf.bundle(kind).pipeline
    zero, one, two = (embeds(pipeline, f"(red:{w}) circle", clip_skip=0) for w in (0, 1, 2))
    torch.testing.assert_close(one - zero, two - one)
    nothing = plain_embeds(pipeline, "")[0]
    torch.testing.assert_close(zero[:, 1:4], nothing[:, 1:4])


def test_sd3_reads_weights_with_its_sentence_encoder_too(shelf: Shelf) -> None:
    pipeline = shelf.bundle("sd3").pipeline
    plain, weighted = plain_embeds(pipeline, "a red"), embeds(pipeline, "a (red:1.5)")
    moved = (weighted - plain[0])[0, 77:].abs().amax(-1)
    assert moved.max() > 0
    assert moved[20:].max() == 0


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_clip_skip_takes_an_earlier_layer_for_both_prompts(shelf: Shelf, kind: str) -> None:
    import torch

    pipeline = shelf.bundle(kind).pipeline
    if kind == "sdxl":  # two layers, of which the last is not used: none is left to skip
        with pytest.raises(InvalidInput, match="the most is 0"):
            embeds(pipeline, "a red circle", clip_skip=1)
        return
    found = arguments(pipeline, picture("a red circle", "blue"), clip_skip=1)
    for name, text in (("prompt_embeds", "a red circle"), ("negative_prompt_embeds", "blue")):
        model, tokenizer = pipeline.text_encoder, pipeline.tokenizer
        ids = tokenizer(text, padding="max_length", max_length=77, return_tensors="pt").input_ids
        with torch.inference_mode():
            layers = model(ids, output_hidden_states=True).hidden_states
            expected = model.final_layer_norm(layers[-2])
        assert torch.equal(found[name], expected)
    with pytest.raises(InvalidInput, match="clip_skip 2 leaves no layer") as refused:
        embeds(pipeline, "a red circle", clip_skip=2)
    assert refused.value.details == {"max": 1}


def test_no_negative_prompt_stays_zeros_where_the_model_was_trained_so(
    shelf: Shelf,
) -> None:
    found = arguments(
        shelf.bundle("sdxl").pipeline, picture("a (circle)"), picture("a (square)", "large")
    )
    for name in ("negative_prompt_embeds", "negative_pooled_prompt_embeds"):
        none, some = found[name]
        assert none.abs().max() == 0
        assert some.abs().max() > 0


@pytest.mark.parametrize("kind", ["sd", "sdxl", "sd3"])
@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_a_picture_can_be_drawn_from_any_of_it(
    shelf: Shelf, kind: str, guidance_scale: float
) -> None:
    import torch

    pipeline = shelf.bundle(kind).pipeline
    given = arguments(
        pipeline, picture(LONG, "large"), picture(LONG), guidance_scale=guidance_scale
    )
    with torch.inference_mode():
        images = pipeline(
            **given,
            width=64,
            height=64,
            num_inference_steps=1,
            guidance_scale=guidance_scale,
            output_type="np",
        ).images
    assert images.shape == (2, 64, 64, 3)


def test_pictures_of_another_length_are_drawn_in_a_call_of_their_own(
    shelf: Shelf,
) -> None:
    short, long = picture("a circle"), picture(LONG)
    negative = picture("a circle", LONG)
    pipeline = shelf.bundle("sd").pipeline
    cut = of_one_length(pipeline, [short, short, long, negative, short], recipe())
    assert cut == [[short, short], [long, negative], [short]]
    # Without guidance nobody reads the negative prompt.
    cut = of_one_length(pipeline, [short, negative], recipe(guidance_scale=1.0))
    assert cut == [[short, negative]]
    assert of_one_length(shelf.bundle("flux").pipeline, [short, long], recipe()) == [[short, long]]


def test_equal_prompts_are_encoded_once(shelf: Shelf) -> None:
    pipeline = shelf.bundle("sd").pipeline
    rows: list[int] = []
    hook = pipeline.text_encoder.register_forward_pre_hook(
        lambda module, args: rows.append(len(args[0]))
    )
    found = arguments(pipeline, *(picture("a {circle} \\(") for _ in range(4)))
    hook.remove()
    assert found["prompt_embeds"].shape[0] == 4
    assert rows == [1, 1]


@pytest.mark.parametrize(
    ("kind", "given", "fields", "param"),
    [
        ("flux", picture("a (red:1.3) circle"), {}, "prompt"),
        ("flux", picture("a red circle", "blue"), {}, "negative_prompt"),
        ("flux-fill", picture("a red circle", "blue"), {}, "negative_prompt"),
        ("flux", picture("a red circle"), {"clip_skip": 1}, "clip_skip"),
        ("flux", picture("word " * 200), {}, "prompt"),
        ("sd3", picture("word " * 200), {}, "prompt"),
        ("sd", picture("a (red:100) circle"), {}, "prompt"),
        ("sd", picture("a circle", "(red:100)"), {}, "negative_prompt"),
    ],
)
def test_what_a_text_encoder_cannot_do_is_refused(
    shelf: Shelf,
    kind: str,
    given: Picture,
    fields: dict[str, Any],
    param: str,
) -> None:
    with pytest.raises(InvalidInput) as refused:
        arguments(shelf.bundle(kind).pipeline, given, **fields)
    assert refused.value.param == param


def test_a_negative_prompt_is_heeded_by_flux_when_it_works_twice(
    shelf: Shelf,
) -> None:
    found = arguments(
        shelf.bundle("flux").pipeline, picture("a circle", "blue"), extra=(("true_cfg_scale", 4.0),)
    )
    assert found == {"prompt": ["a circle"], "negative_prompt": ["blue"]}


def test_brackets_of_a_sentence_stay(shelf: Shelf) -> None:
    found = arguments(shelf.bundle("flux").pipeline, picture(r"a (red) [circle] \(:1.3\)"))
    assert found == {"prompt": ["a (red) [circle] (:1.3)"]}


def test_a_short_prompt_beside_a_long_one_gives_the_picture_it_gives_alone(
    bundle: PipelineBundle, tiny_sd: Path
) -> None:
    asked = [resolve(tiny_sd, seed=1, prompt=text) for text in ("a circle", LONG, "a (red:2) ring")]
    outputs = TASK.run_batch(bundle, asked, Context(tiny_sd))
    for request, (output,) in zip(asked, outputs, strict=True):
        alone = draw(bundle, tiny_sd, seed=1, prompt=request.prompt)
        assert_alike(np.asarray(output.value), alone[0])
