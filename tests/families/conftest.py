"""Tiny random checkpoints, built once."""

from __future__ import annotations

from pathlib import Path

import pytest

from onebox.families.image_diffusion import PipelineBundle
from tests.families import tiny_models
from tests.families.pictures import FAMILY, device, entry


@pytest.fixture(scope="session")
def tiny_sd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.stable_diffusion(tmp_path_factory.mktemp("models") / "tiny-sd")


@pytest.fixture(scope="module")
def bundle(tiny_sd: Path) -> PipelineBundle:
    loaded = FAMILY.load(entry(tiny_sd), device())
    assert isinstance(loaded, PipelineBundle)
    return loaded
