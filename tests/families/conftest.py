"""Tiny random checkpoints, built once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.families import tiny_models


@pytest.fixture(scope="session")
def tiny_sd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.stable_diffusion(tmp_path_factory.mktemp("models") / "tiny-sd")
