"""Speech that is written down while it is spoken: many small requests to the task `transcription`.

Each one listens to all sound since the last final text, so that admission, fairness, metrics and
cancelling hold as for any other request.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from onebox.core.contracts import Priority
from onebox.core.errors import ConcurrencyLimited, InvalidInput, QueueFull
from onebox.core.media import MediaRef
from onebox.services.access.caller import Caller
from onebox.services.inference import Inference
from onebox.services.live_buffer import SAMPLING_RATE, Heard, LiveBuffer, Phrase, settle
from onebox.services.request import Options, Prepared
from onebox.tasks.transcription import TranscriptionInput

# So much new sound is worth listening again.
STEP = 1 * SAMPLING_RATE
# At most so much is listened to at once.
MOST = 28 * SAMPLING_RATE
# Less is no speech.
LEAST = SAMPLING_RATE // 10
# Who sends faster than it can be written down waits from here on.
FULL = 60 * SAMPLING_RATE
MAX_COMMITS = 8
# So many refusals by a full queue are sat out, one after the other.
MAX_REFUSALS = 5

Send = Callable[[dict[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """What a client may say about a session.

    Attributes:
        partials: whether text is sent that may still change.
    """

    model: str | None = None
    language: str | None = None
    prompt: str = ""
    temperature: float | None = None
    partials: bool = True
    priority: Priority = "interactive"


class LiveTranscription:
    """One session. It says `transcript.partial`, `transcript.final` and `transcript.committed`.

    Times are in seconds of the session's sound. `run` listens; meanwhile `feed`, `commit` and
    `finish` are called, all on the gateway's event loop.
    """

    def __init__(
        self, inference: Inference, options: LiveOptions, caller: Caller, send: Send
    ) -> None:
        self.id = f"live-{secrets.token_hex(8)}"
        self._inference = inference
        self._options = options
        self._caller = caller
        self._send = send
        self._buffer = LiveBuffer()
        self._heard_until = 0
        # Up to here it was counted as usage: a second that is listened to again is the same one.
        self._counted_until = 0
        self._commits: deque[int] = deque()
        self._finishing = False
        self._partial = ""
        self._last_end_s = 0.0
        self._refusals = 0
        self._changed = asyncio.Event()
        self._room = asyncio.Event()

    @property
    def seconds(self) -> float:
        """Of sound that came so far."""
        return self._buffer.end / SAMPLING_RATE

    @property
    def is_settling(self) -> bool:
        """Whether the client waits for something that it asked for."""
        return bool(self._commits)

    async def open(self) -> Prepared:
        """Find the model, and see whether it can do this. Raises as a request does."""
        prepared = await self._prepare(bytes(2))
        prepared.check()
        return prepared

    async def feed(self, samples: bytes) -> None:
        """More sound: 16 kHz, mono, 16 bits, little endian. Waits where there is too much of it.

        What comes after `finish` is not heard.
        """
        if self._finishing:
            return
        self._buffer.add(samples)
        self._changed.set()
        while self._buffer.end - self._buffer.start > FULL:
            self._room.clear()
            await self._room.wait()

    def commit(self) -> None:
        """Make final what came so far. Raises InvalidInput for too many at once."""
        if len(self._commits) >= MAX_COMMITS:
            raise InvalidInput(
                f"{len(self._commits)} commits wait for their text; wait for "
                "transcript.committed before the next one",
                param="type",
            )
        self._commits.append(self._buffer.end)
        self._changed.set()

    def finish(self) -> None:
        """Make final what came so far; then `run` ends."""
        if not self._finishing:
            self._finishing = True
            self._commits.append(self._buffer.end)
            self._changed.set()

    async def run(self) -> None:
        """Raises the AppError that a request ended in."""
        while self._commits or not self._finishing:
            if self._commits or self._buffer.end - self._heard_until >= STEP:
                await self._look()
            else:
                self._changed.clear()
                await self._changed.wait()

    async def _look(self) -> None:
        """Listen to what lies there, and tell what is new."""
        goal = self._commits[0] if self._commits else None
        start = self._buffer.start
        end = min(start + MOST, self._buffer.end if goal is None else max(goal, start))
        heard = await self._hear(end)
        if heard is None:
            return
        is_committed = goal is not None and end >= goal
        length_s = (end - start) / SAMPLING_RATE
        settled = settle(heard, length_s, to_the_end=is_committed)
        self._buffer.drop(round(settled.done_s * SAMPLING_RATE))
        self._room.set()
        await self._tell(heard, settled.phrases, start / SAMPLING_RATE)
        if is_committed:
            self._commits.popleft()
            end_s = round(end / SAMPLING_RATE, 3)
            await self._send({"type": "transcript.committed", "end": end_s})

    async def _hear(self, end: int) -> Heard | None:
        """What is said up to there. None: the queue is full, and the next look may do."""
        self._heard_until = max(self._heard_until, end)
        if end - self._buffer.start < LEAST:
            return Heard()
        try:
            outcome = await self._inference.run(await self._prepare(self._buffer.until(end)))
        except (QueueFull, ConcurrencyLimited):
            self._refusals += 1
            if self._commits or self._refusals > MAX_REFUSALS:
                raise
            return None
        self._refusals = 0
        self._counted_until = max(self._counted_until, end)
        return msgspec.json.decode(outcome.artifacts[0].data or b"", type=Heard)

    async def _tell(self, heard: Heard, phrases: Sequence[Phrase], offset_s: float) -> None:
        final = "".join(phrase.text for phrase in phrases).strip()
        if final:
            self._partial = ""
            await self._send(self._final(final, heard.language, phrases, offset_s))
            return
        # What is final without a word takes back what was told of it.
        partial = "" if len(phrases) else heard.text.strip()
        if self._options.partials and partial != self._partial:
            self._partial = partial
            await self._send({"type": "transcript.partial", "text": partial})

    def _final(
        self, text: str, language: str | None, phrases: Sequence[Phrase], offset_s: float
    ) -> dict[str, Any]:
        segments = []
        for phrase in phrases:
            start = max(self._last_end_s, round(offset_s + phrase.start, 3))
            self._last_end_s = max(start, round(offset_s + phrase.end, 3))
            segments.append({"start": start, "end": self._last_end_s, "text": phrase.text})
        return {
            "type": "transcript.final",
            "text": text,
            "start": segments[0]["start"],
            "end": self._last_end_s,
            "language": language,
            "segments": segments,
        }

    async def _prepare(self, samples: bytes) -> Prepared:
        options = self._options
        counted = max(0, self._counted_until - self._buffer.start)
        return await self._inference.prepare(
            "transcription",
            TranscriptionInput(
                file=MediaRef(media_type="audio/pcm", data=samples),
                language=options.language,
                prompt=options.prompt,
                temperature=options.temperature,
                # What was heard before is heard the same way again.
                seed=0,
            ),
            model=options.model,
            caller=self._caller,
            options=Options(self.id, priority=options.priority, counted_s=counted / SAMPLING_RATE),
        )
