"""What the encoder `video` makes, as the library reads it again."""

from __future__ import annotations

import io
import json
import zipfile
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from onebox.core.cancel import interruptible
from onebox.core.clips import Clip
from onebox.core.errors import Cancelled
from onebox.core.results import Output
from onebox.core.video_types import VIDEO_TYPES
from onebox.encoders import video_codecs
from onebox.encoders.video import VideoEncoder

EMBEDDED = {"prompt": 'a réd "circle" 日本', "seed": "7", "model_sha256": "ab" * 32}
CODED = ("mp4", "webm")


def clip(frames: int = 10, width: int = 64, height: int = 48, fps: float = 24) -> Clip:
    """A square of pure red that moves right over a blue that grows, in chunks of four."""
    made = np.zeros((frames, height, width, 3), np.uint8)
    made[..., 2] = np.linspace(60, 200, width)
    for number, frame in enumerate(made):
        frame[height // 4 : height // 2, number * 2 : number * 2 + width // 3] = (255, 0, 0)
    return Clip([made[at : at + 4] for at in range(0, frames, 4)], fps)


def encoded(value: Clip, video_format: str, **options: Any) -> bytes:
    given = {"format": video_format, **options}
    artifact = VideoEncoder().encode(Output("video", value, given, {"seed": 7}, EMBEDDED))
    assert artifact.media_type == VIDEO_TYPES[video_format]
    assert artifact.meta == {"seed": 7}
    assert artifact.data is not None
    return artifact.data


def frames_of(data: bytes) -> np.ndarray:
    with av.open(io.BytesIO(data)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


def pixels(value: Clip) -> np.ndarray:
    return np.concatenate(value.chunks)


def boxes(data: bytes) -> list[str]:
    """Names of the outermost boxes of an MP4, in order."""
    names, at = [], 0
    while at < len(data):
        size, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        names.append(name.decode())
        at += size
    return names


@pytest.mark.parametrize("video_format", CODED)
@pytest.mark.parametrize("fps", [8, 23.976, 29.97, 60])
def test_all_frames_come_back_in_their_time(video_format: str, fps: float) -> None:
    with av.open(io.BytesIO(encoded(clip(fps=fps), video_format))) as container:
        stream = container.streams.video[0]
        assert float(stream.average_rate or 0) == pytest.approx(fps, abs=0.05)
        times = [float((frame.pts or 0) * (frame.time_base or 0)) for frame in container.decode(0)]
    assert times == pytest.approx([n / fps for n in range(10)], abs=0.002)
    assert Fraction(fps).limit_denominator(video_codecs.LARGEST_DENOMINATOR) > 0


@pytest.mark.parametrize("video_format", CODED)
def test_colours_come_back_and_are_said_to_be_those_of_bt709(video_format: str) -> None:
    flat = np.zeros((3, 64, 64, 3), np.uint8)
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (90, 140, 30)]
    for colour in colours:
        flat[:] = colour
        data = encoded(Clip([flat], 8), video_format)
        assert np.abs(frames_of(data).astype(int) - colour).max() <= 4
    with av.open(io.BytesIO(data)) as container:
        context = container.streams.video[0].codec_context
        assert context.pix_fmt == "yuv420p"
        told = (context.colorspace, context.color_primaries, context.color_trc)
        assert told == (1, 1, 1)
        assert context.color_range == 1


@pytest.mark.parametrize("video_format", CODED)
def test_better_quality_is_closer_and_larger(video_format: str) -> None:
    value = clip(width=128, height=96)
    noise = np.random.default_rng(1).integers(0, 60, pixels(value).shape, dtype=np.uint8)
    noisy = Clip([pixels(value) // 2 + noise], 24)
    worse, better = (encoded(noisy, video_format, quality=quality) for quality in (10, 95))
    assert len(better) > 2 * len(worse)
    apart = [np.abs(frames_of(d).astype(int) - pixels(noisy)).mean() for d in (worse, better)]
    assert apart[1] < apart[0]


@pytest.mark.parametrize("video_format", CODED)
def test_sides_of_odd_length_get_their_last_line_twice(video_format: str) -> None:
    value = clip(width=65, height=47)
    frames = frames_of(encoded(value, video_format, quality=100))
    assert frames.shape == (10, 48, 66, 3)
    assert np.abs(frames[:, :47, :65].astype(int) - pixels(value)).mean() < 8
    assert np.abs(frames[:, 47].astype(int) - frames[:, 46]).mean() < 3
    assert np.abs(frames[:, :, 65].astype(int) - frames[:, :, 64]).mean() < 3


def test_the_index_of_an_mp4_is_in_front_however_long_it_is() -> None:
    for frames in (1, 120):
        data = encoded(clip(frames, width=320), "mp4")
        assert boxes(data)[:2] == ["ftyp", "moov"]
        assert boxes(data)[-1] == "mdat"
        assert len(frames_of(data)) == frames


@pytest.mark.parametrize("video_format", ["mp4", "webm", "gif"])
def test_what_it_was_made_of_is_its_comment(video_format: str) -> None:
    long = {**EMBEDDED, "prompt": "日本 " * 3000}
    for embedded in (EMBEDDED, long):
        output = Output("video", clip(), {"format": video_format}, {}, embedded)
        data = VideoEncoder().encode(output).data
        assert data is not None
        with av.open(io.BytesIO(data)) as container:
            told = {name.lower(): text for name, text in container.metadata.items()}
            assert json.loads(told["comment"]) == embedded
        assert len(frames_of(data)) == 10
        if video_format == "gif":
            assert json.loads(Image.open(io.BytesIO(data)).info["comment"]) == embedded


def test_a_gif_shows_all_frames_for_ever_in_close_colours() -> None:
    value = clip(12, fps=8)
    with Image.open(io.BytesIO(encoded(value, "gif"))) as gif:
        assert gif.info["loop"] == 0
        assert gif.n_frames == 12
        shown = []
        for number in range(12):
            gif.seek(number)
            shown.append(np.asarray(gif.convert("RGB")))
            assert gif.info["duration"] in (120, 130)
    assert np.abs(np.stack(shown).astype(int) - pixels(value)).mean() < 6


def test_a_gif_of_many_frames_a_second_leaves_some_out() -> None:
    with Image.open(io.BytesIO(encoded(clip(12, fps=60), "gif"))) as gif:
        assert gif.n_frames == 6
        gif.seek(1)
        assert gif.info["duration"] in (30, 40)


def test_a_zip_holds_every_frame_as_it_is() -> None:
    value = clip(width=65)
    data = encoded(value, "zip")
    assert encoded(value, "zip") == data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        assert names == [f"frame-{number:05}.png" for number in range(1, 11)]
        for name, frame in zip(names, value, strict=True):
            with Image.open(io.BytesIO(archive.read(name))) as picture:
                assert picture.text == {**EMBEDDED, "fps": "24"}
                assert np.array_equal(np.asarray(picture), frame)


@pytest.mark.parametrize("video_format", VIDEO_TYPES)
def test_the_same_frames_give_the_same_file(video_format: str) -> None:
    assert encoded(clip(), video_format) == encoded(clip(), video_format)


@pytest.mark.parametrize("video_format", VIDEO_TYPES)
def test_one_frame_is_a_video_too(video_format: str) -> None:
    assert encoded(clip(1), video_format)


@pytest.mark.parametrize("video_format", VIDEO_TYPES)
def test_it_stops_when_nobody_wants_the_video_any_more(video_format: str) -> None:
    asked = 0

    def check() -> None:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise Cancelled("nobody waits for it")

    with interruptible(check), pytest.raises(Cancelled):
        encoded(clip(), video_format)
    assert asked == 3


@pytest.mark.parametrize("works", [True, False])
def test_the_graphics_card_encodes_if_it_can(works: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A card is not to be had here: another encoder takes its place, or one that is not there."""
    name = "mpeg4" if works else "h264_nvenc"
    monkeypatch.setattr(video_codecs, "NVENC", video_codecs.Codec(name, "qscale", 1, 0))
    monkeypatch.setattr(video_codecs, "has_nvenc", lambda: True)
    assert codec(encoded(clip(width=320, height=240), "mp4")) == ("mpeg4" if works else "h264")
    # Too small for some cards.
    assert codec(encoded(clip(), "mp4")) == "h264"


def codec(data: bytes) -> str:
    with av.open(io.BytesIO(data)) as container:
        return container.streams.video[0].codec_context.name
