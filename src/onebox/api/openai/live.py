"""`WS /v1/audio/transcriptions/live`: speech from a microphone, written down while it is spoken.

Binary messages are sound: 16 kHz, mono, 16 bits, little endian. Text messages are JSON: `commit`
and `close` one way; `session.created`, `transcript.partial`, `transcript.final`,
`transcript.committed`, `session.closed` and `error` the other.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any, Literal

import msgspec
import structlog
from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from onebox.api.errors import app_error_body, internal_error_body, located, shaped
from onebox.api.live_routing import LiveRoute, accepted_subprotocol
from onebox.audio.languages import code_of
from onebox.bootstrap import Services
from onebox.core.contracts import Priority
from onebox.core.errors import (
    AppError,
    DeadlineExceeded,
    InvalidInput,
    PayloadTooLarge,
    ShuttingDown,
)
from onebox.services.live_buffer import SAMPLING_RATE
from onebox.services.live_sessions import LiveSession
from onebox.services.live_transcription import LiveOptions, LiveTranscription
from onebox.services.request import Prepared

log = structlog.get_logger(__name__)

PATH = "/v1/audio/transcriptions/live"
# About half a minute of sound.
MAX_MESSAGE_BYTES = 1024 * 1024
# Seconds: without a message, in all, and for the last words to get out.
IDLE_S = 60.0
SESSION_S = 4 * 3600.0
FAREWELL_S = 5.0

# What the close frame says where it is not 1008 (the client's fault) or 1011 (ours).
CLOSE_CODES = {413: 1009, 429: 1013, 503: 1013, 504: 1008}
GOING_AWAY = 1001


class LiveQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(None, max_length=512)
    language: str | None = Field(None, max_length=100)
    prompt: str = Field("", max_length=4000)
    temperature: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    partial: bool = True
    priority: Priority = "interactive"


class Control(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["commit", "close"]


def create_router() -> APIRouter:
    router = APIRouter()
    router.routes.append(LiveRoute(PATH, transcribe_live))
    return router


async def transcribe_live(websocket: WebSocket) -> None:
    """What is wrong before the handshake is answered is raised, for an answer with a status."""
    services: Services = websocket.app.state.services
    caller = websocket.state.caller
    options = _options(websocket)
    live = LiveTranscription(services.inference, options, caller, _sender(websocket))
    with services.live.enter(caller.id, caller.allowance.max_concurrent) as session:
        prepared = await live.open()
        await websocket.accept(accepted_subprotocol(websocket))
        await _serve(websocket, live, session, _created(live, prepared, options))


def _options(websocket: WebSocket) -> LiveOptions:
    """Raises InvalidInput, RequestValidationError."""
    items = websocket.query_params.multi_items()
    for name, count in Counter(name for name, _ in items).items():
        if count > 1:
            raise InvalidInput(f"{name[:100]} was given twice", param=name[:100])
    try:
        query = LiveQuery.model_validate(dict(items))
    except ValidationError as error:
        raise located(error, "query") from error
    return LiveOptions(
        model=query.model or None,
        language=code_of(query.language) if query.language else None,
        prompt=query.prompt,
        temperature=query.temperature,
        partials=query.partial,
        priority=query.priority,
    )


def _created(live: LiveTranscription, prepared: Prepared, options: LiveOptions) -> dict[str, Any]:
    return {
        "type": "session.created",
        "session": {
            "id": live.id,
            "model": prepared.entry.name,
            "language": options.language,
            "partial": options.partials,
            "format": "pcm_s16le",
            "sampling_rate": SAMPLING_RATE,
            "channels": 1,
        },
    }


async def _serve(
    websocket: WebSocket, live: LiveTranscription, session: LiveSession, created: dict[str, Any]
) -> None:
    """To the session's end, which is told to the client if it is still there."""
    try:
        await _sender(websocket)(created)
        async with asyncio.timeout(SESSION_S):
            await _first_end(_read(websocket, live), live.run(), _leave(session))
        last, code = {"type": "session.closed", "duration": round(live.seconds, 3)}, 1000
    except WebSocketDisconnect:
        return
    except TimeoutError:
        error = DeadlineExceeded(f"a live session lasts {SESSION_S:.0f} s at most; open another")
        last, code = _error(websocket, error)
    except AppError as error:
        last, code = _error(websocket, error)
    except Exception:
        log.exception("unhandled_error")
        body = internal_error_body(websocket.scope["request_id"])
        last = {"type": "error", **shaped(body, websocket)}
        code = 1011
    await _say_goodbye(websocket, last, code)


async def _first_end(*works: Any) -> None:
    """Until one of them ends; the others are stopped. Raises what it raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task in done:
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _read(websocket: WebSocket, live: LiveTranscription) -> None:
    """Until the client leaves, which raises WebSocketDisconnect. Raises Unauthorized when its key
    has ended: a session is long enough to outlive it by hours.
    """
    keys = websocket.app.state.services.access.keys.index
    while True:
        try:
            async with asyncio.timeout(IDLE_S):
                message = await websocket.receive()
        except TimeoutError:
            if live.is_settling:
                continue
            raise DeadlineExceeded(
                f"nothing came for {IDLE_S:.0f} s; send sound, silence too, or close the session"
            ) from None
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        keys.caller(websocket.state.caller.id)
        if (sound := message.get("bytes")) is not None:
            _refuse_large(len(sound))
            await live.feed(sound)
        else:
            _obey(message.get("text") or "", live)


def _refuse_large(size: int) -> None:
    if size > MAX_MESSAGE_BYTES:
        raise PayloadTooLarge(
            f"a message of {size} bytes is larger than {MAX_MESSAGE_BYTES}; send smaller ones",
            details={"max": MAX_MESSAGE_BYTES, "received": size},
        )


def _obey(text: str, live: LiveTranscription) -> None:
    try:
        control = msgspec.json.decode(text, type=Control)
    except (msgspec.DecodeError, RecursionError):
        raise InvalidInput(
            'a text message must be {"type": "commit"} or {"type": "close"}', param="type"
        ) from None
    if control.type == "commit":
        live.commit()
    else:
        live.finish()


async def _leave(session: LiveSession) -> None:
    await session.told_to_leave.wait()
    raise ShuttingDown("the server is shutting down; connect again in a while")


def _error(websocket: WebSocket, error: AppError) -> tuple[dict[str, Any], int]:
    """The message that tells of it, and the close frame's code."""
    body = shaped(app_error_body(error, websocket), websocket)
    status = body["error"]["status"]
    code = CLOSE_CODES.get(status, 1008 if status < 500 else 1011)
    return {"type": "error", **body}, GOING_AWAY if isinstance(error, ShuttingDown) else code


async def _say_goodbye(websocket: WebSocket, message: dict[str, Any], code: int) -> None:
    """A client that does not read is not waited for."""
    try:
        async with asyncio.timeout(FAREWELL_S):
            await _sender(websocket)(message)
            await websocket.close(code)
    except (TimeoutError, WebSocketDisconnect):
        log.debug("live_client_gone")


def _sender(websocket: WebSocket) -> Any:
    async def send(message: dict[str, Any]) -> None:
        await websocket.send_text(msgspec.json.encode(message).decode())

    return send
