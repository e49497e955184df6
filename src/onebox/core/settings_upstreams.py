"""The settings of models that run on other servers, and of fallbacks: a part of `Settings`."""

from __future__ import annotations

import ipaddress
import json
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode

from onebox.core.settings_forms import PREFIX, StrMap, prefixed

UpstreamKind = Literal["openai", "hf", "gemini", "stability"]
# What may be asked of each kind; the first is meant where a model names no tasks.
TASKS_OF: dict[str, tuple[str, ...]] = {
    "openai": (
        "chat",
        "completion",
        "embeddings",
        "text-to-image",
        "image-to-image",
        "inpainting",
        "speech",
        "transcription",
    ),
    "hf": ("chat", "embeddings", "text-to-image", "speech", "transcription"),
    "gemini": ("chat", "embeddings", "text-to-image"),
    "stability": ("text-to-image", "image-to-image", "inpainting"),
}
BASE_URLS: dict[str, str] = {
    "openai": "https://api.openai.com/v1",
    "hf": "https://router.huggingface.co",
    "gemini": "https://generativelanguage.googleapis.com/v1beta",
    "stability": "https://api.stability.ai",
}
# Of hosts with a dot that belong to no public domain.
OWN_DOMAINS = (".local", ".internal", ".lan", ".home.arpa", ".localhost")
MAX_CONCURRENT = 1024

Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
# It becomes a part of paths at some of them.
RemoteName = Annotated[
    str, Field(min_length=1, max_length=256, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@/-]*$")
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class UpstreamModel(_Strict):
    """One model of another server.

    Attributes:
        model: its name there.
        tasks: what it is used for here; none: the first that its kind of server knows.
        parameters: fields that are put into the body of every request, as they are.
    """

    model: RemoteName
    tasks: tuple[str, ...] = ()
    parameters: dict[str, Any] = {}

    @field_validator("model")
    @classmethod
    def _stays_in_place(cls, value: str) -> str:
        if ".." in value or "//" in value:
            raise ValueError("must not hold '..' or '//'")
        return value


class Upstream(_Strict):
    """Another server, and which of its models are used here. A table `[[upstream]]`.

    Attributes:
        api_key_env: name of the environment variable that holds the key; None: no key is sent.
        models: name here → the model there.
        allow_http: send to it without encryption wherever it is.
        read_timeout: seconds between two pieces of an answer.
        max_concurrent: requests that it gets at a time; others wait.
        retries: after the first try.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    kind: UpstreamKind
    base_url: str = Field(default="", max_length=2048)
    api_key_env: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    models: dict[str, UpstreamModel] = Field(min_length=1, max_length=1000)
    allow_http: bool = False
    connect_timeout: Seconds = 10.0
    read_timeout: Seconds = 20.0
    write_timeout: Seconds = 10.0
    max_concurrent: int = Field(default=16, ge=1, le=MAX_CONCURRENT)
    retries: int = Field(default=4, ge=0, le=4)

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        # Of no value is said what it is: someone may have put a key into it.
        if self.base_url:
            _check_url(self.base_url, allow_http=self.allow_http)
        for name, model in self.models.items():
            _check_name(name)
            wrong = [task for task in model.tasks if task not in TASKS_OF[self.kind]]
            if wrong:
                raise ValueError(
                    f"models.{name}.tasks: the kind {self.kind} does not know "
                    f"{', '.join(wrong)[:100]}; it knows {', '.join(TASKS_OF[self.kind])}"
                )
        return self

    @property
    def url(self) -> str:
        """What paths are put behind, without a slash at its end."""
        return (self.base_url or BASE_URLS[self.kind]).rstrip("/")


def _listed(value: Any) -> Any:
    """As a list is written in the environment: JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        # Not with the text, into which someone may have put a key.
        raise ValueError("must be a list of tables, as JSON") from None


class UpstreamSettings(BaseSettings):
    """Models that run on other servers, and which model takes over when one is overloaded."""

    upstream: Annotated[tuple[Upstream, ...], NoDecode, BeforeValidator(_listed)] = Field(
        (),
        validation_alias=AliasChoices(PREFIX + "UPSTREAM"),
        description="Models that run on other servers: tables `[[upstream]]` of `onebox.toml`, or "
        "a list of them as JSON; see `docs/upstreams.md`.",
    )
    fallbacks: StrMap = Field(
        {},
        validation_alias=prefixed("FALLBACKS"),
        description="Which model takes over when one is overloaded: `big=small,…`.",
    )

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        upstreams = [upstream.name for upstream in self.upstream]
        models = [name for upstream in self.upstream for name in upstream.models]
        for kind, names in (("upstreams", upstreams), ("models of upstreams", models)):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"upstream: two {kind} are called {twice[0]!r}; rename one")
        _check_circles(self.fallbacks)
        return self


def _check_url(url: str, *, allow_http: bool) -> None:
    """Raises ValueError, without the URL in it."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if parts.scheme not in ("https", "http") or not host or parts.query or parts.fragment:
        raise ValueError("base_url must be https://host/path, without a query")
    if "@" in parts.netloc:
        raise ValueError(
            "base_url must not hold a user name or password; put the key into an environment "
            "variable and name that in api_key_env"
        )
    if parts.scheme == "http" and not allow_http and not _is_near(host):
        raise ValueError(
            "base_url must begin with https:// for a host beyond the own network; "
            "allow_http = true sends prompts and the key unencrypted"
        )


def _is_near(host: str) -> bool:
    """Whether it is this machine, or one of the own network."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith(OWN_DOMAINS)
    return address.is_loopback or address.is_private


def _check_name(name: str) -> None:
    if not 1 <= len(name) <= 256 or not name.isprintable() or name != name.strip():
        raise ValueError(
            "models: a name has 1 to 256 printable characters, and no space at its ends"
        )


def _check_circles(fallbacks: dict[str, str]) -> None:
    for start in fallbacks:
        seen, name = {start}, start
        while (name := fallbacks.get(name, "")) and name not in seen:
            seen.add(name)
        if name:
            raise ValueError(f"fallbacks: {start} leads back to {name}; break the circle")
