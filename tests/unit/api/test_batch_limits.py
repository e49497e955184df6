"""Lines of a batch are new requests: each is bound by what its caller may take."""

from __future__ import annotations

import json

import pytest

from onebox.services.access.caller import Allowance
from tests.unit.api.asking import ADMIN, ask
from tests.unit.api.batching import Client, embedding
from tests.unit.api.later import Later, with_server


def token(services, **claims) -> str:
    """Of a caller whose limits are claims."""
    import time

    from jose import jwt

    secret = services.settings.secret_key.get_secret_value()
    return jwt.encode({"sub": "ada", "exp": time.time() + 600, **claims}, secret, "HS256")


def stored(app, **limits) -> str:
    body = json.dumps({"name": "x", **limits}).encode()
    return json.loads(ask(app, "POST", "/v1/keys", ADMIN, body).body)["key"]


@pytest.mark.parametrize("kind", ["token", "stored key"])
def test_a_line_for_a_model_that_is_not_allowed_fails_alone(services, app, tmp_path, kind):
    if kind == "token":
        secret = token(services, onebox_models=["good"])
    else:
        secret = stored(app, models=["good"])

    async def use(later: Later):
        later.client.headers["authorization"] = f"Bearer {secret}"
        client = Client(later)
        client.sdk.api_key = secret
        batch = await client.run(
            embedding("1", "x", model="good"), embedding("2", "x", model="bad")
        )
        assert (batch.request_counts.completed, batch.request_counts.failed) == (1, 1)
        refused = (await client.lines(batch.error_file_id))["2"]
        assert refused["response"]["status_code"] == 403
        assert refused["response"]["body"]["error"]["code"] == "model_not_allowed"

    with_server(services, tmp_path, use)


def test_what_a_caller_could_take_is_kept_with_its_batch(services, tmp_path):
    secret = token(services, onebox_models=["good"], onebox_daily={"pictures": 2})

    async def use(later: Later):
        client = Client(later)
        plain = await client.begin(embedding("1", "x"))
        client.sdk.api_key = secret
        bound = await client.begin(embedding("1", "x", model="good"))
        admin = services.access.authenticator.authenticate(ADMIN["authorization"])
        assert (await later.batches.get(plain, admin)).allowance is None
        kept = (await later.batches.get(bound, admin)).allowance
        assert kept == Allowance(models=("good",), daily={"pictures": 2.0})
        for batch in (plain, bound):
            await later.batches.finished(batch)

    with_server(services, tmp_path, use)
