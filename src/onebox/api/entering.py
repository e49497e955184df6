"""Step 2 of the path: who sends a request, and whether they may send one now."""

from __future__ import annotations

from starlette.requests import HTTPConnection

from onebox.api.route_classes import task_class_of
from onebox.core.errors import Unauthorized
from onebox.services.access.access import Access
from onebox.services.access.caller import Caller, Scope
from onebox.services.access.limits.rules import RouteClass
from onebox.services.in_process import CALLER

# Of the scope: what the answer, an error too, says about rate limits (api/middleware).
LIMIT_HEADERS = "onebox.limit_headers"
# Of the scope: whom the request names as its sender, on routes where it does.
USER_ID = "onebox.user_id"
LOOPBACK = frozenset({"127.0.0.1", "::1", "::ffff:127.0.0.1"})
# What proxies add. They may run on this machine.
FORWARDED = frozenset({"x-forwarded-for", "forwarded", "x-real-ip", "via"})


async def enter(
    connection: HTTPConnection,
    authorization: str | None,
    needs: Scope | None,
    route_class: RouteClass,
) -> None:
    """Let a request in: its caller is then in `state.caller`.

    Args:
        needs: the scope that its caller must have; None on public routes, which have no caller.
        route_class: what its rate is counted under.

    Raises Unauthorized, Forbidden, RateLimited, BackendUnavailable.
    """
    # What the server sends to itself was let in before.
    caller: Caller | None = connection.scope.get(CALLER)
    if caller is None:
        caller = await _from_outside(connection, authorization, route_class, public=needs is None)
    if needs is None:
        return
    if caller is None:
        raise Unauthorized("no credentials")
    caller.require(needs)
    connection.state.caller = caller
    connection.scope["caller"] = caller.id


async def count_task(request: HTTPConnection, task: str) -> None:
    """Count a request also as what it turned out to ask for: of a task that its body names.

    Raises RateLimited, BackendUnavailable.
    """
    access: Access = request.app.state.services.access
    route_class = task_class_of(task)
    if access.limits is None or route_class == "other":
        return
    counted = await access.limits.hit_task(request.state.caller, route_class)
    if counted.headers:
        request.scope[LIMIT_HEADERS] = counted.headers
    if counted.refused is not None:
        raise counted.refused


async def _from_outside(
    connection: HTTPConnection,
    authorization: str | None,
    route_class: RouteClass,
    *,
    public: bool,
) -> Caller | None:
    access: Access = connection.app.state.services.access
    client = connection.client
    entered = await access.enter(
        authorization=authorization,
        address=client.host if client else None,
        route_class=None if _is_local_probe(connection, route_class) else route_class,
        public=public,
        user_id=connection.scope.get(USER_ID),
    )
    connection.scope[LIMIT_HEADERS] = entered.headers
    if entered.refused is not None:
        raise entered.refused
    return entered.caller


def _is_local_probe(connection: HTTPConnection, route_class: RouteClass) -> bool:
    """Whether this machine itself asks how the server is: nobody who came through a proxy."""
    if route_class != "health" or connection.client is None:
        return False
    return connection.client.host in LOOPBACK and FORWARDED.isdisjoint(connection.headers)
