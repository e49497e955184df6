"""Vectors of other servers, in the form that was asked for."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from typing import Any

import msgspec

from onebox.core.results import Artifact
from onebox.services.upstreams.adapter import json_artifact
from onebox.services.upstreams.connection import Connection


class Vector(msgspec.Struct):
    embedding: list[float] | str
    index: int | None = None


def vectors_artifact(
    vectors: Sequence[Vector],
    count: int,
    encoding_format: str,
    tokens: int,
    connection: Connection,
) -> tuple[Artifact, ...]:
    """The result of the task `embeddings`. Raises UpstreamFailed for another count of vectors."""
    places = [place if one.index is None else one.index for place, one in enumerate(vectors)]
    if sorted(places) != list(range(count)):
        raise connection.useless(f"{len(vectors)} vectors for {count} texts")
    try:
        told: list[Any] = [None] * count
        for place, one in zip(places, vectors, strict=True):
            embedding = _encoded(one.embedding, encoding_format)
            told[place] = {"object": "embedding", "index": place, "embedding": embedding}
    except (ValueError, struct.error):
        raise connection.useless("vectors that are no numbers") from None
    return json_artifact({"data": told, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})


def _encoded(vector: list[float] | str, encoding_format: str) -> list[float] | str:
    """Numbers, or float32 in base64, little endian."""
    if isinstance(vector, str) == (encoding_format == "base64"):
        return vector
    if isinstance(vector, list):
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    raw = base64.b64decode(vector, validate=True)
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))
