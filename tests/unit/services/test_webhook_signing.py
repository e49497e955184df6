"""Signatures of webhooks, checked by OpenAI's own client."""

from __future__ import annotations

import base64
import json
import os
import stat
import time

import openai
import pytest
from pydantic import SecretStr

from onebox.core.errors import ConfigurationError
from onebox.services.webhooks.signing import SECRET_FILE, Signer, webhook_secret

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
EVENT = {
    "id": "evt_1",
    "object": "event",
    "type": "batch.completed",
    "created_at": 5,
    "data": {"id": "batch_1"},
}
BODY = json.dumps(EVENT).encode()


def sdk(secret):
    return openai.OpenAI(api_key="x", webhook_secret=secret).webhooks


@pytest.mark.parametrize("secret", [SECRET, "any other text, as long as it is long enough"])
def test_the_sdk_knows_our_signature(secret):
    event = sdk(secret).unwrap(BODY, Signer(secret).headers("evt_1", time.time(), BODY))
    assert (event.type, event.id, event.data.id) == ("batch.completed", "evt_1", "batch_1")


def test_the_sdk_unwraps_events_that_only_we_have():
    body = json.dumps({**EVENT, "type": "job.completed", "data": {"id": "job_1", "x": 1}}).encode()
    event = sdk(SECRET).unwrap(body, Signer(SECRET).headers("evt_1", time.time(), body))
    assert (event.type, event.data.id, event.data.x) == ("job.completed", "job_1", 1)


def test_the_sdk_refuses_what_was_changed_or_signed_by_another():
    now = time.time()
    headers = Signer(SECRET).headers("evt_1", now, BODY)
    other = Signer("some other text that is long enough").headers("evt_1", now, BODY)
    renamed = {**headers, "webhook-id": "evt_2"}
    late = Signer(SECRET).headers("evt_1", now - 3600, BODY)
    for given, body in ((headers, BODY + b" "), (other, BODY), (renamed, BODY), (late, BODY)):
        with pytest.raises(openai.InvalidWebhookSignatureError):
            sdk(SECRET).unwrap(body, given)


@pytest.mark.parametrize("secret", ["", "short", "whsec_", "whsec_c2hvcnQ=", "whsec_!" + "a" * 44])
def test_a_secret_that_protects_nothing_is_refused(secret):
    with pytest.raises(ConfigurationError, match="ONEBOX_WEBHOOK_SECRET"):
        Signer(secret)


def test_a_secret_that_was_not_configured_is_made_once(tmp_path):
    made = webhook_secret(None, tmp_path)
    assert webhook_secret(None, tmp_path) == made
    assert len(base64.b64decode(made.removeprefix("whsec_"), validate=True)) == 32
    sdk(made).unwrap(BODY, Signer(made).headers("evt_1", time.time(), BODY))
    if os.name != "nt":
        assert stat.S_IMODE((tmp_path / SECRET_FILE).stat().st_mode) == 0o600


def test_a_configured_secret_is_used_and_not_written_down(tmp_path):
    assert webhook_secret(SecretStr(SECRET), tmp_path) == SECRET
    assert list(tmp_path.iterdir()) == []
