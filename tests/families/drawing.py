"""What tests of tasks with input pictures share: files to send, and a way to run any such task."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from onebox.core.contracts import TaskDefaults
from onebox.core.media import MediaRef
from onebox.tasks.picture_task import PictureTask
from tests.families.pictures import Context, entry

Numbers = tuple[int, int, int]


def noise(seed: int, size: tuple[int, int] = (64, 64)) -> Any:
    """A Pillow picture that is like no other."""
    from PIL import Image

    values = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values)


def plain(colour: Numbers, size: tuple[int, int] = (64, 64)) -> Any:
    from PIL import Image

    return Image.new("RGB", size, colour)


def half_mask(size: tuple[int, int] = (64, 64)) -> Any:
    """White on its right half, black on its left."""
    from PIL import Image

    mask = Image.new("L", size)
    mask.paste(255, (size[0] // 2, 0, *size))
    return mask


def media(picture: Any) -> MediaRef:
    """As a PNG file that a client sends."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return MediaRef(media_type="image/png", data=buffer.getvalue())


def resolved(task: PictureTask[Any], folder: Path, **fields: Any) -> Any:
    """The request as the worker gets it, checked."""
    given = {"prompt": "a red circle", "steps": 2, "guidance_scale": 4.0, "seed": 1, **fields}
    where = entry(folder)
    request = task.resolve(task.Input(**given), where, TaskDefaults(2, 7.5))
    task.check(request, where)
    return request


def run(
    task: PictureTask[Any], bundle: Any, folder: Path, context: Context | None = None, **fields: Any
) -> list[np.ndarray]:
    """The pictures of one request, as [height, width, channels]."""
    request = resolved(task, folder, **fields)
    outputs = task.run(bundle, request, context or Context(folder))
    return [np.asarray(output.value) for output in outputs]
