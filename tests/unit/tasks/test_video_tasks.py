"""How requests for videos are filled in, and what of them is refused."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from onebox.core.contracts import Device, Entry, TaskDefaults
from onebox.core.errors import InvalidInput
from onebox.core.media import MediaRef
from onebox.imaging.video.abilities import facts_of
from onebox.tasks.image_to_video import ImageToVideo
from onebox.tasks.text_to_video import TextToVideo
from onebox.tasks.video_task import VideoTask

TEXT, IMAGE = TextToVideo(), ImageToVideo()
DEFAULTS = TaskDefaults(30, 7.5)
SHORT = {"unet": {"motion_max_seq_length": 16}}
CPU = Device("cpu", "cpu", "CPU", "cpu", "host", 2**30, 2**30, "float32", "float32")


def entry(kind: str, overrides: dict[str, Any] | None = None, **configs: Any) -> Entry:
    return Entry(
        key="k",
        name="film",
        path="film",
        extension="",
        size_bytes=1,
        status="ready",
        kind=kind,
        facts=facts_of(kind, {}, configs),
        overrides=overrides or {},
    )


WAN, SVD, LTX = (entry(f"{name}Pipeline") for name in ("Wan", "StableVideoDiffusion", "LTX"))
MOTION = entry("AnimateDiffPipeline", **SHORT)


def png(width: int = 64, height: int = 64) -> MediaRef:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(buffer, "PNG")
    return MediaRef(media_type="image/png", data=buffer.getvalue())


def asked(task: VideoTask[Any], where: Entry, **fields: Any) -> Any:
    """The request, filled in and checked."""
    given = {"prompt": "a red circle", **({"image": png()} if task is IMAGE else {}), **fields}
    request = task.resolve(task.Input(**given), where, DEFAULTS)
    task.check(request, where)
    return request


def test_what_is_left_out_is_what_suits_the_model() -> None:
    request = asked(TEXT, WAN)
    assert (request.width, request.height, request.num_frames, request.fps) == (832, 480, 81, 16)
    assert (request.steps, request.guidance_scale) == (50, 5.0)
    assert request.seed is not None
    own = {"defaults": {"steps": 8, "num_frames": 40, "fps": 12, "width": 256, "height": 256}}
    changed = asked(TEXT, entry("WanPipeline", own))
    assert (changed.steps, changed.num_frames, changed.fps, changed.width) == (8, 41, 12, 256)


def test_seconds_become_frames_and_frames_what_the_model_draws() -> None:
    assert asked(TEXT, WAN, duration=4).num_frames == 65
    assert asked(TEXT, WAN, duration=2, fps=24).num_frames == 49
    assert asked(TEXT, WAN, num_frames=50).num_frames == 49
    assert asked(TEXT, LTX, num_frames=50).num_frames == 49
    assert asked(TEXT, MOTION, num_frames=10, fps=30).fps == 30
    # The most that is allowed, which lies between two numbers that it draws.
    small = {"width": 64, "height": 64}
    assert asked(TEXT, WAN, duration=60, **small).num_frames == 957
    assert asked(TEXT, WAN, num_frames=1200, fps=30, **small).num_frames == 1197


def test_a_model_of_few_frames_lasts_as_long_as_asked_with_fewer_a_second() -> None:
    request = asked(TEXT, MOTION, duration=4)
    assert (request.num_frames, request.fps) == (16, 4)
    with pytest.raises(InvalidInput, match="16 frames at most"):
        asked(TEXT, MOTION, duration=4, fps=8)


def test_resolving_again_changes_nothing() -> None:
    request = asked(TEXT, WAN, duration=4)
    assert TEXT.resolve(request, WAN, DEFAULTS) == request


@pytest.mark.parametrize(
    ("where", "fields", "param", "reason"),
    [
        (WAN, {"num_frames": 17, "duration": 1}, "duration", "give one of them"),
        (WAN, {"num_frames": 1_300}, "num_frames", "1200 that are allowed"),
        (WAN, {"duration": 61}, "duration", "60 s are allowed"),
        (WAN, {"duration": 1e308}, "duration", "60 s are allowed"),
        (WAN, {"duration": 50, "fps": 60}, "duration", "1200 that are allowed"),
        (WAN, {"num_frames": 700, "fps": 1}, "num_frames", "last 700 s"),
        (WAN, {"width": 840}, "width", "832 or 848"),
        (WAN, {"width": 2048, "height": 2048, "num_frames": 81}, "num_frames", "64 frames at most"),
        (MOTION, {"num_frames": 17}, "num_frames", "16 frames at most"),
        (WAN, {"scheduler": "nobody"}, "scheduler", "no such scheduler"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    where: Entry, fields: dict[str, Any], param: str, reason: str
) -> None:
    with pytest.raises(InvalidInput, match=reason) as caught:
        asked(TEXT, where, **fields)
    assert caught.value.param == param


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": ""},
        {"prompt": b"\xff\xfe"},
        {"prompt": 5},
        {"num_frames": 0},
        {"fps": 0},
        {"fps": 61},
        {"duration": float("nan")},
        {"duration": -1},
        {"width": 20},
        {"height": 4096},
        {"quality": 0},
        {"output_format": "avi"},
        {"partial_images": 11},
    ],
)
def test_numbers_out_of_range_and_text_that_is_none_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        asked(TEXT, WAN, **fields)


def test_a_video_of_a_picture_has_its_shape_and_about_the_models_size() -> None:
    request = asked(IMAGE, LTX, image=png(200, 100))
    assert (request.width, request.height) == (832, 416)
    assert asked(IMAGE, LTX, image=png(200, 100), width=640).height == 320
    both = asked(IMAGE, LTX, image=png(200, 100), width=256, height=256)
    assert (both.width, both.height) == (256, 256)


def test_an_image_that_is_none_is_refused() -> None:
    for data in (b"no picture", png().data[:40] if png().data else b""):
        with pytest.raises(InvalidInput) as caught:
            asked(IMAGE, LTX, image=MediaRef(media_type="image/png", data=data))
        assert caught.value.param == "image"


def test_fields_of_one_model_are_refused_by_the_others() -> None:
    request = asked(IMAGE, SVD, motion_bucket_id=40, noise_aug_strength=0.1, prompt="")
    extra = (("motion_bucket_id", 40), ("noise_aug_strength", 0.1))
    assert IMAGE.recipe(request, SVD).extra == extra
    with pytest.raises(InvalidInput) as caught:
        asked(IMAGE, LTX, motion_bucket_id=40)
    assert caught.value.param == "motion_bucket_id"
    with pytest.raises(InvalidInput) as caught:
        asked(IMAGE, SVD, negative_prompt="blue")
    assert caught.value.param == "negative_prompt"


def test_more_and_larger_frames_need_more_memory() -> None:
    def needs(**fields: Any) -> int:
        return TEXT.reserve_bytes(asked(TEXT, WAN, **fields), WAN, CPU)

    assert 0 < needs(num_frames=9) < needs(num_frames=81) < needs(width=1280, height=720)
