"""Requests that are carried out later: `Prefer: respond-async`, or `background=true` in the body.

Their routes run until the work would begin (services/deferral.py), and a job is answered.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import msgspec
from fastapi import Request, Response
from starlette.datastructures import FormData, UploadFile
from starlette.types import ASGIApp, Receive, Scope, Send

from onebox.api.body_size import QUICK_BYTES
from onebox.api.job_options import idempotency_key
from onebox.api.native.job_answer import job_response
from onebox.api.sse import EventStream
from onebox.bootstrap import Services
from onebox.core.errors import InvalidInput
from onebox.services import deferral
from onebox.services.deferral import Deferred, Recording
from onebox.services.deferred_requests import RECORDER
from onebox.services.form_bodies import Part, encoded_form
from onebox.services.in_process import CALLER, Asked

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

KEY = "onebox.wish"
# Routes with a meaning of their own for the flag.
OWN_FLAG = frozenset({"/v1/responses"})
RESPOND_ASYNC = "respond-async"
# In a value of a preference: no comma in there ends it.
QUOTED = re.compile(r'"[^"]*"')
FLAG = "background"
QUOTED_FLAG = b'"background"'
# Of the flag as JSON, and whether the request is deferred. Texts are a picture's background.
FLAGS = {b"true": True, b"false": False, b"null": False}
FORM_FLAGS = {"true": True, "false": False}

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Wish:
    """Whether one request is to be carried out later, and what has to be kept of it then.

    Attributes:
        keeps_flag: its route has a meaning of its own for `background`, which comes first.
        is_replayed: it is later already, whatever it says.
        by_header: it was asked for by `Prefer`.
        recording: of its route; None: it is answered as usual.
        media_type: of the body, without the flag.
    """

    __slots__ = ("body", "by_header", "is_replayed", "keeps_flag", "media_type", "recording")

    def __init__(
        self, *, by_header: bool, is_recorded: bool, is_replayed: bool, keeps_flag: bool
    ) -> None:
        self.by_header = by_header
        self.is_replayed = is_replayed
        self.keeps_flag = keeps_flag
        self.recording: Recording | None = None
        self.body = b""
        self.media_type = ""
        if by_header or is_recorded:
            self._begin()

    def json_without_flag(self, body: bytes) -> bytes:
        """Raises nothing: a body that is no object is for its route to refuse."""
        try:
            fields = _fields.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return body
        wanted = FLAGS.get(bytes(fields.get(FLAG, b"")).strip())
        if wanted is None:
            return body
        if self.keeps_flag:
            if wanted:
                self._forget()
            return body
        del fields[FLAG]
        if wanted:
            self._begin()
        return msgspec.json.encode(fields)

    def form_without_flag(self, form: FormData) -> FormData:
        flag = form.get(FLAG)
        wanted = FORM_FLAGS.get(flag.lower()) if isinstance(flag, str) else None
        if wanted is None:
            return form
        if wanted:
            self._begin()
        return FormData([(name, value) for name, value in form.multi_items() if name != FLAG])

    def _begin(self) -> None:
        if self.recording is None and not self.is_replayed:
            self.recording = Recording()
            deferral.begin(self.recording)

    def _forget(self) -> None:
        self.recording = None
        deferral.begin(None)


def look_for_wish(request: Request) -> None:
    """Call before anything of the request is read."""
    prefer = request.headers.getlist("prefer")
    is_own, is_recorded = CALLER in request.scope, RECORDER in request.scope
    request.scope[KEY] = Wish(
        by_header=bool(prefer) and _prefers_later(prefer),
        is_recorded=is_recorded,
        is_replayed=is_own and not is_recorded,
        # What is later in any case cannot mean anything else by it.
        keeps_flag=request.scope["path"] in OWN_FLAG and not is_own,
    )


def deferring(handler: Handler) -> ASGIApp:
    """The app of a route, which answers with a job when that was wished for."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        try:
            response = await handler(request)
            _refuse_stream(scope[KEY], response)
            await response(scope, receive, send)
        except Deferred:
            wish: Wish = scope[KEY]
            assert wish.recording is not None
            if RECORDER in scope:
                scope[RECORDER](wish.recording)
                response = Response(status_code=202)
            else:
                response = await _accepted(request, wish, wish.recording)
            await response(scope, receive, send)
        finally:
            # Whoever called the app may send other requests from the same task.
            if KEY in scope and scope[KEY].recording is not None:
                deferral.begin(None)

    return app


def wish_of(request: Request) -> Wish | None:
    """None for routes that are never deferred."""
    wish: Wish | None = request.scope.get(KEY)
    return wish


async def read_wish(request: Request, body: bytes) -> bytes:
    """A JSON body without what it says of that."""
    wish = wish_of(request)
    if wish is None:
        return body
    if QUOTED_FLAG in body:
        if len(body) <= QUICK_BYTES:
            body = wish.json_without_flag(body)
        else:
            body = await asyncio.to_thread(wish.json_without_flag, body)
    if wish.recording is not None:
        wish.body, wish.media_type = body, request.headers.get("content-type", "")
    return body


async def read_form_wish(request: Request, form: FormData) -> FormData:
    """A form without what it says of that."""
    wish = wish_of(request)
    if wish is None:
        return form
    form = wish.form_without_flag(form)
    if wish.recording is not None:
        parts = [await _part(name, value) for name, value in form.multi_items()]
        wish.body, wish.media_type = await asyncio.to_thread(encoded_form, parts)
    return form


def _prefers_later(prefer: list[str]) -> bool:
    """Of all `Prefer` headers of a request: preferences with values and parameters (RFC 7240)."""
    preferences = QUOTED.sub("", ",".join(prefer)).lower().split(",")
    return any(re.split("[;=]", one)[0].strip() == RESPOND_ASYNC for one in preferences)


def _refuse_stream(wish: Wish, response: Response) -> None:
    """Raises InvalidInput for an answer that would come while it is made."""
    if wish.recording is not None and isinstance(response, EventStream):
        raise InvalidInput(
            "an answer as events cannot be had later; leave out stream=true, or ask for it now: "
            "without background=true and Prefer: respond-async",
            param="stream",
        )


async def _accepted(request: Request, wish: Wish, recording: Recording) -> Response:
    services: Services = request.app.state.services
    job = await services.deferred.new_job(_asked(request, wish), recording, request.state.caller.id)
    key = idempotency_key(request)
    if key is not None:
        fingerprint = await asyncio.to_thread(_fingerprint, request, wish)
        job = replace(job, idempotency_key=key, fingerprint=fingerprint)
    (stored,) = await services.jobs.submit([job])
    applied = {"Preference-Applied": "respond-async"} if wish.by_header else None
    return job_response(services, stored, status_code=202, headers=applied)


def _asked(request: Request, wish: Wish) -> Asked:
    scope = request.scope
    return Asked(
        path=scope["path"],
        body=wish.body,
        media_type=wish.media_type,
        accept=request.headers.get("accept", "*/*"),
        query=scope["query_string"].decode("latin-1"),
        host=request.headers.get("host", "localhost"),
        scheme=scope["scheme"],
        root_path=scope.get("root_path", ""),
    )


def _fingerprint(request: Request, wish: Wish) -> str:
    head = f"{request.scope['path']}\n{wish.media_type}\n"
    return hashlib.sha256(head.encode() + wish.body).hexdigest()


async def _part(name: str, value: UploadFile | str) -> Part:
    if isinstance(value, str):
        return Part(name, value.encode())
    content = await value.read()
    await value.seek(0)
    return Part(name, content, value.filename or "file", value.content_type)
