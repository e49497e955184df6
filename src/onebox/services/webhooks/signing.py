"""Signatures by which a receiver knows that a webhook is ours, as the openai SDK checks them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from pathlib import Path

from pydantic import SecretStr

from onebox.core.errors import ConfigurationError
from onebox.services.secret_files import stored_secret

PREFIX = "whsec_"
SECRET_FILE = "webhook.key"
SECRET_BYTES = 32
# A shorter one could be guessed from a single webhook.
MIN_SECRET_BYTES = 24


class Signer:
    """Signs with one secret.

    Args:
        secret: `whsec_` and base64, or any other text. Raises ConfigurationError for one that is
            short or cannot be read.
    """

    def __init__(self, secret: str) -> None:
        self._key = _key_of(secret)
        if len(self._key) < MIN_SECRET_BYTES:
            raise ConfigurationError(
                f"ONEBOX_WEBHOOK_SECRET has {len(self._key)} bytes; it needs at least "
                f'{MIN_SECRET_BYTES}: `python -c "import base64, secrets; '
                f"print('{PREFIX}' + base64.b64encode(secrets.token_bytes(32)).decode())\"`"
            )

    def headers(self, event_id: str, sent_at: float, body: bytes) -> dict[str, str]:
        """Those that go with a body; `sent_at` is in seconds since 1970."""
        timestamp = str(int(sent_at))
        signed = b".".join((event_id.encode(), timestamp.encode(), body))
        digest = hmac.new(self._key, signed, hashlib.sha256).digest()
        return {
            "webhook-id": event_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
        }


def webhook_secret(configured: SecretStr | None, data_dir: Path) -> str:
    """The one that was configured, else the one of the data folder, made at first use."""
    if configured is not None:
        return configured.get_secret_value()
    return stored_secret(data_dir / SECRET_FILE, PREFIX, _new_text)


def _new_text() -> str:
    return base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def _key_of(secret: str) -> bytes:
    if not secret.startswith(PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise ConfigurationError(f"ONEBOX_WEBHOOK_SECRET must have base64 after {PREFIX}") from None
