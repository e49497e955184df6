"""Whether keys can be guessed. No text of here holds one of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator

from pydantic import SecretStr

from onebox.core.hosts import is_loopback
from onebox.core.settings import Settings
from onebox.services.checkup.findings import Findings

# What stands in examples and is tried first.
EXAMPLES = frozenset((
    "changeme", "change-me", "change_me", "secret", "password", "passw0rd", "admin", "test",
    "key", "apikey", "api-key", "api_key", "token", "example", "default", "onebox", "letmein",
    "123456", "12345678", "1234567890", "qwerty", "sk-xxx", "your-key", "your-api-key",
    "your_api_key", "your-secret-key", "your_secret_key", "supersecret",
))  # fmt: skip
LEAST_CHARS = 16
# RFC 7518, 3.2: a key for HS256 is at least as long as its hash.
LEAST_SECRET_KEY_BYTES = 32
LEAST_BITS = 60
MAKE_ONE = 'python3 -c "import secrets; print(secrets.token_urlsafe(32))" makes one'


def check_secrets(settings: Settings, findings: Findings) -> None:
    """Weak ones are a problem where others can reach the server, else a warning."""
    is_public = not is_loopback(settings.host)
    for place, secret in _secrets(settings):
        text = secret.get_secret_value()
        if text.strip().lower() in EXAMPLES or not text.strip():
            findings.add(f"{place} is empty or an example's: {MAKE_ONE}", is_problem=True)
        elif weakness := weakness_of(text, is_secret_key="SECRET_KEY" in place):
            findings.add(f"{place} {weakness}: {MAKE_ONE}", is_problem=is_public)
    _check_doubles(settings, findings)


def weakness_of(text: str, *, is_secret_key: bool = False) -> str | None:
    """Why a key can be guessed, or None."""
    size = len(text.encode())
    if is_secret_key and size < LEAST_SECRET_KEY_BYTES:
        return f"has {size} bytes, HS256 needs {LEAST_SECRET_KEY_BYTES}"
    if len(text) < LEAST_CHARS:
        return f"has {len(text)} characters, fewer than {LEAST_CHARS}"
    bits = bits_of(text)
    if bits < LEAST_BITS:
        return f"repeats itself: about {bits:.0f} bits, fewer than {LEAST_BITS}"
    return None


def bits_of(text: str) -> float:
    """Shannon's entropy of the characters: the most that a text like this can hold."""
    counts = Counter(text).values()
    return -sum(count * math.log2(count / len(text)) for count in counts)


def _secrets(settings: Settings) -> Iterator[tuple[str, SecretStr]]:
    yield from _numbered("API_KEYS", settings.api_keys)
    yield from _numbered("ONEBOX_ADMIN_KEYS", settings.admin_keys)
    if settings.secret_key is not None:
        yield "SECRET_KEY", settings.secret_key
    yield from _numbered("ONEBOX_OLD_SECRET_KEYS", settings.old_secret_keys)


def _numbered(name: str, secrets: Iterable[SecretStr]) -> Iterator[tuple[str, SecretStr]]:
    for number, secret in enumerate(secrets, 1):
        yield f"key {number} of {name}", secret


def _check_doubles(settings: Settings, findings: Findings) -> None:
    first: dict[str, str] = {}
    for place, secret in _secrets(settings):
        text = secret.get_secret_value()
        if text in first:
            findings.add(
                f"{place} is the same as {first[text]}: who has the one has the other; make "
                "another one",
                is_problem=True,
            )
        first.setdefault(text, place)
