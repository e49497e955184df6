"""Pictures fetched from links, from a host that is the other end of a pair of sockets."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from onebox.core.errors import InvalidInput
from onebox.core.media import MediaRef
from onebox.services.remote_link import Link
from onebox.services.remote_media import RemoteMedia

PUBLIC = "93.184.216.34"
URL = "https://example.org/a.png?x=1"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/png; charset=x\r\n"
PICTURE = HEAD + b"Content-Length: 4\r\n\r\nabcd"


class Host:
    """Says its piece to whoever connects; notes what it was asked, and by which address."""

    def __init__(self, *pieces: bytes, stays: bool = False) -> None:
        self.pieces = pieces
        self.stays = stays
        self.connected: list[tuple[str, str, int]] = []
        self.asked = b""
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []

    def connect(self, address: str, link: Link, timeout_s: float) -> socket.socket:
        self.connected.append((address, link.host, link.port))
        ours, theirs = socket.socketpair()
        theirs.settimeout(timeout_s)
        self._sockets += [ours, theirs]
        thread = threading.Thread(target=self._speak, args=(ours,))
        thread.start()
        self._threads.append(thread)
        return theirs

    def _speak(self, connection: socket.socket) -> None:
        self.asked = connection.recv(65536)
        try:
            for piece in self.pieces:
                connection.sendall(piece)
            while self.stays and connection.recv(1):
                pass
        except OSError:
            pass
        connection.close()

    def close(self) -> None:
        for thread in self._threads:
            thread.join()
        for connection in self._sockets:
            connection.close()


class Names:
    """Resolves every name to the next answer of a list."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append((host, port))
        return self.answers.pop(0)


@pytest.fixture
def hosts() -> Iterator[Callable[..., Host]]:
    made: list[Host] = []

    def make(*pieces: bytes, stays: bool = False) -> Host:
        made.append(Host(*pieces, stays=stays))
        return made[-1]

    yield make
    for host in made:
        host.close()


def fetch(
    host: Host,
    url: str = URL,
    *,
    names: Names | None = None,
    allowed: tuple[str, ...] = (),
    max_bytes: int = 100,
    timeout_s: float = 30.0,
) -> MediaRef:
    media = RemoteMedia(
        enabled=True,
        hosts=allowed,
        timeout_s=timeout_s,
        resolve=names or Names([PUBLIC]),
        connect=host.connect,
    )
    try:
        return asyncio.run(media.fetch(url, "place", max_bytes=max_bytes))
    finally:
        media.close()


def refused(host: Host, **given) -> str:
    with pytest.raises(InvalidInput) as caught:
        fetch(host, **given)
    assert caught.value.param == "place"
    return caught.value.message


def test_a_picture(hosts):
    host = hosts(PICTURE)
    media = fetch(host)
    assert (media.media_type, media.data) == ("image/png", b"abcd")
    assert host.connected == [(PUBLIC, "example.org", 443)]
    line, *headers = host.asked.decode().split("\r\n")
    assert line == "GET /a.png?x=1 HTTP/1.1"
    assert [header for header in headers if header.startswith("Host:")] == ["Host: example.org"]
    assert not any("authorization" in header.lower() for header in headers)


def test_a_picture_of_unknown_length(hosts):
    assert fetch(hosts(HEAD + b"\r\n", b"ab", b"cd")).data == b"abcd"
    chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n"
    assert fetch(hosts(chunked)).data == b"abcd"


def test_nothing_is_fetched_when_it_is_off(hosts):
    media = RemoteMedia(enabled=False, resolve=Names(), connect=hosts().connect)
    with pytest.raises(InvalidInput, match="ONEBOX_REMOTE_MEDIA"):
        asyncio.run(media.fetch(URL, "place", max_bytes=100))
    media.close()


@pytest.mark.parametrize(
    "found", [["127.0.0.1"], ["169.254.169.254"], [PUBLIC, "10.0.0.1"], ["::ffff:10.0.0.1"], []]
)
def test_a_name_that_leads_inside_is_not_connected_to(hosts, found):
    host = hosts()
    refused(host, names=Names(found))
    assert host.connected == []


def test_a_name_that_changes_its_mind_is_asked_once(hosts):
    host, names = hosts(PICTURE), Names([PUBLIC], ["127.0.0.1"])
    fetch(host, names=names)
    assert names.asked == [("example.org", 443)]
    assert [address for address, *_ in host.connected] == [PUBLIC]


def test_a_host_that_the_operator_named_may_be_inside(hosts):
    host = hosts(PICTURE)
    allowed = ("Files.internal",)
    url = "http://files.internal:8080/a"
    assert fetch(host, url=url, allowed=allowed, names=Names(["10.0.0.1"])).data == b"abcd"
    assert host.connected == [("10.0.0.1", "files.internal", 8080)]


@pytest.mark.parametrize("status", [b"301 Moved", b"302 Found", b"307 Again", b"308 Moved"])
def test_redirects_are_not_followed(hosts, status):
    host = hosts(b"HTTP/1.1 " + status + b"\r\nLocation: https://example.org/b\r\n\r\n")
    assert "redirects" in refused(host)
    assert len(host.connected) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 No\r\nContent-Type: image/png\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 206 Part\r\nContent-Type: image/png\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
        HEAD + b"Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
        HEAD + b"Content-Length: 5\r\n\r\nabcd",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n9\r\nab",
        HEAD + b"Content-Length: 101\r\n\r\n" + b"x" * 101,
        HEAD + b"\r\n" + b"x" * 101,
        HEAD + b"X: " + b"x" * 70_000 + b"\r\n\r\n",
        HEAD + b"".join(b"X%d: x\r\n" % n for n in range(200)) + b"\r\n",
        b"\x00\x01\x02",
        b"",
    ],
    ids=lambda answer: repr(answer[:60]),
)
def test_other_answers_are_no_pictures(hosts, answer):
    refused(hosts(answer))


def test_a_host_that_keeps_silent_is_left(hosts):
    refused(hosts(HEAD, stays=True), timeout_s=0.05)


def test_what_goes_wrong_below_is_not_told(hosts):
    def broken(*_: object) -> socket.socket:
        raise ConnectionRefusedError("10.9.8.7 port 22")

    host = hosts()
    host.connect = broken
    assert "10.9.8.7" not in refused(host)
