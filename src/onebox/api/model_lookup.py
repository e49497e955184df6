"""The model that the path or the query of a request names."""

from __future__ import annotations

from onebox.bootstrap import Services
from onebox.core.contracts import Entry
from onebox.services.access.caller import Caller
from onebox.services.catalogue import nameless


def look_up(model: str, services: Services, caller: Caller) -> Entry:
    """As last seen. Raises ModelNotFound, and ModelNotAllowed for what the caller may not use."""
    allowed = caller.allowance.models
    with nameless(allowed):
        entry = services.registry.resolve(model)
    if allowed is not None:
        services.catalogue.require_allowed(entry, allowed)
    return entry
