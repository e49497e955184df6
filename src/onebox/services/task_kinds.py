"""What tasks make: how often one may ask, and which bounds concern a request, go by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

TaskKind = Literal["text", "images", "audio", "video"]
# A task that a plugin brings is of none.
TASKS: Mapping[str, TaskKind] = {
    "chat": "text",
    "completion": "text",
    "embeddings": "text",
    "rerank": "text",
    "similarity": "text",
    "tokenize": "text",
    "detokenize": "text",
    "text-to-image": "images",
    "image-to-image": "images",
    "inpainting": "images",
    "variations": "images",
    "upscale": "images",
    "background": "images",
    "cutout": "images",
    "try-on": "images",
    "speech": "audio",
    "transcription": "audio",
    "text-to-video": "video",
    "image-to-video": "video",
}
