"""The models of a request: its caller may be allowed some alone (`Allowance.models`)."""

from __future__ import annotations

from collections.abc import Collection

from onebox.services.catalogue import Catalogue, nameless
from onebox.services.request import Prepared

# How fields of an input are called that name a model for a part of the request.
FIELD = "_model"


async def require_allowed(
    catalogue: Catalogue, prepared: Prepared, allowed: Collection[str] | None
) -> None:
    """Its own model and those that it names beside it; what the server chooses for its parts may be
    any. Raises ModelNotAllowed, ModelNotFound.
    """
    if allowed is None:
        return
    catalogue.require_allowed(prepared.entry, allowed)
    if prepared.entry.upstream is not None:
        return
    for companion in prepared.task.companions(prepared.input, prepared.entry):
        other = prepared.companions.get(companion.slot)
        if companion.name is not None and other is not None:
            catalogue.require_allowed(other, allowed, param=companion.param)
    for field, value in prepared.input:
        if field.endswith(FIELD) and isinstance(value, str):
            with nameless(allowed):
                other = await catalogue.listed(value)
            catalogue.require_allowed(other, allowed, param=field)
