"""The settings of JWT beyond one shared secret: a part of `Settings`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode

from onebox.core.settings_forms import SecretTuple, StrMap, prefixed, split_list

JwtAlgorithm = Literal["RS256", "RS384", "RS512", "ES256", "ES384", "ES512"]
JwtAlgorithms = Annotated[tuple[JwtAlgorithm, ...], NoDecode, BeforeValidator(split_list)]


class KeySettings(BaseSettings):
    """JWT beyond one shared secret."""

    old_secret_keys: SecretTuple = Field(
        (),
        validation_alias=prefixed("OLD_SECRET_KEYS"),
        description="Comma-separated former values of SECRET_KEY: what they signed works until it "
        "expires.",
    )
    jwt_keys: str | None = Field(
        None,
        validation_alias=prefixed("JWT_KEYS"),
        description="Public keys of who signs JWT: a JWKS file, or an https link to one or to an "
        "OpenID configuration.",
    )
    jwt_algorithms: JwtAlgorithms = Field(
        ("RS256", "ES256"),
        min_length=1,
        validation_alias=prefixed("JWT_ALGORITHMS"),
        description="Comma-separated algorithms of such JWT: RS256, RS384, RS512, ES256, ES384, "
        "ES512.",
    )
    jwt_refresh: float = Field(
        300.0,
        ge=10,
        validation_alias=prefixed("JWT_REFRESH"),
        description="Seconds after which the keys of a link are fetched again; a file is read "
        "when it changes.",
    )
    jwt_leeway: float = Field(
        30.0,
        ge=0,
        le=600,
        validation_alias=prefixed("JWT_LEEWAY"),
        description="Seconds that the clock of who signs JWT may be wrong by.",
    )
    jwt_scope_claim: str = Field(
        "scope",
        min_length=1,
        validation_alias=prefixed("JWT_SCOPE_CLAIM"),
        description="Claim that names scopes, such as `scp` or `realm_access.roles`; a JWT without "
        "it has the scope `infer`.",
    )
    jwt_limit_claims: StrMap = Field(
        {},
        validation_alias=prefixed("JWT_LIMIT_CLAIMS"),
        description="Other names of the claims that limit a caller: "
        "`requests_per_minute=rpm,models=allowed_models,…`; see docs/keys.md.",
    )
