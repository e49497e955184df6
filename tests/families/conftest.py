"""Tiny random checkpoints, built once."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from onebox.imaging.diffusion.bundles import PipelineBundle
from tests.families import tiny_models
from tests.families.pictures import FAMILY, device, entry
from tests.families.single_file_loading import Folders, folder_of
from tests.families.tiny_pipelines import Shelf


@pytest.fixture(scope="session")
def tiny_sd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.stable_diffusion(tmp_path_factory.mktemp("models") / "tiny-sd")


@pytest.fixture(scope="module")
def bundle(tiny_sd: Path) -> PipelineBundle:
    loaded = FAMILY.load(entry(tiny_sd), device())
    assert isinstance(loaded, PipelineBundle)
    return loaded


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("pipelines"))


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Tiny pipelines that single files are made from."""
    return partial(folder_of, root=tmp_path_factory.mktemp("folders"))
