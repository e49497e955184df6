"""The names by which a voice can be asked for."""

from __future__ import annotations

# OpenAI's own voices. Programs that know no others get a checkpoint's first one for them.
OPENAI_VOICES = (
    "alloy",
    "ash",
    "ballad",
    "cedar",
    "coral",
    "echo",
    "fable",
    "marin",
    "nova",
    "onyx",
    "sage",
    "shimmer",
    "verse",
)
DEFAULT_VOICE = "default"


def default_names(voices: list[str]) -> list[str]:
    """What else the first one of these voices is called."""
    return [name for name in (DEFAULT_VOICE, *OPENAI_VOICES) if name not in voices]
