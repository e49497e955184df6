"""The settings of rate limits: a part of `Settings`."""

from __future__ import annotations

import ipaddress
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

from onebox.core.settings_forms import StrTuple, plain, prefixed


class LimitSettings(BaseSettings):
    """How much one client may ask for in a minute, and how clients are told apart."""

    limits: Literal["off", "public"] = Field(
        "off",
        validation_alias=prefixed("LIMITS"),
        description="Requests a minute of one key (of one address where there is none): `off`, or "
        "`public`: text 60, prompt 20, images 10, audio 20, video 5, health 30, other 120, failed "
        "authentications 20.",
    )
    throttle_rpm: int | None = Field(
        default=None,
        ge=0,
        validation_alias=plain("THROTTLE_RPM"),
        description="Requests a minute of each class of routes, instead of what `ONEBOX_LIMITS` "
        "says.",
    )
    limit_text: int | None = Field(
        default=None,
        ge=0,
        validation_alias=prefixed("LIMIT_TEXT"),
        description="Requests a minute for chat, completions, responses, embeddings and the like; "
        "this and the next ones before the two above, also where those are off; 0: any number.",
    )
    limit_prompt: int | None = Field(
        default=None,
        ge=0,
        validation_alias=prefixed("LIMIT_PROMPT"),
        description="The same for the one-prompt routes.",
    )
    limit_images: int | None = Field(
        default=None,
        ge=0,
        validation_alias=prefixed("LIMIT_IMAGES"),
        description="The same for pictures.",
    )
    limit_audio: int | None = Field(
        default=None,
        ge=0,
        validation_alias=prefixed("LIMIT_AUDIO"),
        description="The same for speech and transcriptions; a WebSocket is one request.",
    )
    limit_video: int | None = Field(
        default=None,
        ge=0,
        validation_alias=prefixed("LIMIT_VIDEO"),
        description="The same for videos.",
    )
    limit_health: int | None = Field(
        default=None,
        ge=0,
        validation_alias=prefixed("LIMIT_HEALTH"),
        description="The same for `/health`, `/ready` and `/metrics`; those of this machine itself "
        "are not counted.",
    )
    limit_other: int | None = Field(
        default=None,
        ge=0,
        validation_alias=prefixed("LIMIT_OTHER"),
        description="The same for all other routes.",
    )
    limit_failed: int | None = Field(
        default=None,
        ge=0,
        validation_alias=prefixed("LIMIT_FAILED"),
        description="The same for requests of one address whose key is not valid.",
    )
    limit_tokens: int | None = Field(
        default=None,
        ge=0,
        validation_alias=prefixed("LIMIT_TOKENS"),
        description="Tokens a minute of one key, of prompts and written ones; 0: any number.",
    )
    limits_url: SecretStr | None = Field(
        default=None,
        validation_alias=prefixed("LIMITS_URL"),
        description="Where requests are counted: `redis://host:6379/0` (`rediss://`, `unix://`) "
        "lets several servers count together; default: `memory://`, this one alone.",
    )
    limits_down: Literal["open", "closed"] = Field(
        "open",
        validation_alias=prefixed("LIMITS_DOWN"),
        description="When that does not answer: `open` lets requests in uncounted, `closed` "
        "answers 503.",
    )
    trusted_proxies: StrTuple = Field(
        (),
        validation_alias=prefixed("TRUSTED_PROXIES"),
        description="Comma-separated addresses and networks of reverse proxies whose "
        "`X-Forwarded-For` and `X-Forwarded-Proto` are believed; empty: nobody's.",
    )

    @field_validator("trusted_proxies")
    @classmethod
    def _addresses(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            try:
                ipaddress.ip_network(value)
            except ValueError:
                raise ValueError(
                    f"{value!r} is neither an address nor a network; write such as 127.0.0.1 or "
                    "10.0.0.0/8"
                ) from None
        return values
