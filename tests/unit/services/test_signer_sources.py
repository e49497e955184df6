"""Where keys of identity providers come from: files that change, links that fail and rotate."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from onebox.core.errors import ConfigurationError
from onebox.services.access.tokens.sources import (
    UNKNOWN_EVERY_S,
    LinkSource,
    Signers,
    create_signers,
    is_safe_link,
)
from onebox.services.outgoing.client import create_http_client
from tests.unit.services.signing import ISSUER, public_jwk

LINK = "https://id.example/keys"
OPENID = "https://id.example/.well-known/openid-configuration"
ALGORITHMS = ("ES256",)


async def in_pieces(body: bytes) -> AsyncIterator[bytes]:
    """Such a body can be read as it comes, as one from the network."""
    yield body


class Provider:
    """An identity provider. `pages` are its answers by link; a status or text stands for itself."""

    def __init__(self) -> None:
        self.pages: dict[str, Any] = {LINK: {"keys": [public_jwk("ES256", "a")]}}
        self.asked: list[str] = []
        self.now = 0.0

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        link = str(request.url)
        self.asked.append(link)
        page = self.pages[link]
        if isinstance(page, int):
            return httpx2.Response(page)
        body = page if isinstance(page, str) else json.dumps(page)
        return httpx2.Response(200, content=in_pieces(body.encode()))

    def signers(self, link: str = LINK, issuer: str | None = None) -> Signers:
        transport = httpx2.MockTransport(self.answer)
        source = LinkSource(
            link,
            issuer=issuer,
            every_s=300,
            create_client=lambda: create_http_client(transport=transport),
        )
        return Signers(source, ALGORITHMS, clock=lambda: self.now)


def refreshed(signers: Signers) -> bool:
    return asyncio.run(signers.refresh())


def knows(signers: Signers, kid: str) -> bool:
    return bool(signers.keys.find("ES256", kid))


def test_keys_are_fetched_from_a_link():
    provider = Provider()
    signers = provider.signers()
    assert not knows(signers, "a")
    assert refreshed(signers)
    assert knows(signers, "a")
    assert signers.issuer is None


def test_an_openid_configuration_leads_to_the_keys_and_names_the_issuer():
    provider = Provider()
    provider.pages[OPENID] = {"issuer": ISSUER, "jwks_uri": LINK}
    signers = provider.signers(OPENID)
    assert refreshed(signers)
    assert (knows(signers, "a"), signers.issuer) == (True, ISSUER)


@pytest.mark.parametrize(
    "configuration",
    [
        {"issuer": "https://evil.example", "jwks_uri": LINK},
        {"issuer": ISSUER, "jwks_uri": "http://id.example/keys"},
        {"issuer": ISSUER, "jwks_uri": "file:///etc/passwd"},
        {"issuer": ISSUER, "jwks_uri": ["https://id.example/keys"]},
        {"jwks_uri": LINK},
        {"issuer": ISSUER},
    ],
    ids=str,
)
def test_a_configuration_that_does_not_fit_gives_no_keys(configuration):
    provider = Provider()
    provider.pages[OPENID] = configuration
    signers = provider.signers(OPENID, ISSUER)
    assert not refreshed(signers)
    assert not knows(signers, "a")


@pytest.mark.parametrize(
    "page", [500, 301, "no json", "[]", {"keys": []}, "[" * 100_000, "x" * (1024 * 1024 + 1)]
)
def test_known_keys_stay_when_a_refresh_fails(page):
    provider = Provider()
    signers = provider.signers()
    assert refreshed(signers)
    provider.pages[LINK] = page
    assert not refreshed(signers)
    assert knows(signers, "a")


def test_keys_that_the_provider_took_away_are_forgotten():
    provider = Provider()
    signers = provider.signers()
    refreshed(signers)
    provider.pages[LINK] = {"keys": [public_jwk("ES256", "b")]}
    refreshed(signers)
    assert (knows(signers, "a"), knows(signers, "b")) == (False, True)


def test_an_unknown_key_is_looked_for_once_by_all_who_ask_and_not_again_at_once():
    provider = Provider()
    signers = provider.signers()

    async def learn(*kids: str) -> list[bool]:
        return await asyncio.gather(*(signers.learn("ES256", kid) for kid in kids))

    async def all_of_it() -> None:
        assert await learn("a", "a", "x", "y") == [True, True, False, False]
        assert len(provider.asked) == 1
        provider.pages[LINK] = {"keys": [public_jwk("ES256", "b")]}
        provider.now = UNKNOWN_EVERY_S / 2
        assert await learn("b") == [False]
        provider.now = UNKNOWN_EVERY_S
        assert await learn("b") == [True]
        assert len(provider.asked) == 2

    asyncio.run(all_of_it())


def write(path, *names: str) -> None:
    path.write_text(json.dumps({"keys": [public_jwk("ES256", name) for name in names]}))


def test_a_file_is_read_at_once_and_again_when_it_changes(tmp_path):
    path = tmp_path / "jwks.json"
    write(path, "a")
    signers = create_signers("jwks.json", tmp_path, ALGORITHMS, issuer=None, every_s=300)
    assert knows(signers, "a")
    write(path, "b")
    os.utime(path, ns=(1, 1))

    async def look() -> None:
        assert await signers.refresh()
        assert (knows(signers, "a"), knows(signers, "b")) == (False, True)
        path.write_text("half of a f")
        assert not await signers.refresh()
        path.unlink()
        assert not await signers.refresh()
        assert knows(signers, "b")

    asyncio.run(look())


@pytest.mark.parametrize("contents", [None, "no json", '{"keys": []}'])
def test_a_file_that_cannot_be_used_stops_the_start(tmp_path, contents):
    if contents is not None:
        (tmp_path / "jwks.json").write_text(contents)
    with pytest.raises(ConfigurationError, match=r"ONEBOX_JWT_KEYS=jwks.json cannot be used"):
        create_signers("jwks.json", tmp_path, ALGORITHMS, issuer=None, every_s=300)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in folders")
def test_a_pipe_in_the_place_of_the_file_is_not_waited_for(tmp_path):
    path = tmp_path / "jwks.json"
    write(path, "a")
    signers = create_signers("jwks.json", tmp_path, ALGORITHMS, issuer=None, every_s=300)
    path.unlink()
    os.mkfifo(path)
    assert not refreshed(signers)
    assert knows(signers, "a")


@pytest.mark.parametrize(
    ("link", "safe"),
    [
        ("https://id.example/keys", True),
        ("http://127.0.0.1:9/keys", True),
        ("http://localhost/keys", True),
        ("http://[::1]/keys", True),
        ("http://id.example/keys", False),
        ("http://127.0.0.1.example/keys", False),
        ("https://user:pw@id.example/keys", False),
        ("ftp://id.example/keys", False),
        ("https://", False),
        ("https://[", False),
    ],
)
def test_which_links_are_safe(tmp_path, link, safe):
    assert is_safe_link(link) == safe
    if not safe:
        with pytest.raises(ConfigurationError):
            create_signers(link, tmp_path, ALGORITHMS, issuer=None, every_s=300)
