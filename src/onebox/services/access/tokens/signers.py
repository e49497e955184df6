"""Public keys of who signs JSON Web Tokens: a JSON Web Key Set, read with suspicion."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import structlog

log = structlog.get_logger(__name__)

MAX_KEYS = 100
MIN_RSA_BITS = 2048
# A signature by a larger one takes too long to check.
MAX_RSA_BITS = 8192
# Algorithms by type of key and, for an elliptic curve, its name.
ALGORITHMS = {
    ("RSA", None): ("RS256", "RS384", "RS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
}
# What of a key is looked at: nothing that only its owner should have.
PUBLIC = {"RSA": ("kty", "n", "e"), "EC": ("kty", "crv", "x", "y")}


class BadKeySet(Exception):
    """It cannot be used at all; says why."""


@dataclass(frozen=True, slots=True)
class KeySet:
    """Keys by algorithm, each with its id (`kid`), if it has one.

    A key checks signatures of its own algorithm alone, whatever a token claims.
    """

    by_algorithm: Mapping[str, Sequence[tuple[str | None, Any]]] = field(default_factory=dict)

    def find(self, algorithm: str, kid: str | None) -> list[Any]:
        """The keys that may have signed: of that id, or the only one there is when either has no
        id.
        """
        able = self.by_algorithm.get(algorithm, ())
        named = [key for own_kid, key in able if kid is not None and own_kid == kid]
        if named or len(able) != 1:
            return named
        own_kid, key = able[0]
        return [key] if kid is None or own_kid is None else []


def parse_key_set(document: Any, algorithms: Collection[str]) -> KeySet:
    """Its keys for these algorithms; others are left out, each with a line in the log.

    Raises BadKeySet for what is no set, or has no key that can be used.
    """
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise BadKeySet(f"it must hold a list `keys` of at most {MAX_KEYS}")
    found: dict[str, list[tuple[str | None, Any]]] = {}
    for place, member in enumerate(listed):
        try:
            kid = _kid(member)
            for algorithm, key in _keys(member, algorithms):
                found.setdefault(algorithm, []).append((kid, key))
        except BadKeySet as error:
            log.warning("jwt_key_not_used", place=place, reason=str(error))
    if not found:
        raise BadKeySet(f"it holds no key for {', '.join(sorted(algorithms))}")
    return KeySet(found)


def decode_document(body: bytes) -> dict[str, Any]:
    """Raises BadKeySet."""
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        raise BadKeySet("it is not a JSON object") from None


def _kid(member: Any) -> str | None:
    kid = member.get("kid") if isinstance(member, dict) else None
    if kid is not None and not isinstance(kid, str):
        raise BadKeySet("its kid is no text")
    return kid


def _keys(member: Any, algorithms: Collection[str]) -> Iterator[tuple[str, Any]]:
    """A key for each algorithm that it is good for."""
    from jose import jwk

    if not isinstance(member, dict):
        raise BadKeySet("it is not an object")
    operations = member.get("key_ops", ["verify"])
    if not isinstance(operations, list):
        raise BadKeySet("its key_ops are no list")
    if member.get("use", "sig") != "sig" or "verify" not in operations:
        raise BadKeySet("it is not for signatures")
    kind = member.get("kty")
    curve = member.get("crv") if kind == "EC" else None
    able = ALGORITHMS.get((str(kind), None if curve is None else str(curve)))
    if able is None or not isinstance(kind, str):
        raise BadKeySet("keys of its type are not used")
    public = {name: member.get(name) for name in PUBLIC[kind]}
    if not all(isinstance(value, str) for value in public.values()):
        raise BadKeySet("parts of it are missing")
    for algorithm in able:
        if algorithm not in algorithms or member.get("alg", algorithm) != algorithm:
            continue
        try:
            key = jwk.construct(public, algorithm)
        except Exception:
            # The library lets through whatever its own libraries raise.
            raise BadKeySet("its numbers are no key") from None
        _check_size(key)
        yield algorithm, key


def _check_size(key: Any) -> None:
    bits = key.prepared_key.key_size
    if key.to_dict()["kty"] == "RSA" and not MIN_RSA_BITS <= bits <= MAX_RSA_BITS:
        raise BadKeySet(f"it has {bits} bits, and must have {MIN_RSA_BITS} to {MAX_RSA_BITS}")
