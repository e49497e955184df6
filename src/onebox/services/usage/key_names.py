"""How a key is named where usage and credits are told of: by its id, or by its caller's."""

from __future__ import annotations

from onebox.core.errors import KeyNotFound
from onebox.services.access.keys.index import CALLER_PREFIX
from onebox.services.access.keys.keys import PREFIX, Keys
from onebox.services.jobs.ids import is_id

MAX_NAME_CHARS = 512


def caller_id(key: str) -> str:
    """Of a stored key's id; all others are named as `Caller.id` does."""
    return CALLER_PREFIX + key if is_id(key, PREFIX) else key


async def existing_caller(key: str, keys: Keys) -> str:
    """The same. Raises KeyNotFound for a stored key that there is not, and for no name at all."""
    if is_id(key, PREFIX):
        await keys.get(key)
    elif ":" not in key or len(key) > MAX_NAME_CHARS:
        raise KeyNotFound(
            f"no key {key[:64]}; give the id of a stored key, or the key as /v1/usage names it",
            param="key_id",
        )
    return caller_id(key)
