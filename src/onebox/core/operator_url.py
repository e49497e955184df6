"""Addresses of servers that the operator names in settings: checked when the settings are read."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from onebox.core.errors import ConfigurationError

MAX_CHARS = 2048
# No space, quote, backslash, control character or letter beyond ASCII: parsers differ about them.
PLAIN = re.compile(r"[!#$%&'()*+,\-./0-9:;=?@A-Z\[\]_a-z~]+")
SCHEMES = ("http", "https")


def checked_url(setting: str, url: str) -> str:
    """The URL. Raises ConfigurationError, which quotes its host and nothing else, for the rest of
    it may hold a secret.
    """
    if len(url) > MAX_CHARS or not PLAIN.fullmatch(url):
        raise _wrong(setting, f"must have at most {MAX_CHARS} characters, all of them plain ASCII")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise _wrong(setting, "cannot be read as a URL") from None
    if parts.scheme not in SCHEMES or not host:
        raise _wrong(setting, "must begin with http:// or https:// and name a host")
    shown = f"{setting}={parts.scheme}://{host}/…"
    if "@" in parts.netloc:
        raise _wrong(shown, "must not hold a user name or password")
    if parts.fragment:
        raise _wrong(shown, "must not have a part behind #")
    return url


def _wrong(what: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{what} {why}; write it as https://backend.example.com/path, or leave it out"
    )
