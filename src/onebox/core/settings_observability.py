"""The settings of logs to files and traces: a part of `Settings`."""

from __future__ import annotations

from pydantic import AliasChoices, ByteSize, Field
from pydantic_settings import BaseSettings

from onebox.core.settings_forms import prefixed


class ObservabilitySettings(BaseSettings):
    """Logs to files and traces."""

    log_file: str = Field(
        "auto",
        validation_alias=prefixed("LOG_FILE"),
        description="File that log lines go to as JSON, besides the console; each worker writes "
        "one beside it. `auto`: `logs/onebox.log` in the data folder; `off`: none.",
    )
    log_file_size: ByteSize = Field(
        ByteSize(10_000_000),
        ge=10_000,
        validation_alias=prefixed("LOG_FILE_SIZE"),
        description="Size at which a log file is put aside and a new one begun (`10MB`).",
    )
    log_files: int = Field(
        5,
        ge=1,
        le=1000,
        validation_alias=prefixed("LOG_FILES"),
        description="Log files put aside that are kept.",
    )
    otel_endpoint: str | None = Field(
        None,
        validation_alias=AliasChoices("ONEBOX_OTEL_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        description="Where OpenTelemetry traces are sent by OTLP over HTTP "
        "(`http://127.0.0.1:4318`); needs `onebox[otel]`. Default: nowhere.",
    )
