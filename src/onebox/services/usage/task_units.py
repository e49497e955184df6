"""What a request to a task can take: a bound of what it cannot take does not concern it."""

from __future__ import annotations

from collections.abc import Mapping

from onebox.core.usage_units import UNITS
from onebox.services.task_kinds import TASKS, TaskKind

# Every request takes these.
ALWAYS = ("requests", "device_seconds", "credits")
TAKEN: Mapping[TaskKind, tuple[str, ...]] = {
    "text": ("prompt_tokens", "completion_tokens", "cached_tokens"),
    "images": ("pictures",),
    "audio": ("audio_seconds",),
    "video": ("video_seconds",),
}


def units_of(task: str) -> frozenset[str]:
    """Of a task of no kind that is known, all of them."""
    kind = TASKS.get(task)
    return frozenset(UNITS if kind is None else (*ALWAYS, *TAKEN[kind]))
