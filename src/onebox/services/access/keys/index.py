"""`KeyIndex`: stored keys in memory, where one of thousands is found within microseconds."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from onebox.core.errors import Unauthorized
from onebox.services.access.caller import Caller
from onebox.services.access.keys.rows import StoredKey

# What `Caller.id` begins with; that of a key stays when its secret is rotated.
CALLER_PREFIX = "key:"


@dataclass(frozen=True, slots=True)
class _Known:
    """What a secret stands for. `until`: when it stops, in seconds since 1970."""

    key: StoredKey
    caller: Caller
    until: float | None


class KeyIndex:
    """Whose a secret is, and when keys were used.

    Args:
        clock: seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._by_digest: dict[str, _Known] = {}
        self._by_id: dict[str, StoredKey] = {}
        # Digests of secrets that were revoked or replaced; those that work may be among them.
        self._ended: set[str] = set()
        self._used: dict[str, float] = {}
        self._noted: dict[str, float] = {}

    def find(self, token: str) -> Caller | None:
        """Whose secret it is; None when it is nobody's. Raises Unauthorized for one that ended.

        Found by its digest, which nobody can choose: how long it takes tells nothing about keys.
        """
        known = self._by_digest.get(digest_of(token))
        if known is None:
            return None
        now = self._clock()
        if known.until is not None and now >= known.until:
            if known.key.state(now) == "expired":
                raise Unauthorized("the key has expired")
            raise Unauthorized("the key was replaced by a new one, and has ended")
        self._used[known.key.id] = now
        return known.caller

    def has(self, token: str) -> bool:
        """Whether it is a secret of a key here, one that has ended too."""
        digest = digest_of(token)
        return digest in self._by_digest or digest in self._ended

    def caller(self, caller_id: str) -> Caller | None:
        """Who a stored key is now, by `Caller.id`; None for what is no stored key.

        Raises Unauthorized when it was revoked or has expired.
        """
        key = self._by_id.get(caller_id.removeprefix(CALLER_PREFIX))
        if key is None:
            return None
        state = key.state(self._clock())
        if state != "active":
            raise Unauthorized(f"the key is {state}")
        return _caller(key)

    def put(self, key: StoredKey) -> None:
        """Know a key as it is now."""
        before = self._by_id.get(key.id)
        if before is not None:
            if before.change > key.change:
                return
            for digest in (before.digest, before.previous_digest):
                if digest is not None and self._by_digest.pop(digest, None) is not None:
                    self._ended.add(digest)
        self._by_id[key.id] = key
        if key.revoked_at is not None:
            self._ended.add(key.digest)
            return
        caller = _caller(key)
        self._by_digest[key.digest] = _Known(key, caller, key.expires_at)
        if key.previous_digest is not None:
            ends = [at for at in (key.previous_until, key.expires_at) if at is not None]
            self._by_digest[key.previous_digest] = _Known(key, caller, min(ends))

    def with_use(self, key: StoredKey) -> StoredKey:
        """With a use that is not in the database yet."""
        used = max(self._used.get(key.id, 0.0), self._noted.get(key.id, 0.0))
        if used <= (key.last_used_at or 0.0):
            return key
        return dataclasses.replace(key, last_used_at=used)

    def unnoted_uses(self, every_s: float) -> dict[str, float]:
        """When keys were last used, by id: those of which no use was noted in so long."""
        long_ago = self._clock() - every_s
        return {
            key_id: at
            for key_id, at in self._used.items()
            if self._noted.get(key_id, 0.0) <= long_ago
        }

    def noted(self, uses: dict[str, float]) -> None:
        """They are in the database."""
        self._noted |= uses
        for key_id, at in uses.items():
            if self._used[key_id] == at:
                del self._used[key_id]


def digest_of(token: str) -> str:
    """SHA-256 in hex. A secret has 256 bits of chance, so nothing slower is needed."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _caller(key: StoredKey) -> Caller:
    return Caller(CALLER_PREFIX + key.id, key.scopes, key.allowance)
