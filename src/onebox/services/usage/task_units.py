"""What a request to a task can take: a bound of what it cannot take does not concern it."""

from __future__ import annotations

from collections.abc import Mapping

from onebox.core.usage_units import COUNTED, UNITS

TEXT = ("prompt_tokens", "completion_tokens", "cached_tokens")
# Every request takes these.
ALWAYS = ("requests", "device_seconds", "credits")
TAKEN: Mapping[str, tuple[str, ...]] = {
    "chat": TEXT,
    "completion": TEXT,
    "embeddings": TEXT,
    "rerank": TEXT,
    "similarity": TEXT,
    "text-to-image": ("pictures",),
    "image-to-image": ("pictures",),
    "inpainting": ("pictures",),
    "variations": ("pictures",),
    "upscale": ("pictures",),
    "background": ("pictures",),
    "cutout": ("pictures",),
    "try-on": ("pictures",),
    "speech": ("audio_seconds",),
    "transcription": ("audio_seconds",),
    "text-to-video": ("video_seconds",),
    "image-to-video": ("video_seconds",),
}


def units_of(task: str) -> frozenset[str]:
    """Of a task that is not known here, all of them."""
    return frozenset((*TAKEN[task], *ALWAYS) if task in TAKEN else UNITS)


def counted_of(task: str) -> tuple[str, ...]:
    """The same without the credits."""
    return tuple(unit for unit in COUNTED if unit in units_of(task))
