"""`create_tracing`: traces by the settings, or none: then nothing of OpenTelemetry is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from onebox.core.errors import ConfigurationError
from onebox.core.settings import Settings

if TYPE_CHECKING:
    from onebox.services.tracing.tracing import Tracing

TRACES_PATH = "/v1/traces"


def create_tracing(settings: Settings) -> Tracing | None:
    """None when no endpoint is set. Raises ConfigurationError for one that cannot be used."""
    if not settings.otel_endpoint:
        return None
    endpoint = _endpoint(settings.otel_endpoint)
    try:
        from onebox.services.tracing.export import create_provider, otlp_exporter
        from onebox.services.tracing.tracing import Tracing
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"ONEBOX_OTEL_ENDPOINT={endpoint} wants traces, and the package {error.name} is "
            "missing; pip install 'onebox[otel]', or leave the setting out"
        ) from error
    exporter = otlp_exporter(endpoint + TRACES_PATH)
    return Tracing(create_provider(exporter, settings.service_name or "onebox"))


def _endpoint(wanted: str) -> str:
    """The base address without its last slash. Credentials belong into OTEL_EXPORTER_OTLP_HEADERS:
    an address is logged.
    """
    parts = urlsplit(wanted)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ConfigurationError(
            f"ONEBOX_OTEL_ENDPOINT={parts.scheme}://{parts.hostname or ''}… is no address of a "
            "collector; write http://host:4318, and what it wants as a login into "
            "OTEL_EXPORTER_OTLP_HEADERS"
        )
    return wanted.rstrip("/")
