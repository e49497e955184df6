"""Videos of the starter model as OpenAI's client asks for them."""

from __future__ import annotations

import io
from typing import Any

import av
import openai
import pytest
from PIL import Image

from onebox.starter.motion_score import look_at

MODEL = "onebox-shapes-motion"

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")


def frames_of(file: bytes) -> list[Image.Image]:
    with av.open(io.BytesIO(file)) as container:
        return [frame.to_image() for frame in container.decode(video=0)]


@pytest.mark.parametrize(
    ("prompt", "colours", "direction"),
    [
        ("a red circle moving right on a blue background", ("red", "blue"), "right"),
        ("a white square moving up on a green background", ("white", "green"), "up"),
    ],
)
def test_the_shape_of_a_video_moves_as_it_was_told(
    sdk: openai.OpenAI, prompt: str, colours: tuple[str, str], direction: str
) -> None:
    asked: dict[str, Any] = {"seed": 1, "num_frames": 8}
    video = sdk.videos.create_and_poll(
        prompt=prompt, model=MODEL, poll_interval_ms=200, extra_body=asked
    )
    assert (video.status, video.size, video.seconds) == ("completed", "256x256", "1")
    frames = frames_of(sdk.videos.download_content(video.id).read())
    found = look_at(frames)
    assert found.frames == 8
    assert (found.colours, found.goes_clearly(direction)) == (colours, True)
    sheet = Image.open(
        io.BytesIO(sdk.videos.download_content(video.id, variant="thumbnail").read())
    )
    assert sheet.size == (256, 256)
    remixed = sdk.videos.remix(video.id, prompt=prompt.replace(direction, "left"))
    assert remixed.remixed_from_video_id == video.id
    assert sdk.videos.delete(remixed.id).deleted
    assert sdk.videos.delete(video.id).deleted
    assert sdk.videos.list().data == []
