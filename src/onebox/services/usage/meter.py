"""`Meter`: what one request takes, from its entry to its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from onebox.core.results import Artifact
from onebox.runtime.wire import Delta, Event, Failed, Loading, Result, Started
from onebox.services.usage.usage import Amounts

JSON = "application/json"
# Of a longer result only the end is read, where tasks that answer many numbers tell what it took.
WHOLE_BYTES = 65_536
TAIL_BYTES = 512
USAGE = b'"usage":{'


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0


class _Told(msgspec.Struct):
    """What results that are JSON tell of themselves, where they do; `duration` is of sound."""

    usage: _Usage | None = None
    duration: float | None = None


class Meter:
    """Follows a request and its parts. Lives on the gateway's event loop.

    A part has the device from `Started` on, and no longer while its weights are being loaded; what
    it took is told by the worker when it ends well, and else it is what this clock says.
    """

    __slots__ = (
        "_begun",
        "_clock",
        "_device_s",
        "_made",
        "_part_s",
        "_since",
        "_tokens",
        "_written",
    )

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._device_s = 0.0
        # Of the part that has not ended.
        self._begun = False
        self._part_s = 0.0
        self._since: float | None = None
        self._written = 0
        self._tokens: Mapping[str, int] = {}
        self._made = Amounts()

    def observe(self, event: Event) -> None:
        """Each event of the worker."""
        match event:
            case Delta(data=data):
                # One piece of text is at least one token.
                self._written += "content" in data
            case Started():
                self._begun, self._since = True, self._clock()
            case Loading(fraction=fraction) if fraction < 1:
                self._pause()
            case Loading() if self._begun and self._since is None:
                self._since = self._clock()
            case Result(timing=timing):
                self._end(timing.run_s)
            case Failed():
                self._pause()
                self._end(self._part_s)

    def wrote(self, tokens: Mapping[str, int]) -> None:
        """What a text took: prompt, cached and completion."""
        self._tokens = tokens

    def made(self, artifacts: Sequence[Artifact], *, counted_s: float) -> None:
        """The whole result; so many seconds of its sound were counted before."""
        self._made = _made(artifacts, counted_s)

    def amounts(self, *, ok: bool) -> Amounts:
        """What counts of the request, which has ended."""
        self._pause()
        self._end(self._part_s)
        if not ok:
            written = max(self._written, self._tokens.get("completion", 0))
            return Amounts(completion_tokens=written, device_seconds=self._device_s)
        tokens, made = self._tokens, self._made
        return Amounts(
            requests=1,
            prompt_tokens=tokens.get("prompt", 0) or made.prompt_tokens,
            completion_tokens=tokens.get("completion", 0),
            cached_tokens=tokens.get("cached", 0),
            pictures=made.pictures,
            audio_seconds=made.audio_seconds,
            video_seconds=made.video_seconds,
            device_seconds=self._device_s,
        )

    def _pause(self) -> None:
        if self._since is not None:
            self._part_s += max(0.0, self._clock() - self._since)
            self._since = None

    def _end(self, part_s: float) -> None:
        self._device_s += part_s
        self._begun, self._part_s, self._since = False, 0.0, None


def _made(artifacts: Sequence[Artifact], counted_s: float) -> Amounts:
    pictures, tokens, audio_s, video_s = 0, 0, 0.0, 0.0
    for artifact in artifacts:
        kind, meta = artifact.media_type.partition("/")[0], artifact.meta
        if artifact.media_type == JSON:
            told = _told(artifact.data or b"")
            tokens += told.usage.prompt_tokens if told.usage else 0
            audio_s += told.duration or 0.0
        elif kind == "image":
            # One with a variant only shows what is in a video.
            pictures += "variant" not in meta
        elif kind == "audio":
            audio_s += _number(meta.get("duration"))
        elif kind == "video":
            video_s += _number(meta.get("seconds"))
    return Amounts(
        prompt_tokens=tokens,
        pictures=pictures,
        audio_seconds=max(0.0, audio_s - counted_s),
        video_seconds=video_s,
    )


def _told(data: bytes) -> _Told:
    """Nothing of a result in which these names mean something else."""
    if len(data) > WHOLE_BYTES and (place := data.rfind(USAGE, len(data) - TAIL_BYTES)) >= 0:
        data = b"{" + data[place:]
    try:
        return msgspec.json.decode(data, type=_Told)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Told()


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
