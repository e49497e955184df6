"""What there is of other servers, by the settings."""

from __future__ import annotations

from collections.abc import Mapping

from onebox.core.contracts import Entry
from onebox.core.errors import ConfigurationError
from onebox.core.media import Spool
from onebox.core.settings import Settings
from onebox.core.settings_files import variables
from onebox.core.settings_upstreams import TASKS_OF, Upstream, UpstreamModel
from onebox.runtime.memory_pool import MemoryPools
from onebox.services.metrics import Metrics
from onebox.services.outgoing.breaker import CircuitBreaker
from onebox.services.upstreams import gemini
from onebox.services.upstreams.adapter import Adapter
from onebox.services.upstreams.client import UpstreamClient
from onebox.services.upstreams.connection import Connection
from onebox.services.upstreams.hf import HuggingFace
from onebox.services.upstreams.openai import OpenAI
from onebox.services.upstreams.stability import Stability

FAMILY = "upstream"


def remote_entries(settings: Settings) -> list[Entry]:
    """The models of other servers, as the registry lists them."""
    return [
        _entry(upstream, name, model)
        for upstream in settings.upstream
        for name, model in upstream.models.items()
    ]


def create_upstreams(
    settings: Settings,
    spool: Spool,
    pools: MemoryPools,
    metrics: Metrics,
    environment: Mapping[str, str | None] | None = None,
) -> dict[str, UpstreamClient]:
    """By name. Raises ConfigurationError for a key that is not there.

    Args:
        environment: where the keys are; default: that of this process, and `.env`.
    """
    if environment is None:
        environment = variables(settings.root)
    return {
        upstream.name: _client(upstream, -1 - place, spool, pools, metrics, environment)
        for place, upstream in enumerate(settings.upstream)
    }


def _entry(upstream: Upstream, name: str, model: UpstreamModel) -> Entry:
    return Entry(
        key=f"{FAMILY}:{upstream.name}:{name}",
        name=name,
        path="",
        extension="",
        size_bytes=0,
        status="ready",
        family=FAMILY,
        kind=upstream.kind,
        tasks=tuple(sorted(model.tasks or TASKS_OF[upstream.kind][:1])),
        facts={"model": model.model, "parameters": model.parameters},
        upstream=upstream.name,
    )


def _client(
    upstream: Upstream,
    index: int,
    spool: Spool,
    pools: MemoryPools,
    metrics: Metrics,
    environment: Mapping[str, str | None],
) -> UpstreamClient:
    told = metrics.upstreams
    connection = Connection(
        upstream,
        _key(upstream, environment),
        key_header=gemini.KEY_HEADER if upstream.kind == "gemini" else "Authorization",
        breaker=CircuitBreaker(changed=lambda state: told.breaker(upstream.name, state)),
        retried=lambda: told.retried(upstream.name),
    )
    return UpstreamClient(
        index,
        spool,
        pools,
        connection,
        _adapter(upstream),
        max_concurrent=upstream.max_concurrent,
        ended=lambda status: told.ended(upstream.name, status),
    )


def _adapter(upstream: Upstream) -> Adapter:
    adapters: dict[str, type[Adapter]] = {
        "openai": OpenAI,
        "hf": HuggingFace,
        "gemini": gemini.Gemini,
        "stability": Stability,
    }
    return adapters[upstream.kind]()


def _key(upstream: Upstream, environment: Mapping[str, str | None]) -> str | None:
    name = upstream.api_key_env
    if name is None:
        return None
    key = (environment.get(name) or "").strip()
    if not key:
        raise ConfigurationError(
            f"upstream {upstream.name}: the environment variable {name} (its api_key_env) is not "
            "set; set it to the key, or leave api_key_env out where none is needed"
        )
    if not key.isascii() or not key.isprintable():
        raise ConfigurationError(
            f"upstream {upstream.name}: the key in {name} has characters that no header can hold"
        )
    return key
