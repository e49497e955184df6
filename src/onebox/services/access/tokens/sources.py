"""Where the public keys of who signs tokens come from: a file, or a link of an identity provider.

Fresh ones are looked for in the background, and once more when a token names a key that is not
known. When that fails, those that are known stay.
"""

from __future__ import annotations

import asyncio
import stat
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import structlog

from onebox.core.errors import ConfigurationError
from onebox.core.hosts import is_loopback
from onebox.services.access.tokens.signers import BadKeySet, KeySet, decode_document, parse_key_set
from onebox.services.loops import stop_loop
from onebox.services.outgoing.client import create_http_client, read_answer
from onebox.services.outgoing.retrying import check_status

if TYPE_CHECKING:
    import httpx2

log = structlog.get_logger(__name__)

FILE_EVERY_S = 1.0
# Tokens with invented ids of keys must not make us ask all the time.
UNKNOWN_EVERY_S = 10.0
# For all that one look at a link takes.
FETCH_S = 15.0
MAX_FILE_BYTES = 1024 * 1024
OPENID = "jwks_uri"


@dataclass(frozen=True, slots=True)
class Found:
    """A key set as JSON, and who signs by it, where an OpenID configuration says that."""

    document: dict[str, Any]
    issuer: str | None = None


class Source(Protocol):
    """Where key sets come from. `every_s`: how often to look."""

    every_s: float

    async def read(self) -> Found | None:
        """None when nothing has changed. Raises whatever goes wrong."""

    async def close(self) -> None: ...


class Signers:
    """The keys as last found. Lives on the gateway's event loop.

    Attributes:
        keys: none before the first look.
        issuer: who signs, where the source says that.
    """

    def __init__(
        self,
        source: Source,
        algorithms: Collection[str],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.keys = KeySet()
        self.issuer: str | None = None
        self._source = source
        self._algorithms = algorithms
        self._clock = clock
        self._looking = asyncio.Lock()
        self._looked: float | None = None
        self._task: asyncio.Task[None] | None = None

    def take(self, found: Found) -> None:
        """Raises BadKeySet, and then keeps what was known."""
        self.keys = parse_key_set(found.document, self._algorithms)
        self.issuer = found.issuer

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="jwt-keys")

    async def close(self) -> None:
        if self._task is not None:
            await stop_loop(self._task)
        await self._source.close()

    async def learn(self, algorithm: str, kid: str | None) -> bool:
        """Look for a key that is not known; whether it is now. Not again at once."""
        if self.keys.find(algorithm, kid):
            return True
        async with self._looking:
            # Who waited here may find what the one before it looked for.
            if self._looked is None or self._clock() - self._looked >= UNKNOWN_EVERY_S:
                await self._look()
        return bool(self.keys.find(algorithm, kid))

    async def refresh(self) -> bool:
        """Look now; whether that went well."""
        async with self._looking:
            return await self._look()

    async def _look(self) -> bool:
        self._looked = self._clock()
        try:
            async with asyncio.timeout(FETCH_S):
                found = await self._source.read()
            if found is not None:
                # Numbers are made into keys: some milliseconds.
                await asyncio.to_thread(self.take, found)
        except Exception as error:
            # Not its text, which may quote what was answered.
            reason = str(error) if isinstance(error, BadKeySet) else type(error).__name__
            log.warning("jwt_keys_not_refreshed", reason=reason)
            return False
        return True

    async def _run(self) -> None:
        while True:
            ok = await self.refresh()
            every_s = self._source.every_s
            await asyncio.sleep(every_s if ok else min(every_s, UNKNOWN_EVERY_S))


class FileSource:
    """A key set in a file, read again when it changes."""

    every_s = FILE_EVERY_S

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[int, int, int] | None = None

    async def read(self) -> Found | None:
        return await asyncio.to_thread(self.read_now)

    def read_now(self) -> Found | None:
        found_now = self._path.stat()
        version = (found_now.st_mtime_ns, found_now.st_size, found_now.st_ino)
        if version == self._read:
            return None
        if not stat.S_ISREG(found_now.st_mode):
            # A pipe or a device may never come to an end.
            raise BadKeySet("it is no file")
        with self._path.open("rb") as file:
            body = file.read(MAX_FILE_BYTES + 1)
        if len(body) > MAX_FILE_BYTES:
            raise BadKeySet(f"it has more than {MAX_FILE_BYTES} bytes")
        found = Found(decode_document(body))
        self._read = version
        return found

    async def close(self) -> None:
        """Nothing is open."""


class LinkSource:
    """A key set behind a link, or behind the OpenID configuration that the link leads to.

    Args:
        issuer: what an OpenID configuration must name, if anything.
        create_client: makes the HTTP client, at first use.
    """

    def __init__(
        self,
        link: str,
        *,
        issuer: str | None,
        every_s: float,
        create_client: Callable[[], httpx2.AsyncClient] = create_http_client,
    ) -> None:
        self.every_s = every_s
        self._link = link
        self._issuer = issuer
        self._create_client = create_client
        self._client: httpx2.AsyncClient | None = None

    async def read(self) -> Found | None:
        document = await self._get(self._link)
        if OPENID not in document:
            return Found(document)
        issuer, link = document.get("issuer"), document[OPENID]
        if not isinstance(issuer, str) or not isinstance(link, str) or not is_safe_link(link):
            raise BadKeySet("the OpenID configuration names no issuer, or no https link to keys")
        if self._issuer is not None and issuer != self._issuer:
            raise BadKeySet("the OpenID configuration is of another issuer (ONEBOX_JWT_ISSUER)")
        return Found(await self._get(link), issuer)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def _get(self, link: str) -> dict[str, Any]:
        if self._client is None:
            self._client = self._create_client()
        async with self._client.stream("GET", link) as response:
            check_status(response.status_code, response.headers)
            return decode_document(await read_answer(response))


def create_signers(
    place: str, root: Path, algorithms: Collection[str], *, issuer: str | None, every_s: float
) -> Signers:
    """Of a file, whose keys are read at once, or of a link, which is asked after the start.

    Raises ConfigurationError.
    """
    if "://" in place:
        if not is_safe_link(place):
            raise ConfigurationError(
                "ONEBOX_JWT_KEYS must be a file or an https link (http only to this machine)"
            )
        return Signers(LinkSource(place, issuer=issuer, every_s=every_s), algorithms)
    source = FileSource(root / Path(place).expanduser())
    signers = Signers(source, algorithms)
    try:
        # The first time it is never the one that is known.
        if (found := source.read_now()) is not None:
            signers.take(found)
    except (OSError, BadKeySet) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigurationError(
            f"ONEBOX_JWT_KEYS={place} cannot be used: {reason}; name a JSON Web Key Set"
        ) from error
    return signers


def is_safe_link(link: str) -> bool:
    """https, or http that stays on this machine; without a password in it."""
    try:
        parts = urlsplit(link)
        host = parts.hostname or ""
    except ValueError:
        return False
    if not host or parts.username is not None:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
