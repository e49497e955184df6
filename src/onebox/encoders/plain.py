"""Encoders `json` and `bytes`: plain values, and bytes that are ready already."""

from __future__ import annotations

import msgspec

from onebox.core.contracts import Encoder
from onebox.core.plugins import ENCODERS
from onebox.core.results import Artifact, Output


class JsonEncoder(Encoder):
    kind = "json"

    def encode(self, output: Output) -> Artifact:
        return Artifact("application/json", msgspec.json.encode(output.value), None, output.meta)


class BytesEncoder(Encoder):
    """Bytes that are ready already; the option `media_type` says what they are."""

    kind = "bytes"

    def encode(self, output: Output) -> Artifact:
        media_type = output.options.get("media_type", "application/octet-stream")
        return Artifact(media_type, output.value, None, output.meta)


for encoder in (JsonEncoder(), BytesEncoder()):
    ENCODERS.register(encoder.kind, encoder)
