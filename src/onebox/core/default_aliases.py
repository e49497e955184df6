"""Names that clients send unchanged, and the task whose default model they mean."""

from __future__ import annotations

DEFAULT_ALIASES = {
    "dall-e-2": "text-to-image",
    "dall-e-3": "text-to-image",
    "gpt-image-1": "text-to-image",
    "gpt-image-1-mini": "text-to-image",
    "gpt-image-1.5": "text-to-image",
    "gpt-image-2": "text-to-image",
    "gpt-image-2.5-sunburst": "text-to-image",
    "gpt-image-2.5-flare": "text-to-image",
    "gpt-image-2.6-sunburst": "text-to-image",
    "gpt-image-2.6-flare": "text-to-image",
    "chatgpt-image-latest": "text-to-image",
    "whisper-1": "transcription",
    "gpt-4o-transcribe": "transcription",
    "gpt-4o-mini-transcribe": "transcription",
    "tts-1": "speech",
    "tts-1-hd": "speech",
    "gpt-4o-mini-tts": "speech",
    "gpt-4o-mini": "chat",
    "text-embedding-3-small": "embeddings",
    "text-embedding-3-large": "embeddings",
    "text-embedding-ada-002": "embeddings",
    "sora-2": "text-to-video",
    "sora-2-pro": "text-to-video",
}
