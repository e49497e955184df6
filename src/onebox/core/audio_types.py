"""The formats that sound is made in, and what HTTP calls them."""

from __future__ import annotations

from collections.abc import Mapping

# Opus comes in Ogg, and that is its name (RFC 7845): browsers do not play `audio/opus`, which
# OpenAI sends, and its client looks at no name.
AUDIO_TYPES: Mapping[str, str] = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
