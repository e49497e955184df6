"""A bare FastAPI route under uvicorn, with the server settings of Onebox: a peer of `wire` and
`load`.

python -m benchmarks.bare_app PORT
"""

from __future__ import annotations

import asyncio
import sys

import uvicorn
from fastapi import FastAPI  # noqa: TID251  # a peer, no part of Onebox
from pydantic import BaseModel

KEEP_ALIVE_S = 75


class Echo(BaseModel):
    text: str = ""


class Steps(BaseModel):
    steps: int = 1
    step_s: float = 0.0


def create_app() -> FastAPI:
    app = FastAPI()

    @app.post("/echo")
    async def echo(body: Echo) -> Echo:
        return body

    @app.post("/steps")
    async def steps(body: Steps) -> Steps:
        await asyncio.sleep(body.steps * body.step_s)
        return body

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    return app


def main() -> None:
    uvicorn.run(
        create_app(),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
    )


if __name__ == "__main__":
    main()
