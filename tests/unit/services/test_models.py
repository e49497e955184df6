from __future__ import annotations

import asyncio

import pytest

from onebox.core.contracts import TaskDefaults
from onebox.core.errors import InvalidInput, ModelBusy, TaskNotSupported
from onebox.registry.hash_store import HashStore
from onebox.registry.registry import Registry
from onebox.services.models import ModelControl, task_named

EMPTY_SAFETENSORS = (2).to_bytes(8, "little") + b"{}"


class Residency:
    def __init__(self) -> None:
        self.unloaded: list[tuple[str, bool]] = []
        self.failure: Exception | None = None

    async def unload(self, entry, *, force):
        if self.failure:
            raise self.failure
        self.unloaded.append((entry.name, force))
        return True


@pytest.fixture
def folder(tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    for name in ("one", "two"):
        (models / f"{name}.safetensors").write_bytes(EMPTY_SAFETENSORS)
    return models


@pytest.fixture
def registry(folder, tmp_path):
    store = HashStore(tmp_path / "cache.db")
    made = Registry(
        [folder],
        store,
        scan_interval_s=1000,
        aliases={},
        task_aliases={},
        default_models={},
        families={},
        settle_s=0,
    )
    made.rescan()
    yield made
    made.stop()
    store.close()


@pytest.fixture
def residency():
    return Residency()


@pytest.fixture
def control(registry, residency, folder):
    return ModelControl(
        registry,
        None,
        None,
        residency,
        None,
        model_dirs=[folder],
        defaults=TaskDefaults(20, 7.5),
    )


def names(registry):
    return [entry.name for entry in registry.entries()]


def test_delete_unloads_and_leaves_the_files(control, registry, residency, folder):
    assert asyncio.run(control.delete(registry.resolve("one"), files=False)) == []
    assert residency.unloaded == [("one", False)]
    assert names(registry) == ["one", "two"]
    assert (folder / "one.safetensors").exists()


def test_delete_with_files_takes_it_off_the_list(control, registry, residency, folder):
    path = folder / "one.safetensors"
    assert asyncio.run(control.delete(registry.resolve("one"), files=True)) == [str(path)]
    assert residency.unloaded == [("one", False)]
    assert names(registry) == ["two"]


def test_delete_with_files_finds_every_place_of_the_same_contents(control, registry, folder):
    registry.hash_now()
    (only,) = registry.entries()
    removed = asyncio.run(control.delete(only, files=True))
    assert removed == [str(folder / "one.safetensors"), str(folder / "two.safetensors")]
    assert names(registry) == []


def test_the_files_of_a_model_in_use_stay(control, registry, residency, folder):
    residency.failure = ModelBusy("in use")
    with pytest.raises(ModelBusy):
        asyncio.run(control.delete(registry.resolve("one"), files=True))
    assert (folder / "one.safetensors").exists()
    assert names(registry) == ["one", "two"]


def test_rescan_counts(control, registry, folder):
    (folder / "one.safetensors").unlink()
    found = asyncio.run(control.rescan())
    assert (found.models, found.added, found.removed) == (1, 0, 1)


def test_an_unknown_task():
    with pytest.raises(InvalidInput):
        task_named("nope")


def test_work_that_the_model_cannot_do(control, registry):
    with pytest.raises(TaskNotSupported):
        control.work(registry.resolve("one"), "text-to-image", None)
