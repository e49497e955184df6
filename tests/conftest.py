"""What all tests share: a mark from the folder a test lies in, and no way out of this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["ONEBOX_STARTER"] = "off"

TESTS = Path(__file__).parent
LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """tests/unit/... is marked `unit`, and so on: nobody has to remember the mark."""
    for item in items:
        if TESTS in item.path.parents:
            item.add_marker(item.path.relative_to(TESTS).parts[0])


def pytest_configure() -> None:
    sys.addaudithook(_stay_on_this_machine)


def _stay_on_this_machine(event: str, args: tuple[Any, ...]) -> None:
    """Audit hook: a test that would reach another machine fails instead."""
    if event == "socket.connect" and isinstance(args[1], tuple):
        host = args[1][0]
    elif event == "socket.getaddrinfo":
        host = args[0]
    else:
        return
    if host and not str(host).startswith(LOOPBACK):
        raise PermissionError(f"a test may not reach {host}")
