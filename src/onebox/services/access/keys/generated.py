"""The admin key that a server makes for itself while nobody has configured one."""

from __future__ import annotations

from onebox.core.errors import ConfigurationError
from onebox.core.hosts import is_loopback
from onebox.core.settings import Settings
from onebox.services.access.keys.keys import SECRET_PREFIX, is_any_usable
from onebox.services.database import Database
from onebox.services.secret_files import stored_secret

ADMIN_KEY_FILE = "admin.key"


def generated_key(settings: Settings, database: Database, *, may_make: bool = False) -> str | None:
    """Made at the first start and kept in a file; None where the settings let somebody in.

    Stored keys do not end it: what it was given to goes on working. But where others can reach the
    server, none is made unless `may_make` says that its owner expects one, and a stored key must be
    there, or a backend that knows the callers. Raises ConfigurationError.
    """
    if settings.api_keys or settings.admin_keys or settings.secret_key or settings.jwt_keys:
        return None
    path = settings.data_dir / ADMIN_KEY_FILE
    if not path.is_file() and not is_loopback(settings.host):
        if settings.auth_verify_url or is_any_usable(database):
            return None
        if may_make:
            return stored_secret(path, SECRET_PREFIX)
        raise ConfigurationError(
            f"HOST={settings.host} is reachable from other machines and no key is configured; "
            "run `onebox keys create`, set API_KEYS, ONEBOX_ADMIN_KEYS or SECRET_KEY, or start "
            "once on 127.0.0.1 for a key"
        )
    return stored_secret(path, SECRET_PREFIX)
