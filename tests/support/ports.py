"""Ports of this machine that nobody else comes to have."""

from __future__ import annotations

import random
import socket

# Below those that systems give to whoever asks for any: other tests ask all the time.
RANGE = range(20_000, 32_000)


def free_port() -> int:
    """One that nobody listens on, and that no other test is given by the system."""
    for port in random.SystemRandom().sample(RANGE, 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("there is no free port")
