"""What may be asked of the decoder, and its bounds."""

from __future__ import annotations

from dataclasses import dataclass

# Windows that lie ready but are not yet taken, in seconds of sound (2 bytes a sample): then the
# decoding of that file waits.
AHEAD_S = 240.0
# CPU time: for looking into a file, and per second of sound that is decoded. A slow core needs
# about a fortieth of this.
PROBE_CPU_S = 20
CPU_PER_SECOND = 0.1
# What the child says, it must say within this time on the clock.
SILENCE_LIMIT_S = 60.0
START_LIMIT_S = 60.0
# Memory of the child beyond the upload and what it takes when it has just started.
WORKING_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class VadOptions:
    """How speech is told from the rest.

    Attributes:
        threshold: a frame of 32 ms counts as speech from this probability on (0 to 1).
        prefix_padding_ms: how much is kept before and after what counts.
        silence_duration_ms: a pause of this length ends a stretch of speech.
    """

    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 500
