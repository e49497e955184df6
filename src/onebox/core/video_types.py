"""The formats that videos are made in, and what HTTP calls them."""

from __future__ import annotations

from collections.abc import Mapping

# `zip` holds the frames as pictures.
VIDEO_TYPES: Mapping[str, str] = {
    "mp4": "video/mp4",
    "webm": "video/webm",
    "gif": "image/gif",
    "zip": "application/zip",
}
