"""Which variables of the environment hold secrets: processes that run models get none of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import AliasChoices, SecretStr

from onebox.core.settings import Settings
from onebox.core.settings_compat import FAMILIES
from onebox.core.settings_forms import PREFIX


def without_secrets(environ: Mapping[str, str], settings: Settings) -> dict[str, str]:
    """The environment without keys, tokens and addresses that hold a password."""
    secret = _secret_names(settings)
    return {name: value for name, value in environ.items() if name not in secret}


def _secret_names(settings: Settings) -> set[str]:
    names = {upstream.api_key_env for upstream in settings.upstream if upstream.api_key_env}
    for name, field in type(settings).model_fields.items():
        if _is_secret(getattr(settings, name)):
            assert isinstance(field.validation_alias, AliasChoices)
            names |= {str(choice) for choice in field.validation_alias.choices}
    # The names that other servers have for them.
    for familiar in FAMILIES.values():
        for other, ours in familiar.items():
            if any(PREFIX + one in names for one in ours):
                names.add(other)
    return names


def _is_secret(value: Any) -> bool:
    items = value if isinstance(value, tuple) else (value,)
    return any(isinstance(item, SecretStr) for item in items)
