"""All settings, read once, frozen, passed along and never imported as a value.

Sources, strongest first: environment, `.env`, `onebox.toml`, both in the project root.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, ByteSize, Field, SecretStr, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from onebox.core.settings_compat import CompatSettings, with_familiar_names
from onebox.core.settings_files import ENV_FILE, TOML_FILE, check_files, variables
from onebox.core.settings_forms import (
    PREFIX,
    ROOT_VARIABLE,
    PathTuple,
    SecretTuple,
    StrMap,
    StrTuple,
    plain,
    prefixed,
    project_root,
    split_pairs,
)
from onebox.core.settings_hooks import HookSettings
from onebox.core.settings_jobs import JobSettings
from onebox.core.settings_keys import KeySettings
from onebox.core.settings_limits import LimitSettings
from onebox.core.settings_observability import ObservabilitySettings
from onebox.core.settings_runtime import RuntimeSettings
from onebox.core.settings_upstreams import UpstreamSettings
from onebox.core.settings_usage import UsageSettings


class Settings(
    KeySettings,
    LimitSettings,
    UsageSettings,
    HookSettings,
    UpstreamSettings,
    CompatSettings,
    ObservabilitySettings,
    JobSettings,
    RuntimeSettings,
):
    """Onebox settings. Field descriptions are the README's table."""

    # The prefix keeps field names out of the environment: a DEVICE or ROOT there is not ours.
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", populate_by_name=True
    )

    root: Path = Field(
        default_factory=project_root,
        validation_alias=AliasChoices(ROOT_VARIABLE),
        description="Project root; relative paths resolve from it.",
    )
    host: str = Field(
        "127.0.0.1", validation_alias=plain("HOST"), description="Address to listen on."
    )
    port: int = Field(
        8000, ge=0, le=65535, validation_alias=plain("PORT"), description="TCP port; 0 picks one."
    )
    secret_key: SecretStr | None = Field(
        None,
        validation_alias=plain("SECRET_KEY"),
        description="HS256 key for JWT bearer tokens; JWT are refused without it.",
    )
    api_keys: SecretTuple = Field(
        (),
        validation_alias=plain("API_KEYS"),
        description="Comma-separated bearer keys with the scope `infer`.",
    )
    admin_keys: SecretTuple = Field(
        (),
        validation_alias=prefixed("ADMIN_KEYS"),
        description="Comma-separated bearer keys with all scopes.",
    )
    jwt_audience: str | None = Field(
        None,
        validation_alias=prefixed("JWT_AUDIENCE"),
        description="Required `aud` of a JWT, if set.",
    )
    jwt_issuer: str | None = Field(
        None,
        validation_alias=prefixed("JWT_ISSUER"),
        description="Required `iss` of a JWT, if set.",
    )
    cors_origins: StrTuple = Field(
        (),
        validation_alias=plain("CORS_ORIGINS"),
        description="Comma-separated browser origins that may call; empty allows none.",
    )
    public_url: str | None = Field(
        None,
        validation_alias=prefixed("PUBLIC_URL"),
        description="What links start with; default is the address the client used.",
    )
    model_dirs: PathTuple = Field(
        (Path("ai-models"),),
        validation_alias=plain("MODEL_DIRS"),
        description="Comma-separated folders with checkpoints.",
    )
    model_scan_interval: float = Field(
        10.0,
        gt=0,
        validation_alias=plain("MODEL_SCAN_INTERVAL"),
        description="Seconds between sweeps of the model folders.",
    )
    pickle: Literal["convert", "refuse"] = Field(
        "convert",
        validation_alias=prefixed("PICKLE"),
        description="`convert`: pickled weights become safetensors on first use, in a process that "
        "can do nothing else; `refuse`.",
    )
    data_dir: Path = Field(
        Path(".onebox"),
        validation_alias=plain("DATA_DIR"),
        description="Databases, generated key, results, spool.",
    )
    default_inference_steps: int = Field(
        30,
        ge=1,
        le=150,
        validation_alias=plain("DEFAULT_INFERENCE_STEPS"),
        description="Denoising steps when a request names none.",
    )
    default_guidance_scale: float = Field(
        7.5,
        ge=1,
        le=20,
        validation_alias=plain("DEFAULT_GUIDANCE_SCALE"),
        description="Guidance scale when a request names none.",
    )
    default_models: StrMap = Field(
        {},
        validation_alias=prefixed("DEFAULT_MODELS"),
        description="Model for a task when a request names none: `text-to-image=sd-turbo,…`; "
        "also `ONEBOX_DEFAULT_<TASK>`.",
    )
    model_aliases: StrMap = Field(
        {},
        validation_alias=prefixed("MODEL_ALIASES"),
        description="Further names of models: `whisper-1=whisper-base,…`.",
    )
    max_body_bytes: int = Field(
        64 * 1024 * 1024,
        ge=1024,
        validation_alias=prefixed("MAX_BODY_BYTES"),
        description="Largest request body in bytes.",
    )
    max_audio_seconds: float = Field(
        4 * 3600.0,
        gt=0,
        validation_alias=prefixed("MAX_AUDIO_SECONDS"),
        description="Longest sound that may be transcribed, in seconds.",
    )
    remote_media: bool = Field(
        False,
        validation_alias=prefixed("REMOTE_MEDIA"),
        description="Fetch pictures that requests name by an https link.",
    )
    remote_media_hosts: StrTuple = Field(
        (),
        validation_alias=prefixed("REMOTE_MEDIA_HOSTS"),
        description="Comma-separated hosts (`name` or `name:port`) of such links that may be "
        "private, plain http and on any port.",
    )
    file_ttl: float = Field(
        3600.0,
        gt=0,
        validation_alias=prefixed("FILE_TTL"),
        description="Seconds that a result link works.",
    )
    starter: Literal["on", "off"] = Field(
        "on",
        validation_alias=prefixed("STARTER"),
        description="`on`: the first start fetches the starter models in the background; `off`.",
    )
    database_url: SecretStr | None = Field(
        None,
        validation_alias=prefixed("DATABASE_URL"),
        description="Where responses and jobs are kept, such as "
        "`postgresql+psycopg://user:pw@host/name`; default: `onebox.db` in the data folder.",
    )
    response_ttl: float = Field(
        30.0,
        ge=0,
        validation_alias=prefixed("RESPONSE_TTL"),
        description="Days that a stored response is kept after its last use; 0 keeps it.",
    )
    response_store: ByteSize = Field(
        ByteSize(4 * 1024**3),
        validation_alias=prefixed("RESPONSE_STORE"),
        description="Space for stored responses (`4GiB`); the oldest of who holds most go first.",
    )
    docs: bool = Field(
        True,
        validation_alias=prefixed("DOCS"),
        description="Serve `/docs`, `/redoc` and `/openapi.json`.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", validation_alias=plain("LOG_LEVEL"), description="Least level that is logged."
    )
    log_format: Literal["auto", "human", "json"] = Field(
        "auto",
        validation_alias=prefixed("LOG_FORMAT"),
        description="`auto`: human in a terminal, JSON otherwise.",
    )
    log_prompts: bool = Field(
        False,
        validation_alias=prefixed("LOG_PROMPTS"),
        description="Whether prompt text may appear in logs.",
    )

    @model_validator(mode="before")
    @classmethod
    def _default_per_task(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Collect `ONEBOX_DEFAULT_TEXT_TO_IMAGE=…` into `default_models`."""
        prefix = PREFIX + "DEFAULT_"
        own = {
            PREFIX + "DEFAULT_INFERENCE_STEPS",
            PREFIX + "DEFAULT_GUIDANCE_SCALE",
            PREFIX + "DEFAULT_MODELS",
        }
        found = {
            name.removeprefix(prefix).lower().replace("_", "-"): value
            for name, value in variables(project_root()).items()
            if name.startswith(prefix) and name not in own
        }
        if found:
            key = next(
                (k for k in (PREFIX + "DEFAULT_MODELS", "default_models") if k in values),
                "default_models",
            )
            # What is wrong with it is told when the setting itself is looked at.
            with contextlib.suppress(ValueError):
                values[key] = {**split_pairs(values.get(key, {})), **found}
        return values

    @model_validator(mode="after")
    def _absolute_paths(self) -> Settings:
        folders = dict.fromkeys(self._absolute(folder) for folder in self.model_dirs)
        object.__setattr__(self, "model_dirs", tuple(folders))
        object.__setattr__(self, "data_dir", self._absolute(self.data_dir))
        return self

    def _absolute(self, path: Path) -> Path:
        return (self.root / path.expanduser()).resolve()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        toml = TomlConfigSettingsSource(settings_cls, toml_file=project_root() / TOML_FILE)
        given = (init_settings, env_settings, dotenv_settings, toml)
        return with_familiar_names(settings_cls, *given)


def load_settings(**overrides: Any) -> Settings:
    """Read the settings.

    Raises ConfigurationError for a file that cannot be read, and pydantic's ValidationError, which
    `settings_problems` puts into words.
    """
    root = project_root()
    check_files(root)
    env_file: dict[str, Any] = {"_env_file": root / ENV_FILE}
    return Settings(**env_file, **overrides)
