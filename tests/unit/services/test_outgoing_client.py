"""The client for servers that the operator named, against a real one on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx2
import pytest

from onebox.services.outgoing.client import BadAnswer, create_http_client, read_answer
from tests.support.backend import HUGE, PACKED, Backend, BlackHole, Reply, closed_port, moved, said


@pytest.fixture
def backend() -> Iterator[Backend]:
    with Backend() as made:
        yield made


async def get(client: httpx2.AsyncClient, url: str, max_bytes: int = 1000) -> tuple[int, bytes]:
    async with client.stream("GET", url) as response:
        return response.status_code, await read_answer(response, max_bytes=max_bytes)


def fetch(url: str, **kwargs: object) -> tuple[int, bytes]:
    async def run() -> tuple[int, bytes]:
        async with create_http_client(**kwargs) as client:
            return await get(client, url)

    return asyncio.run(run())


def test_an_answer_is_read_whole(backend):
    backend.usual = said({"a": 1})
    assert fetch(backend.url()) == (200, b'{"a": 1}')


def test_a_redirect_is_not_followed_so_that_no_key_goes_elsewhere(backend):
    with Backend(said("stolen")) as elsewhere:
        backend.usual = moved(elsewhere.url())
        assert fetch(backend.url(), headers={"X-Key": "secret"}) == (307, b"")
        assert elsewhere.received == []


def test_a_proxy_of_the_environment_is_not_asked(backend, monkeypatch):
    with Backend(Reply(body=b"from the proxy")) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url(""))
        backend.usual = Reply(body=b"direct")
        assert fetch(backend.url()) == (200, b"direct")
        assert proxy.received == []


def test_a_password_of_a_netrc_file_is_not_sent(backend, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    fetch(backend.url())
    assert "authorization" not in backend.received[0].headers


def test_a_cookie_of_one_request_is_not_sent_with_the_next(backend):
    backend.usual = Reply(headers={"Set-Cookie": "session=of-somebody; Path=/"})

    async def twice() -> None:
        async with create_http_client() as client:
            await get(client, backend.url())
            await get(client, backend.url())

    asyncio.run(twice())
    assert "cookie" not in backend.received[1].headers


def test_it_asks_for_answers_that_are_not_compressed(backend):
    fetch(backend.url())
    assert backend.received[0].headers["accept-encoding"] == "identity"


def test_a_compressed_answer_is_refused_unread(backend):
    backend.usual = PACKED
    with pytest.raises(BadAnswer, match="compressed"):
        fetch(backend.url())


def test_an_answer_without_end_is_not_read_to_its_end(backend):
    backend.usual = HUGE
    with pytest.raises(BadAnswer, match="more than 1000 bytes"):
        fetch(backend.url())


def test_an_answer_of_just_the_limit_is_read(backend):
    backend.usual = Reply(body=b"a" * 1000)
    assert fetch(backend.url()) == (200, b"a" * 1000)


def test_a_server_that_never_answers_is_a_timeout():
    hole = BlackHole()
    with pytest.raises(httpx2.ReadTimeout):
        fetch(hole.url, read_s=0.05)
    hole.close()


def test_a_server_that_is_not_there_is_an_error_of_the_network():
    with pytest.raises(httpx2.ConnectError):
        fetch(f"http://127.0.0.1:{closed_port()}/")
