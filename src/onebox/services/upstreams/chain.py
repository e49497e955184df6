"""What a request takes along to another server: its id, its trace, and what it came through.

The last is in the header `Via` (RFC 9110, 7.6.3). A server that finds its own name there is asked
in a circle, which would never end.
"""

from __future__ import annotations

import functools
import re
import secrets
from contextvars import ContextVar

from onebox.core.errors import UpstreamLoop
from onebox.core.logs import current_origin

VIA = "via"
# Of what others put there nothing is passed on.
NAME = re.compile(r"\bonebox-[0-9a-f]{16}\b")
MOST_SERVERS = 8
# With what is put behind it, no longer than any server takes.
MAX_ID_CHARS = 55

# In the task of one request: the servers that it came through, the nearest last.
_PASSED: ContextVar[tuple[str, ...]] = ContextVar("passed", default=())


@functools.cache
def own_name() -> str:
    """Of this process: two servers with one name would refuse each other's requests."""
    return f"onebox-{secrets.token_hex(8)}"


def came_through(via: str) -> None:
    """From now on the current task works for a request with this header."""
    _PASSED.set(tuple(NAME.findall(via)))


def require_way_on(upstream: str) -> None:
    """Raises UpstreamLoop for a request that was here before, or came through too many servers."""
    passed = _PASSED.get()
    if own_name() in passed:
        raise UpstreamLoop(
            f"the upstream {upstream} leads back to this server, in a circle; its operator must "
            "name another one"
        )
    if len(passed) >= MOST_SERVERS:
        raise UpstreamLoop(
            f"the request came through {len(passed)} servers, and none goes through more than "
            f"{MOST_SERVERS}"
        )


def headers_along() -> dict[str, str]:
    """For what is sent on behalf of the current task's request."""
    origin = current_origin()
    found = {"Via": ", ".join(f"1.1 {name}" for name in (*_PASSED.get(), own_name()))}
    if origin.request_id is not None:
        # Another one each time: Onebox refuses an id that it still works on, be it a try that was
        # given up here, or another caller's of the same name.
        found["X-Request-ID"] = f"{origin.request_id[:MAX_ID_CHARS]}.{secrets.token_hex(4)}"
    if origin.trace_id is not None and origin.span_id is not None:
        found["traceparent"] = f"00-{origin.trace_id}-{origin.span_id}-01"
    return found
