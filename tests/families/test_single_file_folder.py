"""Single files in a model folder: what each lacks is found among its neighbours, or told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onebox.core.contracts import Entry
from onebox.families.image_checkpoint import CheckpointPart, ImageCheckpoint
from onebox.families.image_diffusion import ImageDiffusion
from onebox.registry import HashStore, Registry
from tests.families import tiny_transformers
from tests.families.pictures import device
from tests.support.single_files import component_tensors, single_file

REST = ("vae", "text_encoder", "text_encoder_2")
FAMILIES = {
    family.name: family for family in (ImageCheckpoint(), ImageDiffusion(), CheckpointPart())
}


class Shelf:
    """A model folder and the registry over it; looked through on demand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ahead_s = 0.0
        self.store = HashStore(Path(":memory:"))
        self.registry = Registry(
            [folder],
            self.store,
            scan_interval_s=1000,
            aliases={},
            task_aliases={},
            default_models={},
            families=FAMILIES,
            tasks_of=lambda family, own: tuple(sorted(own or ())),
            clock=lambda: time.time() + self._ahead_s,
        )

    def entry(self, name: str) -> Entry:
        """What the registry knows of it once all that lies there has settled."""
        for _ in range(2):
            self._ahead_s += 10
            self.registry.rescan()
        return self.registry.resolve(name)


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    (tmp_path / "models").mkdir()
    shelf = Shelf(tmp_path / "models")
    yield shelf
    shelf.registry.stop()
    shelf.store.close()


def loaded(entry: Entry) -> Any:
    bundle: Any = FAMILIES["image_checkpoint"].load(entry.as_loaded(), device())
    return bundle.pipeline


def assert_has(pipeline: Any, component: str, folder: Path) -> None:
    import torch

    mine = getattr(pipeline, component).state_dict()
    theirs = component_tensors(folder / component)
    assert theirs
    assert all(torch.equal(mine[name], tensor) for name, tensor in theirs.items())


def test_a_transformer_works_as_soon_as_what_it_lacks_is_there(
    shelf: Shelf, tmp_path: Path
) -> None:
    folder = tiny_transformers.flux(tmp_path / "flux")
    single_file(folder, shelf.folder / "alone.safetensors", without=REST)
    alone = shelf.entry("alone")
    assert alone.status == "broken"
    assert alone.tasks == ()
    assert "unusual shape" in (alone.reason or "")

    folder.rename(shelf.folder / "flux")

    alone = shelf.entry("alone")
    assert alone.reason is None
    assert {"text-to-image", "image-to-image"} <= set(alone.tasks)
    assert_has(loaded(alone), "vae", shelf.folder / "flux")


def test_its_settings_name_the_parts_to_take(shelf: Shelf, tmp_path: Path) -> None:
    first = tiny_transformers.flux(shelf.folder / "a-flux")
    other = tiny_transformers.flux(tmp_path / "other", guidance=False)
    single_file(other, shelf.folder / "other.safetensors", without=("transformer",))
    single_file(other, shelf.folder / "whole.safetensors")
    single_file(first, shelf.folder / "alone.safetensors", without=REST)
    settings = '[components]\nvae = "whole.safetensors"\ntext_encoder_2 = "whole"\n'
    (shelf.folder / "alone.onebox.toml").write_text(settings)

    alone = shelf.entry("alone")

    assert alone.components["vae"] == str(shelf.folder / "whole.safetensors")
    pipeline = loaded(alone)
    assert_has(pipeline, "vae", other)
    assert_has(pipeline, "text_encoder_2", other)
    assert_has(pipeline, "text_encoder", first)


def test_a_folder_that_is_named_says_that_it_edits_after_references(shelf: Shelf) -> None:
    folder = tiny_transformers.kontext(shelf.folder / "kontext")
    tiny_transformers.flux(shelf.folder / "a-flux")
    single_file(folder, shelf.folder / "one.safetensors")
    assert shelf.entry("one").kind == "FluxPipeline"

    (shelf.folder / "one.onebox.toml").write_text('[components]\nconfig = "kontext"\n')

    one = shelf.entry("one")
    assert one.kind == "FluxKontextPipeline"
    assert "try-on" in one.tasks
    assert type(loaded(one)).__name__ == "FluxKontextPipeline"


def test_one_that_names_what_is_not_there_says_so(shelf: Shelf) -> None:
    folder = tiny_transformers.flux(shelf.folder / "flux")
    single_file(folder, shelf.folder / "one.safetensors", without=REST)
    (shelf.folder / "one.onebox.toml").write_text('[components]\nvae = "ae"\n')
    assert 'vae = "ae", but nothing of that name' in (shelf.entry("one").reason or "")
