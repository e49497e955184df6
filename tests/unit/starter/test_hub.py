"""A model from the hub, against a stand-in of its API on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from onebox.registry.scanner import scan
from onebox.starter.errors import PullFailed, SourceUnreachable, WrongContents
from onebox.starter.hub import HubModel, chosen, pull_hub
from onebox.starter.progress import Progress
from tests.support.shelf import Shelf, put_hub_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = bytes(range(256)) * 500
FILES = {
    "config.json": b'{"model_type": "llama"}',
    "model.safetensors": WEIGHTS,
    "pytorch_model.bin": b"pickle",
    "modeling_own.py": b"raise SystemExit",
    "tokenizer.json": b"{}",
    "README.md": b"hello",
}
TINY = HubModel("org/tiny")
PLACE = f"/org/tiny/resolve/{COMMIT}/"


@pytest.fixture(autouse=True)
def hub(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """The hub's address for the code under test; tests are offline otherwise."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_ENDPOINT", shelf.url)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    put_hub_model(shelf, "org/tiny", FILES, COMMIT)
    return shelf


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_model_comes_with_what_loading_needs_and_no_more(hub: Shelf, models: Path) -> None:
    progress = Progress()
    pull_hub(TINY, models / "org" / "tiny", progress)
    assert names(models) == {
        f"org/tiny/{name}" for name in ("config.json", "model.safetensors", "tokenizer.json")
    }
    assert (models / "org" / "tiny" / "model.safetensors").read_bytes() == WEIGHTS
    assert progress.done == progress.total > len(WEIGHTS)


def test_a_revision_is_asked_for_by_its_name(hub: Shelf, models: Path) -> None:
    pull_hub(TINY._replace(revision=COMMIT), models / "x", Progress())
    assert ("GET", f"/api/models/org/tiny/revision/{COMMIT}", None) in hub.asked
    with pytest.raises(PullFailed):
        pull_hub(TINY._replace(revision="v9"), models / "y", Progress())


def test_patterns_choose_the_files(hub: Shelf, models: Path) -> None:
    pull_hub(TINY._replace(include=("*.json",), exclude=("tok*",)), models / "x", Progress())
    assert names(models / "x") == {"config.json"}


def test_pickles_are_fetched_only_where_nothing_is_safer() -> None:
    assert chosen(["a.bin", "a.safetensors", "a.py"]) == ["a.safetensors"]
    assert chosen(["a.bin", "config.json"]) == ["a.bin", "config.json"]
    assert chosen(["a.bin", "a.safetensors"], ["*.bin"]) == ["a.bin"]


def test_a_broken_connection_goes_on_where_it_stopped(
    hub: Shelf, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)
    hub.pages[PLACE + "model.safetensors"].breaks = [70_000]
    pull_hub(TINY, models / "x", Progress())
    first, second = hub.ranges_of(PLACE + "model.safetensors")
    assert (first, second) == (None, "bytes=70000-")
    assert (models / "x" / "model.safetensors").read_bytes() == WEIGHTS


def test_a_file_with_another_hash_is_refused_and_the_rest_is_kept(hub: Shelf, models: Path) -> None:
    page = hub.pages[PLACE + "model.safetensors"]
    page.body = bytes(len(WEIGHTS))
    with pytest.raises(WrongContents, match=r"model\.safetensors"):
        pull_hub(TINY, models / "x", Progress())
    assert scan([models]) == {}
    assert not list(models.rglob("model.safetensors"))
    page.body = WEIGHTS
    hub.asked.clear()
    pull_hub(TINY, models / "x", Progress())
    assert (models / "x" / "model.safetensors").read_bytes() == WEIGHTS
    assert hub.ranges_of(PLACE + "config.json") == []


def test_a_small_file_with_another_hash_is_refused_too(hub: Shelf, models: Path) -> None:
    hub.pages[PLACE + "config.json"].body = b'{"model_type": "evilm"}'
    with pytest.raises(WrongContents, match=r"config\.json"):
        pull_hub(TINY, models / "x", Progress())


def test_a_pinned_hash_wins_over_what_the_hub_says(hub: Shelf, models: Path) -> None:
    with pytest.raises(WrongContents, match="instead of 2222"):
        pull_hub(TINY, models / "x", Progress(), sha256s={"model.safetensors": "2" * 64})
    assert scan([models]) == {}


def test_the_token_of_the_environment_is_sent_and_no_other(
    hub: Shelf, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull_hub(TINY, models / "x", Progress())
    assert not [headers for headers in hub.headers if "authorization" in map(str.lower, headers)]
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    pull_hub(TINY, models / "y", Progress())
    assert hub.headers[-1]["authorization"] == "Bearer hf_mine"


def test_a_model_that_is_not_there_is_told(hub: Shelf, models: Path) -> None:
    path = "/api/models/org/none"
    hub.put(path, b"{}", status=404, headers={"X-Error-Code": "RepoNotFound"})
    with pytest.raises(PullFailed, match="HF_TOKEN"):
        pull_hub(HubModel("org/none"), models / "x", Progress())
    assert not models.exists()


def test_a_hub_that_refuses_is_not_called_silent(hub: Shelf, models: Path) -> None:
    hub.put("/api/models/org/none", b"{}", status=403)
    with pytest.raises(PullFailed, match="403") as caught:
        pull_hub(HubModel("org/none"), models / "x", Progress())
    assert not isinstance(caught.value, SourceUnreachable)


def test_file_names_that_lead_elsewhere_are_refused(hub: Shelf, models: Path) -> None:
    put_hub_model(hub, "org/evil", {"../../x.json": b"{}"}, COMMIT)
    with pytest.raises(WrongContents, match="odd name"):
        pull_hub(HubModel("org/evil"), models / "x", Progress())


def test_a_silent_hub_is_unreachable(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(SourceUnreachable):
        pull_hub(TINY, models / "x", Progress())
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SourceUnreachable, match="HF_HUB_OFFLINE"):
        pull_hub(TINY, models / "x", Progress())
