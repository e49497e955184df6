"""Whose word about a client's address is believed."""

from __future__ import annotations

import pytest
from fastapi import Request
from pydantic import ValidationError

from onebox.core.settings import Settings
from tests.unit.api.limiting import LimitedServer

PROXY = "10.1.2.3"
TRUSTED = ("10.0.0.0/8", "127.0.0.1", "2001:db8::/32")


def with_where(server):
    @server.app.get("/where")
    async def where(request: Request) -> dict[str, str]:
        return {"client": request.client.host, "link": str(request.base_url)}

    return server


@pytest.fixture(scope="module")
def server(services):
    return with_where(LimitedServer(services, trusted_proxies=TRUSTED))


@pytest.fixture(scope="module")
def trusting_nobody(services):
    return with_where(LimitedServer(services))


def where(server, headers, address=PROXY):
    key = {"authorization": "Bearer user-key"}
    return server.get("/where", {**key, **headers}, address=address).body.decode()


@pytest.mark.parametrize(
    ("address", "forwarded", "client"),
    [
        (PROXY, "203.0.113.5", "203.0.113.5"),
        ("127.0.0.1", "203.0.113.5", "203.0.113.5"),
        ("2001:db8::7", "2001:470::1", "2001:470::1"),
        (PROXY, "203.0.113.5:4711", "203.0.113.5"),
        (PROXY, "[2001:470::1]:4711", "2001:470::1"),
        # From the right, and only as far as proxies are trusted: the client wrote the rest.
        (PROXY, "1.1.1.1, 203.0.113.5", "203.0.113.5"),
        (PROXY, "1.1.1.1, 203.0.113.5, 10.9.9.9", "203.0.113.5"),
        (PROXY, "127.0.0.1, 203.0.113.5", "203.0.113.5"),
        # Nobody that is trusted has sent it.
        ("198.51.100.1", "203.0.113.5", "198.51.100.1"),
        ("11.1.2.3", "203.0.113.5", "11.1.2.3"),
        (PROXY, "", PROXY),
    ],
)
def test_the_address_that_trusted_proxies_name(server, address, forwarded, client):
    assert f'"client":"{client}"' in where(server, {"x-forwarded-for": forwarded}, address)


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", PROXY])
def test_by_default_nobody_is_believed_not_even_on_this_machine(trusting_nobody, address):
    given = {"x-forwarded-for": "203.0.113.5", "x-forwarded-proto": "https"}
    said = where(trusting_nobody, given, address)
    assert f'"client":"{address}"' in said
    assert "http://testserver/" in said


def test_links_begin_as_the_proxy_was_reached(server):
    assert "https://testserver/" in where(server, {"x-forwarded-proto": "https"})
    assert "http://testserver/" in where(server, {"x-forwarded-proto": "javascript"})
    assert "http://testserver/" in where(server, {"x-forwarded-proto": "https"}, "198.51.100.1")


def test_clients_behind_a_proxy_are_counted_one_by_one(server):
    server.limit(limit_health=1)

    def health(client, address=PROXY):
        return server.get("/health", {"x-forwarded-for": client}, address=address).status

    assert [health("203.0.113.5"), health("203.0.113.5"), health("203.0.113.6")] == [200, 429, 200]
    # What a client puts before its own address makes no new client of it.
    assert health("192.0.2.77, 203.0.113.6") == 429
    # Without the proxy it is the same client.
    assert health("1.1.1.1", address="203.0.113.5") == 429


@pytest.mark.parametrize("address", ["127.0.0.1", PROXY])
@pytest.mark.parametrize("client", ["127.0.0.1", "::1"])
def test_who_says_to_come_from_this_machine_is_no_probe(server, address, client):
    server.limit(limit_health=1)
    given = {"x-forwarded-for": client}
    answers = [server.get("/health", given, address=address).status for _ in range(2)]
    assert answers == [200, 429]


def test_probes_of_this_machine_itself_are_not_counted_where_it_is_a_proxy_too(server):
    server.limit(limit_health=1)
    assert [server.get("/health", None).status for _ in range(3)] == [200, 200, 200]


@pytest.mark.parametrize("value", ["*", "proxy", "10.0.0.1/8", "300.1.1.1"])
def test_what_is_no_address_is_refused_at_the_start(value):
    with pytest.raises(ValidationError, match="neither an address nor a network") as error:
        Settings(trusted_proxies=(value,))
    assert value in str(error.value)
