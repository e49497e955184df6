"""Makes the hooks that settings ask for: none whose URL is not set."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from onebox.core.errors import ConfigurationError, InvalidInput
from onebox.core.settings import Settings
from onebox.services.database import Database
from onebox.services.hooks.backend import CONCURRENCY, Backend, HookName
from onebox.services.hooks.credits import CreditCheck
from onebox.services.hooks.familiar import FamiliarCredits, FamiliarVerify
from onebox.services.hooks.picture_reports import PictureReports
from onebox.services.hooks.shapes import CreditShape, OwnCredits, OwnVerify, VerifyShape
from onebox.services.hooks.usage_reports import UsageReports
from onebox.services.hooks.verification import Verification
from onebox.services.metrics import Metrics
from onebox.services.outgoing.breaker import CircuitBreaker
from onebox.services.outgoing.client import create_http_client
from onebox.services.outgoing.retrying import RetryPolicy
from onebox.services.usage.ledger import Hook
from onebox.services.webhooks.delivery import Webhooks
from onebox.services.webhooks.guard import operators_link

KEY_HEADER = "X-Onebox-Key"


def create_verification(settings: Settings, metrics: Metrics) -> Verification | None:
    url = settings.auth_verify_url
    if url is None:
        return None
    familiar = "auth_verify_url" in settings.familiar_hooks
    shape: VerifyShape = FamiliarVerify() if familiar else OwnVerify()
    return Verification(
        _create_backend("auth_verify", url, shape.no, settings, metrics),
        shape=shape,
        fail=settings.auth_verify_fail,
        granted=settings.auth_verify_scopes,
        seconds=settings.hook_cache,
    )


def create_credit_check(settings: Settings, metrics: Metrics) -> CreditCheck | None:
    url = settings.credit_check_url
    if url is None:
        return None
    familiar = "credit_check_url" in settings.familiar_hooks
    shape: CreditShape = FamiliarCredits() if familiar else OwnCredits()
    return CreditCheck(
        _create_backend("credit_check", url, shape.no, settings, metrics),
        shape=shape,
        fail=settings.credit_check_fail,
        seconds=settings.hook_cache,
    )


def create_usage_hooks(settings: Settings, webhooks: Webhooks) -> list[Hook]:
    """For the ledger. Raises ConfigurationError for a URL that webhooks cannot go to."""
    url = settings.usage_webhook_url
    if url is None:
        return []
    try:
        operators_link(url)
    except InvalidInput as error:
        raise ConfigurationError(f"ONEBOX_USAGE_WEBHOOK_URL: {error.message}") from None
    # A familiar backend is told of pictures alone, by the route that makes them.
    if "usage_webhook_url" in settings.familiar_hooks:
        return []
    return [UsageReports(url, webhooks.wake).rows_added]


def create_picture_reports(
    settings: Settings, database: Database, webhooks: Webhooks
) -> PictureReports | None:
    """For the familiar route of try-on; None where no familiar backend wants to know."""
    url = settings.usage_webhook_url
    if url is None or "usage_webhook_url" not in settings.familiar_hooks:
        return None
    return PictureReports(url, database, webhooks.wake)


def key_headers(settings: Settings) -> dict[str, str]:
    """By which the operator's backend knows who asks."""
    key = settings.hook_key
    return {} if key is None else {KEY_HEADER: key.get_secret_value()}


def _create_backend(
    name: HookName, url: str, no: Collection[int], settings: Settings, metrics: Metrics
) -> Backend:
    timeout_s = min(settings.hook_timeout, settings.hook_wait)
    metrics.hooks.circuit(name, "closed")
    return Backend(
        name,
        url,
        create_http_client(
            connect_s=timeout_s,
            read_s=timeout_s,
            write_s=timeout_s,
            connections=CONCURRENCY,
            headers=key_headers(settings),
        ),
        metrics.hooks,
        no=no,
        policy=RetryPolicy(
            retries=settings.hook_retries, max_total_s=settings.hook_wait - timeout_s
        ),
        timeout_s=timeout_s,
        breaker=CircuitBreaker(changed=partial(metrics.hooks.circuit, name)),
    )
