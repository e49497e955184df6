"""`Connection`: one upstream over HTTP. Its key, time-outs, retries and bounds are here alone."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from onebox.core.errors import UpstreamFailed, UpstreamTimeout
from onebox.core.settings_upstreams import Upstream
from onebox.services.outgoing.breaker import CircuitBreaker, CircuitOpen
from onebox.services.outgoing.client import BadAnswer, create_http_client, read_answer
from onebox.services.outgoing.retrying import RetryPolicy, parse_retry_after, with_retries
from onebox.services.upstreams.chain import headers_along
from onebox.services.upstreams.failures import BadHead, error_of
from onebox.services.upstreams.sse import MAX_STREAM_BYTES, read_events

if TYPE_CHECKING:
    import httpx2

log = structlog.get_logger(__name__)

JSON = "application/json"
# Ten of the largest pictures, as base64.
MAX_ANSWER_BYTES = 256 * 1024 * 1024
MAX_PROBLEM_BYTES = 64 * 1024
# A secret shorter than this is no key, and hiding it would hide words.
MIN_SECRET_CHARS = 8


@dataclass(frozen=True, slots=True)
class Call:
    """One request: a body of JSON, of bytes, or a form.

    Attributes:
        files: of a form: field, file name, bytes and media type.
    """

    path: str
    json: Any = None
    content: bytes | None = None
    fields: Mapping[str, str | list[str]] | None = None
    files: Sequence[tuple[str, tuple[str, bytes, str]]] = ()
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    data: bytes
    media_type: str
    headers: Mapping[str, str]


class Connection:
    """Lives on the gateway's event loop, and connects when it is first used.

    Args:
        key: sent in the header `key_header`; it is in no log, message or repr.
        policy: how often to try again, and how to wait.
        retried: told of each further try.
        transport: instead of the network, for tests.
    """

    def __init__(
        self,
        upstream: Upstream,
        key: str | None,
        *,
        key_header: str = "Authorization",
        policy: RetryPolicy | None = None,
        breaker: CircuitBreaker | None = None,
        retried: Callable[[], None] = lambda: None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.name = upstream.name
        self._settings = upstream
        self._key = key
        self._key_header = key_header
        self._policy = policy or RetryPolicy(retries=upstream.retries)
        self._breaker = breaker or CircuitBreaker()
        self._retried = retried
        self._transport = transport
        self._client: httpx2.AsyncClient | None = None

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that no message may hold."""
        texts = (self._key or "", self._settings.url)
        return tuple(text for text in texts if len(text) >= MIN_SECRET_CHARS)

    async def json(self, call: Call) -> Any:
        """The JSON of an answer. Raises UpstreamFailed, UpstreamTimeout, InvalidInput, QueueFull,
        PayloadTooLarge.
        """
        return self.decoded((await self.whole(call)).data)

    async def whole(self, call: Call) -> Answer:
        """All of an answer. Raises as `json` does."""
        async with self._opened(call) as response:
            media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            data = await read_answer(response, max_bytes=MAX_ANSWER_BYTES)
            return Answer(data, media_type, response.headers)

    async def events(self, call: Call) -> AsyncGenerator[Any, None]:
        """The JSON of each server-sent event, up to `[DONE]` or the end. Raises as `json` does.

        Close it: that ends the request.
        """
        async with self._opened(call) as response:
            media_type = response.headers.get("content-type", "")
            if not media_type.startswith("text/event-stream"):
                raise self.useless("no stream of events")
            async for text in read_events(response.aiter_raw()):
                yield self.decoded(text)

    @contextlib.asynccontextmanager
    async def pieces(self, call: Call) -> AsyncIterator[tuple[Mapping[str, str], Any]]:
        """The head of an answer, and its bytes as they come. Raises as `json` does."""
        async with self._opened(call) as response:
            yield response.headers, bounded(response.aiter_raw())

    def decoded(self, data: bytes) -> Any:
        try:
            return msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise self.useless("no valid JSON") from None

    def useless(self, what: str) -> UpstreamFailed:
        """The error for an answer that nobody can use."""
        return UpstreamFailed(f"the upstream {self.name} answered with {what}")

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    @contextlib.asynccontextmanager
    async def _opened(self, call: Call) -> AsyncIterator[httpx2.Response]:
        """The answer once its head is there, with a status of 2xx: until then it is retried.

        What the library says of an error goes nowhere: it may hold the address.
        """
        import httpx2

        try:
            with self._breaker.passage(_is_down):
                response = await with_retries(
                    lambda: self._head(call), self._policy, retried=self._note
                )
                try:
                    yield response
                finally:
                    await response.aclose()
        except CircuitOpen as error:
            raise UpstreamFailed(
                f"the upstream {self.name} keeps failing and is left alone for a while",
                retry_after_s=error.retry_after_s,
            ) from None
        except BadHead as error:
            raise UpstreamFailed(
                f"the upstream {self.name} answered with the status {error.status}",
                retry_after_s=error.retry_after_s,
            ) from None
        except BadAnswer:
            raise self.useless("more than it may, or compressed") from None
        except httpx2.ReadTimeout:
            raise self._late() from None
        except httpx2.TransportError as error:
            log.warning("upstream_unreachable", upstream=self.name, error=type(error).__name__)
            raise UpstreamFailed(
                f"the upstream {self.name} cannot be reached, or broke off"
            ) from None

    async def _head(self, call: Call) -> httpx2.Response:
        """Raises BadHead and httpx2.TransportError for what may be tried again."""
        import httpx2

        client = self._connected()
        headers = {**headers_along(), **(call.headers or {})}
        content, files = call.content, None
        if call.json is not None:
            content, headers["Content-Type"] = msgspec.json.encode(call.json), JSON
        elif call.fields is not None:
            # A form is one of files, even where it has none.
            files = [*_parts(call.fields), *call.files]
        url = self._settings.url + call.path
        request = client.build_request("POST", url, content=content, files=files, headers=headers)
        try:
            response = await client.send(request, stream=True)
        except httpx2.ReadTimeout:
            # The work may go on there, and done again it would take as long.
            raise self._late() from None
        if 200 <= response.status_code < 300:
            return response
        try:
            body = await _beginning(response)
        finally:
            await response.aclose()
        retry_after_s = parse_retry_after(response.headers.get("retry-after"))
        raise error_of(self.name, response.status_code, body, retry_after_s, self.secrets)

    def _connected(self) -> httpx2.AsyncClient:
        if self._client is None:
            settings = self._settings
            headers = {}
            if self._key is not None:
                bearer = self._key_header == "Authorization"
                headers[self._key_header] = f"Bearer {self._key}" if bearer else self._key
            self._client = create_http_client(
                connect_s=settings.connect_timeout,
                read_s=settings.read_timeout,
                write_s=settings.write_timeout,
                connections=settings.max_concurrent,
                headers=headers,
                transport=self._transport,
            )
        return self._client

    def _late(self) -> UpstreamTimeout:
        limit_s = self._settings.read_timeout
        return UpstreamTimeout(f"the upstream {self.name} sent nothing for {limit_s:g} s")

    def _note(self, error: Exception) -> None:
        log.info("upstream_retried", upstream=self.name, error=type(error).__name__)
        self._retried()


async def bounded(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Raises BadAnswer for an answer without end."""
    count = 0
    async for piece in pieces:
        count += len(piece)
        if count > MAX_STREAM_BYTES:
            raise BadAnswer("the answer does not end")
        yield piece


async def _beginning(response: httpx2.Response) -> bytes:
    """Of an answer that says what went wrong."""
    found = b""
    async for piece in response.aiter_raw():
        found += piece
        if len(found) >= MAX_PROBLEM_BYTES:
            break
    return found[:MAX_PROBLEM_BYTES]


def _parts(fields: Mapping[str, str | list[str]]) -> list[tuple[str, Any]]:
    """Of a form."""
    every = [
        (name, value)
        for name, values in fields.items()
        for value in (values if isinstance(values, list) else [values])
    ]
    return [(name, (None, value)) for name, value in every]


def _is_down(error: Exception) -> bool:
    """Whether an error is the server's, and not about the one request."""
    import httpx2

    return isinstance(error, httpx2.TransportError | BadHead | UpstreamTimeout)
