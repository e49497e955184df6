"""Bearer tokens → callers: static API keys, stored keys and JSON Web Tokens."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import SecretStr

from onebox.core.errors import Unauthorized
from onebox.services.access.caller import SCOPES, Caller
from onebox.services.access.keys.index import CALLER_PREFIX, KeyIndex, digest_of
from onebox.services.access.tokens.tokens import Tokens

MAX_TOKEN_CHARS = 8192


@dataclass(frozen=True, slots=True)
class _Key:
    digest: str
    caller: Caller


class Authenticator:
    """Knows digests of keys only.

    Args:
        api_keys, admin_keys: of the settings.
        stored: keys that an operator made.
        tokens: checks JWT.
    """

    def __init__(
        self,
        *,
        api_keys: Iterable[SecretStr],
        admin_keys: Iterable[SecretStr],
        stored: KeyIndex | None = None,
        tokens: Tokens | None = None,
    ) -> None:
        self._keys = [_key(secret, frozenset({"infer"})) for secret in api_keys]
        self._keys += [_key(secret, SCOPES) for secret in admin_keys]
        self._stored = stored or KeyIndex()
        self._tokens = tokens or Tokens()

    def authenticate(self, authorization: str | None) -> Caller:
        """The caller of an `Authorization` header. Raises Unauthorized."""
        token = bearer_token(authorization)
        return self._by_key(token) or self._stored.find(token) or self._tokens.caller(token)

    async def learn_signer(self, authorization: str | None) -> bool:
        """Whether a header that was refused may be good now, for a key of its signer was found."""
        return await self._tokens.learn_signer(bearer_token(authorization))

    def sign(self, subject: str, scopes: Iterable[str], lifetime_s: float) -> str:
        """A new JWT. Raises InvalidInput without a secret key or for an unknown scope."""
        return self._tokens.sign(subject, scopes, lifetime_s)

    def _by_key(self, token: str) -> Caller | None:
        digest = digest_of(token)
        # Every key is looked at, so that the time tells nothing about which one matched.
        found = [key.caller for key in self._keys if hmac.compare_digest(key.digest, digest)]
        return found[0] if found else None


def bearer_token(authorization: str | None) -> str:
    """The token of an `Authorization` header. Raises Unauthorized."""
    if not authorization:
        raise Unauthorized("no credentials; send the header Authorization: Bearer <key>")
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN_CHARS:
        raise Unauthorized("malformed credentials; send the header Authorization: Bearer <key>")
    return token


def _key(secret: SecretStr, scopes: frozenset[str]) -> _Key:
    digest = digest_of(secret.get_secret_value())
    return _Key(digest, Caller(f"{CALLER_PREFIX}{digest[:8]}", scopes))
