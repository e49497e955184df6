from __future__ import annotations

import json

from onebox.core.results import Output
from onebox.encoders.plain import BytesEncoder, JsonEncoder


def test_a_plain_value_becomes_json():
    value = {"text": "日本", "numbers": [1, 2.5, None]}
    artifact = JsonEncoder().encode(Output("json", value, meta={"n": 1}))
    assert (artifact.media_type, artifact.meta) == ("application/json", {"n": 1})
    assert json.loads(artifact.data) == value


def test_ready_bytes_keep_their_type():
    wav = BytesEncoder().encode(Output("bytes", b"RIFF", {"media_type": "audio/wav"}))
    assert (wav.media_type, wav.data) == ("audio/wav", b"RIFF")
    assert BytesEncoder().encode(Output("bytes", b"x")).media_type == "application/octet-stream"
