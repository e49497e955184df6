"""Whether the operator's backend is there: for `onebox doctor`."""

from __future__ import annotations

from onebox.services.outgoing.client import create_http_client

TIMEOUT_S = 5.0
GONE = (404, 410)
# To a method that changes nothing, a refusal is as good as a yes.
NOT_IMPLEMENTED = 501


async def reachable(url: str, *, timeout_s: float = TIMEOUT_S) -> str | None:
    """What is wrong with a hook's URL, or None. Any answer but a 404, a redirect and a 5xx will do.

    The question is an OPTIONS, which changes nothing and carries no key.
    """
    import httpx2

    client = create_http_client(connect_s=timeout_s, read_s=timeout_s, write_s=timeout_s)
    async with client:
        try:
            async with client.stream("OPTIONS", url) as response:
                return _problem(response.status_code)
        except httpx2.ConnectError:
            return (
                "it cannot be connected to: is it up, and is the name, port and certificate right?"
            )
        except httpx2.TimeoutException:
            return f"it gave no answer within {timeout_s:g} s"
        except httpx2.TransportError as error:
            return f"it does not speak HTTP as expected ({type(error).__name__})"


def _problem(status: int) -> str | None:
    if status in GONE:
        return f"it answered {status}: is the path right? Some need a / at its end"
    if 300 <= status < 400:
        return f"it answered {status}: redirects are not followed; name the place it leads to"
    if status >= 500 and status != NOT_IMPLEMENTED:
        return f"it answered {status}"
    return None
