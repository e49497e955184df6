"""What all requests for videos may say."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from onebox.imaging.diffusion.sizes import MAX_SIDE, MIN_SIDE
from onebox.tasks.picture_input import DrawingInput

MAX_FPS = 60
VideoFormat = Literal["mp4", "webm", "gif", "zip"]
Side = Field(default=None, ge=MIN_SIDE, le=MAX_SIDE, multiple_of=8, description="Pixels.")


class VideoInput(DrawingInput):
    """The request for a video.

    What is drawn is the resolved request: a number of frames that the model cannot draw becomes
    the nearest that it can.
    """

    width: int | None = Side
    height: int | None = Side
    num_frames: int | None = Field(
        default=None, ge=1, description="Give this or `duration`, or neither."
    )
    duration: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Seconds. Without `fps`, a model that draws only short videos gets so few "
        "frames a second that it lasts as long.",
    )
    fps: int | None = Field(
        default=None, ge=1, le=MAX_FPS, description="Frames a second; by default the model's own."
    )
    partial_images: int = Field(
        default=0, ge=0, le=10, description="Pictures of the making, of the frame in the middle."
    )
    output_format: VideoFormat = Field(default="mp4", description="`zip`: the frames as PNG files.")
    quality: int | None = Field(default=None, ge=1, le=100, description="Of mp4 and webm.")
    thumbnail: bool = Field(default=False, description="A picture of it too.")
    spritesheet: bool = Field(default=False, description="Some of its frames in one picture too.")
