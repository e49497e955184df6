"""Batches, as OpenAI's client asks for them and reads what came of them."""

from __future__ import annotations

import json
from typing import Any

import openai

from onebox.services.access.caller import Caller
from tests.unit.api.later import Later

EMBEDDINGS = "/v1/embeddings"
CHAT = "/v1/chat/completions"
PICTURES = "/v1/images/generations"
HOURS = 3600
EVERYBODY = Caller("an admin", frozenset({"admin"}))


def line(custom_id: str, url: str = EMBEDDINGS, **body: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def embedding(custom_id: str, text: str = "x", **body: Any) -> dict[str, Any]:
    return line(custom_id, input=text, **body)


class Client:
    """Of a server that carries batches out."""

    def __init__(self, later: Later) -> None:
        self.later = later
        self.sdk = openai.AsyncOpenAI(
            base_url="http://testserver/v1",
            api_key="user-key",
            max_retries=0,
            http_client=later.client,
        )

    async def upload(self, *lines: dict[str, Any] | bytes, purpose: Any = "batch") -> str:
        texts = [it if isinstance(it, bytes) else json.dumps(it).encode() for it in lines]
        file = ("requests.jsonl", b"\n".join(texts) + b"\n")
        return (await self.sdk.files.create(file=file, purpose=purpose)).id

    async def begin(self, *lines: dict[str, Any] | bytes, url: Any = EMBEDDINGS) -> str:
        batch = await self.sdk.batches.create(
            input_file_id=await self.upload(*lines), endpoint=url, completion_window="24h"
        )
        assert batch.status == "validating"
        return batch.id

    async def ended(self, batch_id: str) -> Any:
        await self.later.batches.finished(batch_id)
        return await self.sdk.batches.retrieve(batch_id)

    async def run(self, *lines: dict[str, Any] | bytes, url: Any = EMBEDDINGS) -> Any:
        return await self.ended(await self.begin(*lines, url=url))

    async def lines(self, file_id: str | None) -> dict[str, dict[str, Any]]:
        """Of a file that a batch made, by their own ids."""
        if file_id is None:
            return {}
        content = await self.sdk.files.content(file_id)
        told = [json.loads(text) for text in content.text.splitlines()]
        return {it["custom_id"]: it for it in told}
