"""What an answer to a made-up request must not be. Loaded by schemathesis (SCHEMATHESIS_HOOKS)."""

from __future__ import annotations

from typing import Any

import schemathesis

# A client that gives so little time has asked for the answer that it was not enough.
SHORT_S = 5.0


@schemathesis.check
def no_fault_of_the_server(ctx: Any, response: Any, case: Any) -> None:
    """No 5xx, unless it says that the time is up which the client itself had set."""
    if response.status_code < 500:
        return
    error = response.json()["error"]
    own_limit_s = error["details"].get("timeout_s", SHORT_S)
    assert error["code"] == "deadline_exceeded", error
    assert own_limit_s < SHORT_S, error
