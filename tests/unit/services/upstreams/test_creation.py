"""Which models there are by the settings, who wins a name, and where the keys come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from onebox.core.contracts import Entry
from onebox.core.errors import ConfigurationError, InvalidInput, TaskNotSupported
from onebox.core.media import Spool
from onebox.core.settings import Settings
from onebox.registry.names import NameIndex, NameRules
from onebox.registry.snapshot import build_snapshot
from onebox.runtime.memory_pool import MemoryPools
from onebox.services.metrics import Metrics
from onebox.services.request import require_local
from onebox.services.upstreams.creation import create_upstreams, remote_entries

KEY = "sk-a-secret-that-nobody-may-see"


def settings(folder: Path, **given: Any) -> Settings:
    models = {"gpt-4o-mini": {"model": "far", "tasks": ["chat"]}, "own": {"model": "b"}}
    told = {"name": "box", "kind": "openai", "models": models, "api_key_env": "BOX_KEY", **given}
    return Settings(root=folder, upstream=[told])


def created(folder: Path, environment: dict[str, str] | None, **given: Any) -> Any:
    return create_upstreams(
        settings(folder, **given),
        Spool(folder / "spool"),
        MemoryPools(lambda _: None),
        Metrics(lambda: []),
        environment,
    )


def test_a_key_that_is_missing_is_named_by_its_variable(tmp_path):
    with pytest.raises(ConfigurationError, match="BOX_KEY"):
        created(tmp_path, {"BOX_KEY": " "})


def test_a_key_that_no_header_can_hold_is_not_shown(tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        created(tmp_path, {"BOX_KEY": KEY + "\r\nX: y"})
    assert KEY not in caught.value.message


def test_the_key_may_be_in_the_projects_env_file(tmp_path, monkeypatch):
    monkeypatch.delenv("BOX_KEY", raising=False)
    (tmp_path / ".env").write_text(f"BOX_KEY={KEY}\n")
    assert list(created(tmp_path, None)) == ["box"]


def test_without_a_variable_no_key_is_needed(tmp_path):
    assert list(created(tmp_path, {}, api_key_env=None)) == ["box"]


def local(name: str, *tasks: str) -> Entry:
    return Entry(f"key-{name}", name, f"/m/{name}", "", 1, "ready", tasks=tasks or ("chat",))


def index(*entries: Entry, remote: list[Entry], **rules: Any) -> NameIndex:
    every = [*entries, *remote]
    return NameIndex([(entry.name, entry) for entry in every], NameRules(**rules))


def test_a_remote_name_wins_over_a_shipped_alias(tmp_path):
    remote = remote_entries(settings(tmp_path))
    names = index(local("a"), remote=remote, task_aliases={"gpt-4o-mini": "chat"})
    assert names.resolve("gpt-4o-mini").upstream == "box"


def test_who_names_no_model_stays_on_this_machine(tmp_path):
    remote = remote_entries(settings(tmp_path))
    assert index(local("a"), remote=remote).default_for("chat").name == "a"
    names = index(local("a"), remote=remote, default_models={"chat": "own"})
    assert names.default_for("chat").name == "own"


def test_a_remote_one_is_the_default_where_it_is_the_only_one(tmp_path):
    remote = [one for one in remote_entries(settings(tmp_path)) if one.name == "own"]
    assert index(local("a", "speech"), remote=remote).default_for("chat").name == "own"
    with pytest.raises(InvalidInput):
        index(remote=remote_entries(settings(tmp_path))).default_for("chat")


def test_they_are_listed_with_those_on_disk(tmp_path):
    remote = tuple(remote_entries(settings(tmp_path)))
    snapshot = build_snapshot([], NameRules(remote=remote), lambda *_: ())
    assert [entry.name for entry in snapshot.entries] == ["gpt-4o-mini", "own"]
    assert snapshot.by_path == {}
    assert snapshot.hidden == frozenset()


def test_nothing_of_the_server_is_in_an_entry(tmp_path):
    shown = repr(remote_entries(settings(tmp_path, base_url="https://secret-host.example")))
    assert "secret-host" not in shown
    assert "BOX_KEY" not in shown


def test_what_needs_memory_here_is_refused(tmp_path):
    with pytest.raises(TaskNotSupported, match="runs on the server box"):
        require_local(remote_entries(settings(tmp_path))[0])
