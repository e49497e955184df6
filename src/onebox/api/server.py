"""Serving: the listening socket, the start-up text, and a shutdown that loses no answer."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import signal
import socket
import sys
import time
from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI

from onebox.api.openai.live import MAX_MESSAGE_BYTES
from onebox.bootstrap import Services
from onebox.core.errors import AppError
from onebox.core.hosts import is_loopback

log = structlog.get_logger(__name__)

GIB = 1024**3
KEEP_ALIVE_S = 75
# Beyond the grace time: for answers that say "shutting down" to get out.
ANSWER_MARGIN_S = 5
# What uvicorn says of every WebSocket that was refused with a status.
REFUSED = "ASGI callable returned without completing handshake."
EXAMPLE_PROMPT = "a red circle on a blue background"


class OneboxServer(uvicorn.Server):
    """uvicorn, which drains before it closes its socket.

    Meanwhile probes, the status and jobs are answered, new work is refused with a word, and what
    cannot finish in time is answered instead of cut off. A second signal means: at once.
    """

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self._services = services
        self._announcing: asyncio.Task[None] | None = None
        self._signal: int | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            # The code and the routes stay: the collector need not look through them again.
            gc.collect()
            gc.freeze()
            gc.enable()
            # Threads that read long bodies must let the loop in between: the default is ten times
            # this.
            sys.setswitchinterval(0.0005)
            print(start_text(self._services, self._port()), flush=True)
            self._announcing = asyncio.create_task(self._announce_devices())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        log.info("shutting_down", signal=self._signal)
        services, settings = self._services, self._services.settings
        await services.drain.told(settings.drain_delay)
        end = time.monotonic() + settings.shutdown_grace
        # Jobs are given back, not waited for: they begin anew at the next start.
        await services.jobs.close()
        await services.preloader.close()
        # Both before the socket closes: then uvicorn cuts WebSockets off without a word.
        await asyncio.gather(
            services.drain.finish(max(0.0, end - time.monotonic())), services.live.close()
        )
        # For clients that read slowly: what is left of the time.
        left_s = max(0.0, end - time.monotonic()) + ANSWER_MARGIN_S
        self.config.timeout_graceful_shutdown = math.ceil(left_s)
        await super().shutdown(sockets)
        if self.force_exit:
            # uvicorn leaves it out then; but what is to be written must be.
            await self.lifespan.shutdown()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Not a line of log from here: the line that this interrupts holds the log's lock.
        self._signal = sig
        self._services.drain.begin()
        if self.should_exit:
            self.force_exit = True
        super().handle_exit(sig, frame)

    async def _announce_devices(self) -> None:
        """Say what the models run on, and loudly what is wrong with it, once a worker knows."""
        print(await device_text(self._services), flush=True)

    def _port(self) -> int:
        return int(self.servers[0].sockets[0].getsockname()[1])


def serve(app: FastAPI, services: Services) -> None:
    """Serve until told to stop."""
    settings = services.settings
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        # Whom to believe is the app's to say (ONEBOX_TRUSTED_PROXIES).
        proxy_headers=False,
        ws="websockets-sansio",
        ws_max_size=MAX_MESSAGE_BYTES,
        # Who sends faster than it can be heard is not read meanwhile, and its answer to a ping
        # neither. Sessions that fall silent are ended by the route.
        ws_ping_timeout=None,
        ws_per_message_deflate=False,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    logging.getLogger("uvicorn.error").addFilter(lambda record: record.msg != REFUSED)
    # uvicorn raises the signals again after its shutdown; a stop one asked for is no failure.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, lambda *_: None)
    OneboxServer(config, services).run()


def start_text(services: Services, port: int) -> str:
    """Address, key and one `curl` line to paste."""
    settings = services.settings
    host = settings.host if settings.host not in ("0.0.0.0", "::") else "127.0.0.1"
    address = f"http://{host}:{port}"
    lines = ["", f"  Onebox is listening on {address}  (API pages: {address}/docs)"]
    if services.generated_key and (is_loopback(settings.host) or sys.stdout.isatty()):
        lines.append(f"  API key: {services.generated_key}  (again with: python3 app.py keys show)")
        key = services.generated_key
    elif services.generated_key:
        # What is not a terminal is a log, which others than the owner may read.
        lines.append("  API key: a generated one, which `onebox keys show` prints")
        key = "$KEY"
    else:
        lines.append("  API key: the ones in your settings")
        key = "$KEY"
    if settings.cors_origins and "*" in settings.cors_origins and not is_loopback(settings.host):
        lines.append("  WARNING: CORS_ORIGINS=* lets any web page call this server")
    return "\n".join([*lines, "", *_example(services, address, key), ""])


def _example(services: Services, address: str, key: str) -> list[str]:
    """One `curl` line for a model that is there."""
    by_task = {task: entry.name for entry in services.registry.entries() for task in entry.tasks}
    head = f'-H "Authorization: Bearer {key}" -H "Content-Type: application/json"'
    if "text-to-image" not in by_task and "chat" in by_task:
        message = '[{"role": "user", "content": "Hello!"}]'
        return [
            f"  curl -s {address}/v1/chat/completions {head} \\",
            f"""    -d '{{"model": "{by_task["chat"]}", "messages": {message}}}'""",
        ]
    model = by_task.get("text-to-image", "MODEL")
    return [
        f"  curl -s {address}/v1/tasks/text-to-image {head} -H 'Accept: image/png' \\",
        f"""    -d '{{"model": "{model}", "prompt": "{EXAMPLE_PROMPT}"}}' -o picture.png""",
    ]


async def device_text(services: Services) -> str:
    """The devices of this server and what keeps better ones away. Waits for the first worker."""
    lines: list[str] = []
    try:
        await services.pool.wait_ready()
    except AppError as error:
        lines.append(f"  !!! NO DEVICE: {error.message}")
    for client in services.pool.clients:
        if client.hello is not None:
            device, gib = client.hello.device, client.hello.budget_bytes / GIB
            lines.append(
                f"  Models run on {device.id} ({device.name}) in {device.dtype}, "
                f"{gib:.1f} GiB for them"
            )
            lines += [f"  !!! {problem}" for problem in device.problems]
    return "\n".join([*lines, ""])
