"""Bearer tokens → callers: static API keys and HS256 JSON Web Tokens."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import SecretStr

from onebox.core.errors import Forbidden, InvalidInput, Unauthorized
from onebox.core.os_support import write_private

Scope = Literal["infer", "manage", "admin"]
SCOPES: frozenset[str] = frozenset(get_args(Scope))
ALGORITHM = "HS256"
MAX_TOKEN_CHARS = 8192


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request. `id` never contains the secret."""

    id: str
    scopes: frozenset[str]

    def may(self, scope: Scope) -> bool:
        """`admin` includes the others."""
        return scope in self.scopes or "admin" in self.scopes

    def require(self, scope: Scope) -> None:
        """Raises Forbidden without the scope."""
        if not self.may(scope):
            raise Forbidden(f"this needs the scope {scope}", details={"needed": scope})


@dataclass(frozen=True, slots=True)
class _Key:
    digest: bytes
    caller: Caller


class Authenticator:
    """Knows digests of keys only, and compares them in constant time.

    Args:
        secret_key: signs JWT; without it every JWT is refused.
    """

    def __init__(
        self,
        *,
        api_keys: Iterable[SecretStr],
        admin_keys: Iterable[SecretStr],
        secret_key: SecretStr | None = None,
        audience: str | None = None,
        issuer: str | None = None,
    ) -> None:
        self._keys = [_key(secret, frozenset({"infer"})) for secret in api_keys]
        self._keys += [_key(secret, SCOPES) for secret in admin_keys]
        # An empty one (`SECRET_KEY=`) would let anybody sign.
        self._secret_key = secret_key or None
        self._audience = audience
        self._issuer = issuer

    def authenticate(self, authorization: str | None) -> Caller:
        """The caller of an `Authorization` header. Raises Unauthorized."""
        if not authorization:
            raise Unauthorized("no credentials; send the header Authorization: Bearer <key>")
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN_CHARS:
            raise Unauthorized("malformed credentials; send the header Authorization: Bearer <key>")
        return self._by_key(token) or self._by_jwt(token)

    def sign(self, subject: str, scopes: Iterable[str], lifetime_s: float) -> str:
        """A new JWT. Raises InvalidInput without a secret key or for an unknown scope."""
        from jose import jwt

        unknown = set(scopes) - SCOPES
        if unknown:
            raise InvalidInput(
                f"unknown scope {sorted(unknown)[0]}; there are {', '.join(sorted(SCOPES))}"
            )
        now = int(time.time())
        claims: dict[str, Any] = {
            "sub": subject,
            "scope": " ".join(scopes),
            "iat": now,
            "exp": now + int(lifetime_s),
        }
        if self._audience:
            claims["aud"] = self._audience
        if self._issuer:
            claims["iss"] = self._issuer
        return str(jwt.encode(claims, self._secret(), algorithm=ALGORITHM))

    def _secret(self) -> str:
        if self._secret_key is None:
            raise InvalidInput("SECRET_KEY is not set; JWT need one", param="SECRET_KEY")
        return self._secret_key.get_secret_value()

    def _by_key(self, token: str) -> Caller | None:
        digest = _digest(token)
        # Every key is looked at, so that the time tells nothing about which one matched.
        found = [key.caller for key in self._keys if hmac.compare_digest(key.digest, digest)]
        return found[0] if found else None

    def _by_jwt(self, token: str) -> Caller:
        from jose import JWTError, jwt

        if self._secret_key is None or token.count(".") != 2:
            raise Unauthorized("the key is not valid")
        options = {
            "require_exp": True,
            "require_aud": bool(self._audience),
            "require_iss": bool(self._issuer),
        }
        try:
            claims = jwt.decode(
                token,
                self._secret(),
                algorithms=[ALGORITHM],
                audience=self._audience,
                issuer=self._issuer,
                options=options,
            )
        except (JWTError, ValueError, TypeError, RecursionError):
            raise Unauthorized("the token is not valid, or has expired") from None
        return Caller(f"jwt:{claims.get('sub', '')}", _scopes(claims.get("scope", "infer")))


def _key(secret: SecretStr, scopes: frozenset[str]) -> _Key:
    digest = _digest(secret.get_secret_value())
    return _Key(digest, Caller(f"key:{digest.hex()[:8]}", scopes))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _scopes(claim: Any) -> frozenset[str]:
    """Known scopes of a claim: a space-separated string or a list. Anything else grants nothing."""
    names = claim.split() if isinstance(claim, str) else claim if isinstance(claim, list) else []
    return SCOPES & {name for name in names if isinstance(name, str)}


def _random_text() -> str:
    return secrets.token_urlsafe(32)


def stored_secret(
    path: Path, prefix: str, new_text: Callable[[], str] = _random_text
) -> tuple[str, bool]:
    """The secret kept in a file (mode 0600), made at first use of the prefix and a new text.

    Returns it and whether it is new.
    """
    if path.is_file():
        return path.read_text(encoding="utf-8").strip(), False
    secret = prefix + new_text()
    write_private(path, secret + "\n")
    return secret, True
