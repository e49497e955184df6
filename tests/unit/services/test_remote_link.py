"""Links that must not be followed, in all the ways to write them."""

from __future__ import annotations

import pytest

from onebox.core.errors import InvalidInput
from onebox.services.remote_link import is_public, parse_link, refuse_private

HOSTS = frozenset({"files.internal", "10.0.0.5", "box.internal:8080"})


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/a.png",
        "ftp://example.org/a.png",
        "file:///etc/passwd",
        "gopher://example.org/",
        "//example.org/a.png",
        "example.org/a.png",
        "https:/example.org/a.png",
        "https:example.org",
        "https://",
        "https:///a.png",
        "https://user@example.org/",
        "https://user:word@example.org/",
        "https://example.org@127.0.0.1/",
        "https://example.org\\@127.0.0.1/",
        "https://127.0.0.1\\.example.org/",
        "https://example.org%00.internal/",
        "https://example.org\x00/",
        "https://example.org /",
        " https://example.org/",
        "https://exa\tmple.org/",
        "https://exa\nmple.org/",
        "https://example.org/a b",
        "https://bücher.example/",
        "https://127。0。0。1/",
        "https://①②⑦.0.0.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.0.0.1/",
        "https://0177.0.0.1/",
        "https://127.1/",
        "https://127.0.0.1./",
        "https://1.2.3.4.5/",
        "https://example.0x/",
        "https://[::1/",
        "https://[::1%25eth0]/",
        "https://[fe80::1%eth0]/",
        "https://[example.org]/",
        "https://[127.0.0.1]/",
        "https://-example.org/",
        "https://example..org/",
        "https://.example.org/",
        "https://example.org:8443/",
        "https://example.org:80/",
        "https://example.org:99999/",
        "https://example.org:x/",
        "https://example.org:0/",
        "https://" + "a" * 64 + ".org/",
        "https://" + "a." * 127 + "org/",
        "https://example.org/" + "a" * 2048,
        "http://files.internal.evil.org/",
        "http://box.internal:8081/",
    ],
)
def test_these_are_no_links_to_follow(url):
    with pytest.raises(InvalidInput) as caught:
        parse_link(url, HOSTS, "place", setting="SETTING")
    assert caught.value.param == "place"


def test_a_link_is_taken_apart_once():
    link = parse_link("https://Example.ORG/a/b.png?x=1&y=%20#part", HOSTS, "p", setting="SETTING")
    assert (link.host, link.port, link.encrypted) == ("example.org", 443, True)
    assert (link.target, link.authority, link.trusted) == (
        "/a/b.png?x=1&y=%20",
        "example.org",
        False,
    )
    assert parse_link("https://example.org", HOSTS, "p", setting="SETTING").target == "/"
    assert (
        parse_link("https://example.org:443/", HOSTS, "p", setting="SETTING").authority
        == "example.org:443"
    )
    # Whatever another parser would say: this is the host that is looked at and connected to.
    assert (
        parse_link("https://127.0.0.1#@example.org/", HOSTS, "p", setting="SETTING").host
        == "127.0.0.1"
    )
    assert (
        parse_link("https://[2606:4700::1]/", HOSTS, "p", setting="SETTING").host == "2606:4700::1"
    )


@pytest.mark.parametrize(
    ("url", "port", "encrypted"),
    [
        ("http://files.internal/a", 80, False),
        ("https://FILES.internal:9000/a", 9000, True),
        ("http://10.0.0.5/", 80, False),
        ("http://box.internal:8080/", 8080, False),
    ],
)
def test_hosts_that_the_operator_named(url, port, encrypted):
    link = parse_link(url, HOSTS, "p", setting="SETTING")
    assert (link.port, link.encrypted, link.trusted) == (port, encrypted, True)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "0.1.2.3",
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "127.8.8.8",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::8.8.8.8",
        "::ffff:127.0.0.1",
        "::ffff:7f00:1",
        "::ffff:8.8.8.8",
        "::ffff:0:8.8.8.8",
        "64:ff9b::7f00:1",
        "64:ff9b::808:808",
        "64:ff9b:1::7f00:1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
        "no address",
        "",
    ],
)
def test_addresses_that_are_not_of_the_public_internet(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700::1111", "2a00:1450::1"]
)
def test_addresses_of_the_public_internet(address):
    assert is_public(address)


def test_one_private_address_among_many_is_enough():
    refuse_private(["8.8.8.8", "2606:4700::1111"], "p")
    with pytest.raises(InvalidInput):
        refuse_private(["8.8.8.8", "10.0.0.1"], "p")
