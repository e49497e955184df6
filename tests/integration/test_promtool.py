"""Prometheus's own tool finds nothing wrong with what is shipped for it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "prometheus"

pytestmark = pytest.mark.skipif(not shutil.which("promtool"), reason="needs promtool")


@pytest.mark.parametrize(
    "command",
    [
        # The key's file is on the machine that it runs on.
        ["check", "config", "--syntax-only", "prometheus.yml"],
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts_test.yml"],
    ],
    ids=" ".join,
)
def test_it_is_sound(command):
    done = subprocess.run(
        ["promtool", *command], cwd=FOLDER, timeout=60, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
