"""What tests of video pipelines share: all tiny ones by name, and a way to run a task on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onebox.core.cancel import interruptible
from onebox.core.contracts import Entry, TaskDefaults
from onebox.core.errors import Cancelled
from onebox.core.media import MediaRef
from onebox.core.results import Output
from onebox.families.video_diffusion import VideoDiffusion
from onebox.tasks.image_to_video import ImageToVideo
from onebox.tasks.text_to_video import TextToVideo
from onebox.tasks.video_task import VideoTask
from tests.families import pictures, tiny_hunyuan, tiny_videos, tiny_wan
from tests.families.drawing import media, noise
from tests.families.pictures import device
from tests.families.tiny_pipelines import Shelf

FAMILY = VideoDiffusion()
TEXT, IMAGE = TextToVideo(), ImageToVideo()
BUILDERS: Mapping[str, Callable[[Path], Path]] = {
    "wan": tiny_wan.wan,
    "wan-two": tiny_wan.wan_two,
    "wan-both": tiny_wan.wan_both,
    "wan-image": tiny_wan.wan_image,
    "wan-image-two": tiny_wan.wan_image_two,
    "ltx": tiny_videos.ltx,
    "animatediff": tiny_videos.animatediff,
    "stable-video": tiny_videos.stable_video,
    "cogvideox": tiny_videos.cogvideox,
    "cogvideox-1.5": tiny_videos.cogvideox_15,
    "cogvideox-image": tiny_videos.cogvideox_image,
    "hunyuan": tiny_hunyuan.hunyuan,
    "hunyuan-image": tiny_hunyuan.hunyuan_image,
    "hunyuan-replaced": tiny_hunyuan.hunyuan_replaced,
    "text-to-video-sd": tiny_videos.text_to_video_sd,
}
# Every pipeline with every task that it can do.
BY_IMAGE = (
    "wan-both",
    "wan-image",
    "wan-image-two",
    "ltx",
    "stable-video",
    "cogvideox-image",
    "hunyuan-image",
    "hunyuan-replaced",
)
BY_TEXT = (
    "wan",
    "wan-two",
    "wan-both",
    "ltx",
    "animatediff",
    "cogvideox",
    "cogvideox-1.5",
    "hunyuan",
    "text-to-video-sd",
)
ALL: tuple[tuple[str, VideoTask[Any]], ...] = (
    *((name, TEXT) for name in BY_TEXT),
    *((name, IMAGE) for name in BY_IMAGE),
)


def video_shelf(folder: Path) -> Shelf:
    return Shelf(folder, BUILDERS, FAMILY)


def entry(folder: Path, **overrides: Any) -> Entry:
    return pictures.entry(folder, FAMILY, **overrides)


class Context:
    """A RunContext that keeps what it is told, and can be told to stop at a step or a call of a
    module.
    """

    def __init__(self, where: Entry, stop_at: int | None = None, lean: bool = False) -> None:
        self.lean = lean
        self.device = device()
        self.entry = where
        self.companions: Mapping[str, Entry] = {}
        self.steps: list[tuple[int, int]] = []
        self.previews: list[tuple[int, Output]] = []
        self.stopped = False
        """Set it, and the run is to end at its next question."""
        self._stop_at = stop_at

    def check(self) -> None:
        if self.stopped or (self._stop_at is not None and len(self.steps) >= self._stop_at):
            raise Cancelled("stop")

    def hand_over(self) -> None:
        self.check()

    def step(self, step: int, steps: int) -> None:
        self.steps.append((step, steps))
        self.check()

    def preview(self, request: int, picture: int, output: Output) -> None:
        assert (request, picture) == (0, 0)
        self.previews.append((len(self.steps) + 1, output))

    def read(self, given: MediaRef) -> bytes:
        assert given.data is not None
        return given.data


def resolved(task: VideoTask[Any], where: Entry, **fields: Any) -> Any:
    """The request as the worker gets it, checked."""
    small = {"width": 64, "height": 64, "num_frames": 9, "steps": 2, "seed": 1}
    given = {"prompt": "a red circle", **small, **fields}
    if task is IMAGE:
        given.setdefault("image", media(noise(3)))
    asked = task.Input(**{name: value for name, value in given.items() if value is not None})
    request = task.resolve(asked, where, TaskDefaults(2, 7.5))
    task.check(request, where)
    return request


def outputs(
    task: VideoTask[Any],
    shelf: Shelf,
    name: str,
    context: Context | None = None,
    **fields: Any,
) -> list[Output]:
    where = entry(shelf.path(name))
    context = context or Context(where)
    with interruptible(context.check):
        return task.run(shelf.bundle(name), resolved(task, where, **fields), context)


def frames(task: VideoTask[Any], shelf: Shelf, name: str, **fields: Any) -> np.ndarray:
    """[n, h, w, 3] of uint8."""
    video, *_ = outputs(task, shelf, name, **fields)
    return np.concatenate(list(video.value.chunks))
