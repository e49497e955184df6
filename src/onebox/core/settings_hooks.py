"""The settings of the operator's own backend: a part of `Settings`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

from onebox.core.errors import ConfigurationError
from onebox.core.operator_url import checked_url
from onebox.core.settings_forms import StrTuple, prefixed

Fail = Literal["closed", "open"]
# A header cannot carry others.
FIRST_VISIBLE, LAST_VISIBLE = "!", "~"


class HookSettings(BaseSettings):
    """The operator's own backend."""

    auth_verify_url: str | None = Field(
        None,
        validation_alias=prefixed("AUTH_VERIFY_URL"),
        description="Asked who sends a token that no key and no JWT explains (docs/hooks.md); "
        "default: nobody.",
    )
    auth_verify_fail: Fail = Field(
        "closed",
        validation_alias=prefixed("AUTH_VERIFY_FAIL"),
        description="When it gives no answer: `closed` refuses the request with 503; `open` lets "
        "any token in, with the scope `infer`.",
    )
    auth_verify_scopes: StrTuple = Field(
        ("infer",),
        validation_alias=prefixed("AUTH_VERIFY_SCOPES"),
        description="Comma-separated scopes that it may grant.",
    )
    credit_check_url: str | None = Field(
        None,
        validation_alias=prefixed("CREDIT_CHECK_URL"),
        description="Asked before each new request whether its caller may have it; default: "
        "nobody.",
    )
    credit_check_fail: Fail = Field(
        "closed",
        validation_alias=prefixed("CREDIT_CHECK_FAIL"),
        description="When it gives no answer: `closed` refuses the request with 503; `open`.",
    )
    usage_webhook_url: str | None = Field(
        None,
        validation_alias=prefixed("USAGE_WEBHOOK_URL"),
        description="Told in groups what each request took; default: nobody.",
    )
    hook_key: SecretStr | None = Field(
        None,
        validation_alias=prefixed("HOOK_KEY"),
        description="Sent to these three URLs as `X-Onebox-Key`, so that they know who asks.",
    )
    hook_cache: float = Field(
        30.0,
        ge=0,
        le=3600,
        validation_alias=prefixed("HOOK_CACHE"),
        description="Seconds that an answer about a token or about credits holds; 0: it is asked "
        "for each time.",
    )
    hook_timeout: float = Field(
        3.0,
        gt=0,
        le=60,
        validation_alias=prefixed("HOOK_TIMEOUT"),
        description="Seconds that one try at an answer may take.",
    )
    hook_retries: int = Field(
        4,
        ge=0,
        le=4,
        validation_alias=prefixed("HOOK_RETRIES"),
        description="Further tries after an error of the network, a 429 or a 5xx, after about 1, "
        "2, 4 and 8 seconds.",
    )
    hook_wait: float = Field(
        25.0,
        gt=0,
        le=120,
        validation_alias=prefixed("HOOK_WAIT"),
        description="Seconds that a request waits for an answer at most: no try begins that could "
        "take longer.",
    )

    @field_validator("auth_verify_url", "credit_check_url", "usage_webhook_url", mode="before")
    @classmethod
    def _empty_is_off(cls, value: object) -> object:
        return value or None

    @field_validator("auth_verify_url")
    @classmethod
    def _verify_url(cls, value: str | None) -> str | None:
        return value and checked_url("ONEBOX_AUTH_VERIFY_URL", value)

    @field_validator("credit_check_url")
    @classmethod
    def _credit_url(cls, value: str | None) -> str | None:
        return value and checked_url("ONEBOX_CREDIT_CHECK_URL", value)

    @field_validator("usage_webhook_url")
    @classmethod
    def _usage_url(cls, value: str | None) -> str | None:
        return value and checked_url("ONEBOX_USAGE_WEBHOOK_URL", value)

    @field_validator("auth_verify_scopes")
    @classmethod
    def _known_scopes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        known = ("infer", "manage", "admin")
        for name in value:
            if name not in known:
                raise ConfigurationError(
                    f"ONEBOX_AUTH_VERIFY_SCOPES={name[:64]}: there is no such scope; there are "
                    f"{', '.join(known)}"
                )
        return value

    @field_validator("hook_key")
    @classmethod
    def _fits_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        text = value.get_secret_value() if value else ""
        if any(not FIRST_VISIBLE <= character <= LAST_VISIBLE for character in text):
            raise ConfigurationError(
                "ONEBOX_HOOK_KEY may hold visible ASCII characters only, without spaces; make one "
                'with `python -c "import secrets; print(secrets.token_urlsafe(32))"`'
            )
        return value if text else None
