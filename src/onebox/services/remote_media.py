"""Fetches media that a client names by a link, where the operator allows it. Off by default."""

from __future__ import annotations

import http.client
from collections.abc import Sequence

from onebox.core.errors import InvalidInput
from onebox.core.media import MediaRef
from onebox.services import deferral
from onebox.services.remote_call import TIMEOUT_S, Call, Connect, RemoteCalls, Resolve, Unreachable
from onebox.services.remote_link import parse_link

THREADS = 4
HEADERS = {"Accept": "image/*"}


class RemoteMedia:
    """Safe for many requests at once.

    Args:
        enabled: whether anything is fetched at all.
        hosts: names, or `name:port`, that may be private, plain http and on any port.
        resolve, connect: as for RemoteCalls.
    """

    def __init__(
        self,
        *,
        enabled: bool,
        hosts: Sequence[str] = (),
        timeout_s: float = TIMEOUT_S,
        resolve: Resolve | None = None,
        connect: Connect | None = None,
    ) -> None:
        self._enabled = enabled
        self._hosts = frozenset(host.lower() for host in hosts)
        self._calls = RemoteCalls(
            "remote-media", threads=THREADS, timeout_s=timeout_s, resolve=resolve, connect=connect
        )

    async def fetch(self, url: str, param: str, *, max_bytes: int) -> MediaRef:
        """Raises InvalidInput, with that param, whatever went wrong."""
        known = deferral.fetched(url)
        if known is None:
            known = await self._fetched(url, param, max_bytes)
            deferral.keep_fetched(url, known)
        return known

    def close(self) -> None:
        self._calls.close()

    async def _fetched(self, url: str, param: str, max_bytes: int) -> MediaRef:
        if not self._enabled:
            raise InvalidInput(
                "links to pictures are off on this server; send a data URL "
                "(data:image/png;base64,…), or set ONEBOX_REMOTE_MEDIA=true",
                param=param,
            )
        link = parse_link(url, self._hosts, param, setting="ONEBOX_REMOTE_MEDIA_HOSTS")

        def read(answer: http.client.HTTPResponse) -> MediaRef:
            return _read(answer, param, max_bytes)

        try:
            return await self._calls.send(link, Call("GET", HEADERS), read, param=param)
        except Unreachable:
            raise InvalidInput(f"nothing could be fetched from {link.host}", param=param) from None


def _read(answer: http.client.HTTPResponse, param: str, max_bytes: int) -> MediaRef:
    if answer.status != 200:
        why = "redirects are not followed" if answer.status // 100 == 3 else "it must be 200"
        raise InvalidInput(f"the link answered with status {answer.status}; {why}", param=param)
    media_type = answer.headers.get_content_type()
    if not media_type.startswith("image/") or answer.headers.get("Content-Encoding"):
        raise InvalidInput(f"the link gave {media_type[:64]}, not a picture", param=param)
    data = answer.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise InvalidInput(
            f"the link gave more than {max_bytes} bytes", param=param, details={"max": max_bytes}
        )
    if answer.length:
        raise http.client.IncompleteRead(data, answer.length)
    return MediaRef(media_type=media_type, data=data)
