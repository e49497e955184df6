"""Which links may be fetched: one parser for them, and the addresses that they must not lead to."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from onebox.core.errors import InvalidInput

MAX_CHARS = 2048
PORTS = {"https": 443, "http": 80}
# No space, quote, backslash, control character or letter beyond ASCII: parsers differ about them.
PLAIN = re.compile(r"[!#$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]+")
NAME = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?"
)
# What some parsers take for an IPv4 address: its last part is a number of any kind.
NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
# Public by their number, but they stand for other addresses, or for none.
TRANSLATED = (
    "::ffff:0:0/96",  # IPv4 written as IPv6
    "::ffff:0:0:0/96",
    "64:ff9b::/96",  # NAT64
    "64:ff9b:1::/48",
    "2001::/32",  # Teredo
    "2002::/16",  # 6to4
    "fec0::/10",  # site-local
    "192.88.99.0/24",
)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Link:
    """A link taken apart, once.

    Attributes:
        host: lower case; a name, or an address without brackets.
        target: path and query.
        authority: host and port as the request names them.
        trusted: the operator named the host; it may be anywhere.
    """

    host: str
    port: int
    target: str
    authority: str
    encrypted: bool
    trusted: bool


def parse_link(url: str, hosts: Collection[str], param: str, *, setting: str) -> Link:
    """Raises InvalidInput unless it is one plain https link, or one to a host of `hosts`.

    `setting` is the one that names those.
    """
    if len(url) > MAX_CHARS or not PLAIN.fullmatch(url):
        raise _refused(f"a link has at most {MAX_CHARS} characters, all of them plain ASCII", param)
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise _refused("the link cannot be read", param) from None
    if parts.scheme not in PORTS:
        raise _refused("a link begins with https://", param)
    if "@" in parts.netloc:
        raise _refused("a link must not hold a user name or password", param)
    if not _is_host(host, bracketed="[" in parts.netloc):
        raise _refused("the link names no host by its plain name or address", param)
    shown = f"[{host}]" if ":" in host else host
    authority = shown if port is None else f"{shown}:{port}"
    trusted = host in hosts or authority in hosts
    if not trusted and (parts.scheme != "https" or port not in (None, 443)):
        raise _refused(f"a link must be https on port 443 (or its host in {setting})", param)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Link(
        host, port or PORTS[parts.scheme], target, authority, parts.scheme == "https", trusted
    )


def refuse_private(addresses: Iterable[str], param: str) -> None:
    """Raises InvalidInput when any of the addresses is not one of the public internet."""
    if not all(map(is_public, addresses)):
        raise _refused("the link leads to an address that is not on the public internet", param)


def is_public(address: str) -> bool:
    """Whether it is an address of one machine of the internet, and stands for no other."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    barred = (
        found.is_private
        or found.is_loopback
        or found.is_link_local
        or found.is_multicast
        or found.is_reserved
        or found.is_unspecified
        or not found.is_global
    )
    return not barred and not _is_translated(found)


def _is_translated(address: Address) -> bool:
    networks = map(ipaddress.ip_network, TRANSLATED)
    return any(address in network for network in networks if network.version == address.version)


def _is_host(host: str, *, bracketed: bool) -> bool:
    """A name in letters, digits, dots and hyphens, or an address in its one usual spelling."""
    try:
        found = ipaddress.ip_address(host)
        return str(found) == host and "%" not in host and bracketed == (":" in host)
    except ValueError:
        return (
            not bracketed
            and len(host) <= 253
            and bool(NAME.fullmatch(host) and not NUMERIC.fullmatch(host))
        )


def _refused(why: str, param: str) -> InvalidInput:
    return InvalidInput(why, param=param)
