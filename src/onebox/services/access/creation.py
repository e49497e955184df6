"""`create_access`: joins who may come in, and how often."""

from __future__ import annotations

from pydantic import SecretStr

from onebox.core.errors import ConfigurationError
from onebox.core.settings import Settings
from onebox.services.access.access import Access
from onebox.services.access.authenticator import Authenticator
from onebox.services.access.keys.keys import Keys
from onebox.services.access.limits.limits import create_rate_limits
from onebox.services.access.tokens.claims import LIMIT_CLAIMS
from onebox.services.access.tokens.sources import Signers, create_signers
from onebox.services.access.tokens.tokens import TokenRules, Tokens
from onebox.services.database import Database
from onebox.services.hooks.creation import create_verification
from onebox.services.metrics import Metrics


def create_access(
    settings: Settings, database: Database, metrics: Metrics, generated_key: str | None
) -> Access:
    """The way in, with the stored keys as they are now. Raises ConfigurationError.

    Args:
        generated_key: the admin key that the server has made for itself, if it has.
    """
    generated = (SecretStr(generated_key),) if generated_key else ()
    keys = Keys(database)
    keys.load()
    signers = _create_signers(settings)
    authenticator = Authenticator(
        api_keys=settings.api_keys,
        admin_keys=(*settings.admin_keys, *generated),
        stored=keys.index,
        tokens=create_tokens(settings, signers),
    )
    return Access(
        authenticator,
        keys,
        signers=signers,
        limits=create_rate_limits(settings, metrics.access),
        hook=create_verification(settings, metrics),
    )


def create_tokens(settings: Settings, signers: Signers | None = None) -> Tokens:
    """What checks JWT and signs our own. Raises ConfigurationError."""
    unknown = settings.jwt_limit_claims.keys() - LIMIT_CLAIMS.keys()
    if unknown:
        raise ConfigurationError(
            f"ONEBOX_JWT_LIMIT_CLAIMS names {sorted(unknown)[0]}, which is no limit; "
            f"there are {', '.join(LIMIT_CLAIMS)}"
        )
    rules = TokenRules(
        audience=settings.jwt_audience,
        issuer=settings.jwt_issuer,
        leeway_s=settings.jwt_leeway,
        scope_claim=settings.jwt_scope_claim,
        limit_claims={**LIMIT_CLAIMS, **settings.jwt_limit_claims},
    )
    return Tokens(
        settings.secret_key,
        old_secret_keys=settings.old_secret_keys,
        rules=rules,
        signers=signers,
    )


def _create_signers(settings: Settings) -> Signers | None:
    if not settings.jwt_keys:
        return None
    if not settings.jwt_audience:
        raise ConfigurationError(
            "ONEBOX_JWT_KEYS needs ONEBOX_JWT_AUDIENCE: without it, a token that was given out "
            "for another service would be good here too"
        )
    return create_signers(
        settings.jwt_keys,
        settings.root,
        settings.jwt_algorithms,
        issuer=settings.jwt_issuer,
        every_s=settings.jwt_refresh,
    )
