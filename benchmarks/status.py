"""What a running server tells about itself when a benchmark is over."""

from __future__ import annotations

import time

import httpx

SETTLE_S = 30.0
# Workers tell their state with each heartbeat, so what was read before the last one may be old.
HEARTBEATS_S = 3.0


def leases_at_rest(client: httpx.Client) -> int:
    """Leases that are out though no request is in the server any more; waits for that."""
    end = time.monotonic() + SETTLE_S
    while client.get("/v1/status").json()["running"]["count"] and time.monotonic() < end:
        time.sleep(0.1)
    time.sleep(HEARTBEATS_S)
    devices = client.get("/v1/status").raise_for_status().json()["devices"]
    return sum(bundle["leases"] for device in devices for bundle in device["bundles"])
