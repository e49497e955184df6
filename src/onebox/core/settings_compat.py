"""The settings of the familiar routes of other servers: a part of `Settings`.

With each family of routes come the names that its servers have for settings. They stand for ours,
and count only while the family is on; ours win from the same place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
)

from onebox.core.errors import ConfigurationError
from onebox.core.operator_url import checked_url
from onebox.core.settings_files import variables
from onebox.core.settings_forms import PREFIX, StrTuple, prefixed, project_root, split_list
from onebox.core.settings_upstreams import Upstream

SETTING = "COMPAT"
HF_KEY = "HF_API_KEY"
# A file of which a folder is itself a checkpoint, and no folder of some.
OF_CHECKPOINTS = ("model_index.json", "config.json")

# Each family with its names for settings: what stands for each, without the prefix.
FAMILIES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "studio": {
        # See `_with_hf_key`.
        HF_KEY: (),
        "ALLOWED_ORIGINS": ("CORS_ORIGINS",),
        "REQUEST_TIMEOUT": ("REQUEST_TIMEOUT",),
    },
    "generate": {
        "API_HOST": ("HOST",),
        "API_PORT": ("PORT",),
        "DEFAULT_MODEL": ("COMPAT_MODEL",),
        "DEFAULT_TEMPERATURE": ("COMPAT_TEMPERATURE",),
        "DEFAULT_MAX_TOKENS": ("COMPAT_MAX_TOKENS",),
    },
    "photo": {
        "API_KEY": ("COMPAT_API_KEY",),
        "MODEL_PATH": ("COMPAT_MODEL_PATH",),
    },
    "tryon": {
        "BACKEND_URL": ("COMPAT_BACKEND_URL",),
        "SERVICE_NAME": ("SERVICE_NAME",),
    },
}
# Where the backend of a try-on server has what our settings of these names lead to.
HOOKS = {
    "auth_verify_url": "/api/v1/auth/verify/",
    "credit_check_url": "/api/v1/credits/check/",
    "usage_webhook_url": "/api/v1/inference/webhook/",
}


class CompatSettings(BaseSettings):
    """The familiar routes of other servers."""

    compat: StrTuple = Field(
        (),
        validation_alias=prefixed(SETTING),
        description="Comma-separated familiar routes of other servers: `studio`, `generate`, "
        "`photo`, `tryon` (docs/compat.md); none by default.",
    )
    compat_model: str | None = Field(
        None,
        max_length=512,
        validation_alias=prefixed("COMPAT_MODEL"),
        description="Model of the familiar `/generate` and `/local/generate`; default: that of "
        "chats. Also `DEFAULT_MODEL` with `generate`.",
    )
    compat_temperature: float | None = Field(
        None,
        ge=0,
        le=2,
        allow_inf_nan=False,
        validation_alias=prefixed("COMPAT_TEMPERATURE"),
        description="Their temperature when a request names none; default: the model's. Also "
        "`DEFAULT_TEMPERATURE` with `generate`.",
    )
    compat_max_tokens: int | None = Field(
        None,
        ge=1,
        validation_alias=prefixed("COMPAT_MAX_TOKENS"),
        description="Their longest answer when a request names none; default: what the context "
        "has left. Also `DEFAULT_MAX_TOKENS` with `generate`.",
    )
    compat_api_key: SecretStr | None = Field(
        None,
        validation_alias=prefixed("COMPAT_API_KEY"),
        description="One more of `API_KEYS`. Also `API_KEY` with `photo`.",
    )
    compat_model_path: Path | None = Field(
        None,
        validation_alias=prefixed("COMPAT_MODEL_PATH"),
        description="A checkpoint, which draws the backgrounds of the familiar `/generate`, or a "
        "folder of some; it, or the folder it lies in, becomes one more of `MODEL_DIRS`. Also "
        "`MODEL_PATH` with `photo`.",
    )
    compat_backend_url: str | None = Field(
        None,
        validation_alias=prefixed("COMPAT_BACKEND_URL"),
        description="A backend that was written for a try-on server: asked about users and their "
        "credits, and told of pictures, as that server does (docs/compat.md), but where "
        "`ONEBOX_AUTH_VERIFY_URL`, `ONEBOX_CREDIT_CHECK_URL` or `ONEBOX_USAGE_WEBHOOK_URL` is set. "
        "Also `BACKEND_URL` with `tryon`.",
    )
    service_name: str | None = Field(
        None,
        max_length=100,
        validation_alias=prefixed("SERVICE_NAME"),
        description="What the API's pages and traces call the server; default: Onebox. Also "
        "`SERVICE_NAME` with `tryon`.",
    )

    @field_validator("compat")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _families(value)

    @field_validator("compat_backend_url")
    @classmethod
    def _backend_url(cls, value: str | None) -> str | None:
        # An empty one is none.
        return checked_url("ONEBOX_COMPAT_BACKEND_URL", value).rstrip("/") if value else None

    @model_validator(mode="after")
    def _join(self) -> Self:
        """What is one more of several is joined to them."""
        settings: Any = self
        if self.compat_api_key:
            object.__setattr__(self, "api_keys", (*settings.api_keys, self.compat_api_key))
        if self.compat_model_path is not None:
            path = (settings.root / self.compat_model_path.expanduser()).resolve()
            if not path.exists():
                raise ConfigurationError(
                    f"ONEBOX_COMPAT_MODEL_PATH={path} is not there; name a checkpoint or a folder "
                    "of some (MODEL_PATH means the same with ONEBOX_COMPAT=photo)"
                )
            object.__setattr__(self, "compat_model_path", path)
            folder = path.parent if _is_checkpoint(path) else path
            object.__setattr__(self, "model_dirs", (*settings.model_dirs, folder))
        if self.compat_backend_url is not None:
            for name, path in HOOKS.items():
                if getattr(settings, name) is None:
                    object.__setattr__(self, name, self.compat_backend_url + path)
        if "studio" in self.compat and _is_set(HF_KEY):
            object.__setattr__(self, "upstream", tuple(map(_with_hf_key, settings.upstream)))
        return self

    @property
    def familiar_hooks(self) -> frozenset[str]:
        """The settings that lead to the familiar backend, which is asked in its own way."""
        base = self.compat_backend_url
        if base is None:
            return frozenset()
        return frozenset(name for name, path in HOOKS.items() if getattr(self, name) == base + path)

    @property
    def background_model(self) -> str | None:
        """The checkpoint of `compat_model_path` by its name, if that is one."""
        path = self.compat_model_path
        return path.name if path is not None and _is_checkpoint(path) else None


def with_familiar_names(
    settings: type[BaseSettings],
    init: PydanticBaseSettingsSource,
    environment: PydanticBaseSettingsSource,
    env_file: PydanticBaseSettingsSource,
    toml: PydanticBaseSettingsSource,
) -> tuple[PydanticBaseSettingsSource, ...]:
    """The sources, strongest first, each of both with variables before its familiar names.

    Raises ConfigurationError for a family that there is not.
    """
    found = next(filter(None, map(_told, (init, environment, env_file, toml))), ())
    families = _families(split_list(found))
    if not families:
        return init, environment, env_file, toml
    own = _translated(settings, environment, families)
    filed = _translated(settings, env_file, families)
    return init, environment, own, env_file, filed, toml


def _translated(
    settings: type[BaseSettings], source: PydanticBaseSettingsSource, families: Iterable[str]
) -> PydanticBaseSettingsSource:
    """The familiar names among a source's variables, as if they were ours."""
    assert isinstance(source, EnvSettingsSource)
    found: dict[str, str] = {}
    for family in families:
        for name, meant in FAMILIES[family].items():
            # These servers take an empty one for one that is not set.
            if value := source.env_vars.get(name.lower()):
                # In the small letters in which sources keep them.
                found |= dict.fromkeys(((PREFIX + own).lower() for own in meant), value)
    translated = EnvSettingsSource(settings)
    translated.env_vars = found
    return translated


def _told(source: PydanticBaseSettingsSource) -> Any:
    """What a source says of the families."""
    if isinstance(source, EnvSettingsSource):
        return source.env_vars.get((PREFIX + SETTING).lower())
    assert isinstance(source, InitSettingsSource)
    return source.init_kwargs.get(SETTING.lower()) or source.init_kwargs.get(PREFIX + SETTING)


def _families(names: Iterable[str]) -> tuple[str, ...]:
    unknown = [name for name in names if name not in FAMILIES]
    if unknown:
        raise ConfigurationError(
            f"ONEBOX_COMPAT={unknown[0][:64]}: there is no such family of routes; there are "
            f"{', '.join(FAMILIES)}"
        )
    return tuple(dict.fromkeys(names))


def _is_set(name: str) -> bool:
    """Whether a variable has a value that keys of upstreams are read from (services/upstreams)."""
    return bool(variables(project_root()).get(name))


def _with_hf_key(upstream: Upstream) -> Upstream:
    """One of Hugging Face gets its key where `HF_API_KEY` says, unless it says that itself."""
    if upstream.kind != "hf" or upstream.api_key_env is not None:
        return upstream
    return upstream.model_copy(update={"api_key_env": HF_KEY})


def _is_checkpoint(path: Path) -> bool:
    return path.is_file() or any((path / name).is_file() for name in OF_CHECKPOINTS)
