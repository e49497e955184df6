"""Videos as jobs, and OpenAI's client for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx2
import openai

from onebox.bootstrap import Services
from onebox.services.jobs.job import Job
from tests.unit.api.working import Working, app_with_jobs, job

T = TypeVar("T")
ID = "video_" + "0" * 26
VIDEOS = "/v1/videos"
PROMPT = "a red circle moving right"
PUBLIC = {
    "prompt": PROMPT,
    "seconds": "2.125",
    "size": "320x192",
    "seed": 7,
    "num_frames": 17,
    "fps": 8,
    "remixed_from_video_id": None,
}


def video(**facts: Any) -> Job:
    """One that waits."""
    return job(id=ID, task="text-to-video", surface="video", public=PUBLIC, **facts)


def with_sdk(services: Services, working: Working, use: Callable[..., Awaitable[T]]) -> T:
    async def run() -> T:
        transport = httpx2.ASGITransport(app_with_jobs(services, working))
        http = httpx2.AsyncClient(transport=transport)
        client = openai.AsyncOpenAI(
            base_url="http://testserver/v1", api_key="user-key", max_retries=0, http_client=http
        )
        async with client:
            return await use(client)

    return asyncio.run(run())
