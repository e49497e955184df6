"""Encoders `json` and `bytes`: plain values, and bytes that are ready already."""

from __future__ import annotations

import msgspec

from onebox.core.plugins import ENCODERS
from onebox.core.results import Artifact, Encoder, Output

SCALARS = str | int | float | bool | None
QUICK_ITEMS = 16
QUICK_CHARS = 4096
QUICK_BYTES = 64 * 1024


class JsonEncoder(Encoder):
    kind = "json"

    def is_quick(self, output: Output) -> bool:
        """A few plain values."""
        value = output.value
        if not isinstance(value, dict) or len(value) > QUICK_ITEMS:
            return False
        return all(
            isinstance(item, SCALARS) and len(item if isinstance(item, str) else "") <= QUICK_CHARS
            for item in value.values()
        )

    def encode(self, output: Output) -> Artifact:
        return Artifact("application/json", msgspec.json.encode(output.value), None, output.meta)


class BytesEncoder(Encoder):
    """Bytes that are ready already; the option `media_type` says what they are."""

    kind = "bytes"

    def is_quick(self, output: Output) -> bool:
        return len(output.value) <= QUICK_BYTES

    def encode(self, output: Output) -> Artifact:
        media_type = output.options.get("media_type", "application/octet-stream")
        return Artifact(media_type, output.value, None, output.meta)


for encoder in (JsonEncoder(), BytesEncoder()):
    ENCODERS.register(encoder.kind, encoder)
