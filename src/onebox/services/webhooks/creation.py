"""`create_webhooks`: joins what webhooks are made of."""

from __future__ import annotations

from onebox.core.settings import Settings
from onebox.services.database import Database
from onebox.services.hooks import picture_reports, usage_reports
from onebox.services.hooks.creation import key_headers
from onebox.services.metrics import Metrics
from onebox.services.webhooks.delivery import Webhooks
from onebox.services.webhooks.guard import WebhookGuard
from onebox.services.webhooks.signing import Signer, webhook_secret


def create_webhooks(settings: Settings, database: Database, metrics: Metrics) -> Webhooks:
    """They are not sent before `Webhooks.start`. Raises ConfigurationError for a bad secret."""
    secret = webhook_secret(settings.webhook_secret, settings.data_dir)
    guard = WebhookGuard(settings.webhook_hosts)
    own = key_headers(settings)
    return Webhooks(
        database,
        Signer(secret),
        guard,
        sent=metrics.webhooks.sent,
        own={usage_reports.EVENT: own, picture_reports.EVENT: own},
    )
