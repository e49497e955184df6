"""JSON Web Tokens: signed by our own secret (HS256), or by somebody whose public keys we know."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from onebox.core.errors import InvalidInput, Unauthorized
from onebox.services.access.caller import SCOPES, Caller
from onebox.services.access.tokens.claims import LIMIT_CLAIMS, allowance_of, scopes_of
from onebox.services.access.tokens.sources import Signers

OWN_ALGORITHM = "HS256"
PUBLIC_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "ES256", "ES384", "ES512"})
# Of `sub`: ids of OpenID have no more.
MAX_SUBJECT_CHARS = 255
NOT_VALID = "the token is not valid, or has expired"


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What a token must say, and where.

    Attributes:
        audience, issuer: its `aud` and `iss` must be these, where they are given.
        leeway_s: that a clock may be wrong by.
        scope_claim, limit_claims: names of claims, the latter by field of an Allowance.
    """

    audience: str | None = None
    issuer: str | None = None
    leeway_s: float = 0.0
    scope_claim: str = "scope"
    limit_claims: Mapping[str, str] = field(default_factory=lambda: LIMIT_CLAIMS)


class Tokens:
    """Checks tokens and signs our own.

    Args:
        secret_key: signs HS256; None: nothing is signed.
        old_secret_keys: what they signed is good too.
        signers: public keys of others; None: only HS256.
    """

    def __init__(
        self,
        secret_key: SecretStr | None = None,
        *,
        old_secret_keys: Iterable[SecretStr] = (),
        rules: TokenRules | None = None,
        signers: Signers | None = None,
    ) -> None:
        # An empty one (`SECRET_KEY=`) would let anybody sign.
        self._secret = secret_key.get_secret_value() if secret_key else None
        self._secrets = [key.get_secret_value() for key in (secret_key, *old_secret_keys) if key]
        self._rules = rules or TokenRules()
        self.signers = signers

    def caller(self, token: str) -> Caller:
        """Who a token was given to. Raises Unauthorized."""
        if token.count(".") != 2 or not (self._secrets or self.signers):
            raise Unauthorized("the key is not valid")
        algorithm, kid = _head(token)
        if algorithm == OWN_ALGORITHM:
            claims = self._checked(token, algorithm, self._secrets, self._rules.issuer)
            return self._caller("jwt", claims)
        if self.signers is None:
            raise Unauthorized(NOT_VALID)
        keys = self.signers.keys.find(algorithm, kid)
        claims = self._checked(token, algorithm, keys, self._rules.issuer or self.signers.issuer)
        if not claims.get("sub"):
            raise Unauthorized("the token names nobody; it needs the claim sub")
        return self._caller("oidc", claims)

    async def learn_signer(self, token: str) -> bool:
        """Look for the key of a token that was refused; whether it is known now, and was not."""
        if self.signers is None or token.count(".") != 2:
            return False
        try:
            algorithm, kid = _head(token)
        except Unauthorized:
            return False
        if algorithm not in PUBLIC_ALGORITHMS or self.signers.keys.find(algorithm, kid):
            return False
        return await self.signers.learn(algorithm, kid)

    def sign(self, subject: str, scopes: Iterable[str], lifetime_s: float) -> str:
        """A new JWT. Raises InvalidInput without a secret key or for an unknown scope."""
        from jose import jwt

        unknown = set(scopes) - SCOPES
        if unknown:
            raise InvalidInput(
                f"unknown scope {sorted(unknown)[0]}; there are {', '.join(sorted(SCOPES))}"
            )
        if self._secret is None:
            raise InvalidInput("SECRET_KEY is not set; JWT need one", param="SECRET_KEY")
        now = int(time.time())
        claims: dict[str, Any] = {
            "sub": subject,
            self._rules.scope_claim: " ".join(scopes),
            "iat": now,
            "exp": now + int(lifetime_s),
        }
        if self._rules.audience:
            claims["aud"] = self._rules.audience
        if self._rules.issuer:
            claims["iss"] = self._rules.issuer
        return str(jwt.encode(claims, self._secret, algorithm=OWN_ALGORITHM))

    def _checked(
        self, token: str, algorithm: str, keys: Sequence[Any], issuer: str | None
    ) -> dict[str, Any]:
        """The claims of a token that one of the keys signed, and that holds now.

        Keys are of the algorithm: a public key never becomes the secret of an HMAC.
        """
        from jose import JOSEError, jwt

        options = {
            "require_exp": True,
            "require_aud": bool(self._rules.audience),
            "require_iss": bool(issuer),
            "leeway": self._rules.leeway_s,
        }
        if not keys:
            raise Unauthorized(NOT_VALID)
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                keys,
                algorithms=[algorithm],
                audience=self._rules.audience,
                issuer=issuer,
                options=options,
            )
        except (JOSEError, ValueError, TypeError, ArithmeticError, RecursionError):
            raise Unauthorized(NOT_VALID) from None
        return claims

    def _caller(self, kind: str, claims: Mapping[str, Any]) -> Caller:
        subject = claims.get("sub", "")
        if len(subject) > MAX_SUBJECT_CHARS:
            raise Unauthorized(f"the claim sub has more than {MAX_SUBJECT_CHARS} characters")
        if not subject.isprintable():
            # Half a surrogate pair, or a line of its own in a log.
            raise Unauthorized("the claim sub has characters that cannot be shown")
        return Caller(
            f"{kind}:{subject}",
            scopes_of(claims, self._rules.scope_claim),
            allowance_of(claims, self._rules.limit_claims),
        )


def _head(token: str) -> tuple[str, str | None]:
    """Algorithm and key id of the header. Raises Unauthorized."""
    from jose import JOSEError, jwt

    try:
        head = jwt.get_unverified_header(token)
    except (JOSEError, ValueError, RecursionError):
        raise Unauthorized(NOT_VALID) from None
    algorithm, kid = head.get("alg"), head.get("kid")
    # Nothing that a token calls critical is understood here.
    if not isinstance(algorithm, str) or "crit" in head:
        raise Unauthorized(NOT_VALID)
    if algorithm != OWN_ALGORITHM and algorithm not in PUBLIC_ALGORITHMS:
        raise Unauthorized(NOT_VALID)
    return algorithm, kid if isinstance(kid, str) else None
