"""What a request will take, as far as it says so itself: pictures, seconds, tokens at most."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from pydantic import BaseModel

from onebox.services.task_kinds import TASKS, TaskKind
from onebox.services.usage.task_units import units_of
from onebox.services.usage.usage import Amounts

# Usual figures of English: letters to a token, and letters that are spoken in a second.
TOKEN_CHARS = 4
SECOND_CHARS = 15
# Of a device that nobody has measured yet. Rather too much: what is held is not charged.
STEP_S = 1.0
# What an upstream is asked for is bounded by nothing here, and sums must stay finite.
MOST = 1e9


def first_of(task: str, request: BaseModel | None) -> Amounts:
    """While nobody knows what such a request takes: what it says itself, and else one of each unit
    of the task. Goes through its texts.
    """
    one_of_each = dict.fromkeys(units_of(task) - {"credits"}, 1.0)
    if request is None:
        return Amounts(**one_of_each)
    guess = GUESSES.get(TASKS.get(task), _nothing)
    return Amounts(**{**one_of_each, **guess(request), **_most(request), **_exact(task, request)})


def adjusted(usual: Amounts, task: str, request: BaseModel | None) -> Amounts:
    """What such a request usually takes, for one that may ask for more or less than usual."""
    if request is None:
        return usual
    changes = {unit: min(getattr(usual, unit), most) for unit, most in _most(request).items()}
    for unit, amount in _exact(task, request).items():
        changes[unit] = amount
        if before := getattr(usual, unit):
            # Twice the pictures take twice the time.
            changes["device_seconds"] = usual.device_seconds * amount / before
    return msgspec.structs.replace(usual, **changes) if changes else usual


def _exact(task: str, request: BaseModel) -> dict[str, float]:
    """What it takes if all goes well, by unit."""
    kind = TASKS.get(task)
    if kind == "images":
        return {"pictures": float(_number(request, "n") or 1)}
    if kind == "video":
        frames, fps = _number(request, "num_frames"), _number(request, "fps")
        seconds = frames / fps if frames and fps else _number(request, "duration")
        return {"video_seconds": float(seconds)} if seconds else {}
    return {}


def _most(request: BaseModel) -> dict[str, float]:
    tokens = _number(request, "max_tokens")
    return {"completion_tokens": float(tokens * _texts(request))} if tokens else {}


def _of_pictures(request: BaseModel) -> dict[str, float]:
    steps = _number(request, "steps") or 1
    return {"device_seconds": STEP_S * steps * (_number(request, "n") or 1)}


def _of_texts(request: BaseModel) -> dict[str, float]:
    return {"prompt_tokens": 1.0 + _chars(dict(request)) / TOKEN_CHARS}


def _of_sound(request: BaseModel) -> dict[str, float]:
    text = getattr(request, "input", None)
    if not isinstance(text, str):
        return {}
    return {"audio_seconds": 1.0 + len(text) / SECOND_CHARS / (_number(request, "speed") or 1)}


def _nothing(request: BaseModel) -> dict[str, float]:
    return {}


GUESSES: Mapping[TaskKind | None, Callable[[BaseModel], dict[str, float]]] = {
    "text": _of_texts,
    "images": _of_pictures,
    "audio": _of_sound,
    "video": _of_pictures,
}


def _texts(request: BaseModel) -> int:
    """That it has written: so many for each prompt."""
    prompts = getattr(request, "prompts", None)
    count = len(prompts) if isinstance(prompts, list) else 1
    return int(count * (_number(request, "n") or 1))


def _number(request: BaseModel, field: str) -> float:
    value = getattr(request, field, None)
    return min(value, MOST) if isinstance(value, int | float) else 0


def _chars(value: Any) -> int:
    """Of all texts in it."""
    match value:
        case str():
            return len(value)
        case BaseModel():
            return _chars(dict(value))
        case Mapping():
            return sum(map(_chars, value.values()))
        case list() | tuple():
            return sum(map(_chars, value))
    return 0
