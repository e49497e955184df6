"""What may be said of other servers, and that what cannot be used is refused at the start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from onebox.core.settings import Settings, load_settings
from onebox.core.settings_upstreams import Upstream

MODELS = {"near": {"model": "far"}}


def upstream(**given: Any) -> Upstream:
    return Upstream(**{"name": "box", "kind": "openai", "models": MODELS, **given})


def loaded(monkeypatch: pytest.MonkeyPatch, folder: Path, toml: str = "") -> Settings:
    monkeypatch.setenv("ONEBOX_ROOT", str(folder))
    (folder / "onebox.toml").write_text(toml)
    return load_settings()


def test_tables_of_the_projects_file_are_read(monkeypatch, tmp_path):
    toml = """
        [[upstream]]
        name = "box"
        kind = "hf"
        api_key_env = "HF_TOKEN"
        models = {near = {model = "org/far", tasks = ["embeddings"]}}
    """
    (found,) = loaded(monkeypatch, tmp_path, toml).upstream
    assert (found.name, found.url) == ("box", "https://router.huggingface.co")
    assert found.models["near"].tasks == ("embeddings",)
    assert (found.connect_timeout, found.read_timeout, found.write_timeout) == (10, 20, 10)


def test_the_environment_may_hold_them_as_json(monkeypatch, tmp_path):
    told = [{"name": "box", "kind": "openai", "models": MODELS}]
    monkeypatch.setenv("ONEBOX_UPSTREAM", json.dumps(told))
    (found,) = loaded(monkeypatch, tmp_path).upstream
    assert found.url == "https://api.openai.com/v1"


def test_there_are_none_unless_someone_says_so(monkeypatch, tmp_path):
    settings = loaded(monkeypatch, tmp_path)
    assert (settings.upstream, settings.fallbacks) == ((), {})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"api_key": "sk-1"}, "Extra inputs"),
        ({"kind": "other"}, "'openai', 'hf', 'gemini' or 'stability'"),
        ({"models": {}}, "at least 1"),
        ({"models": {"a": {"model": "b", "tasks": ["rerank"]}}}, "does not know rerank"),
        ({"kind": "gemini", "models": {"a": {"model": "b", "tasks": ["speech"]}}}, "speech"),
        ({"models": {"a": {"model": "../b"}}}, "pattern"),
        ({"models": {"a": {"model": "b/../c"}}}, "must not hold"),
        ({"models": {" a": {"model": "b"}}}, "printable"),
        ({"base_url": "ftp://host"}, "must be https"),
        ({"base_url": "https://host/?key=1"}, "without a query"),
        ({"base_url": "https://me:secret@host"}, "must not hold a user name"),
        ({"base_url": "http://far.example/v1"}, "allow_http"),
        ({"read_timeout": 0}, "greater than 0"),
        ({"retries": 5}, "less than or equal to 4"),
        ({"max_concurrent": 0}, "greater than or equal to 1"),
        ({"api_key_env": "sk-abc"}, "pattern"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_place(given, words):
    with pytest.raises(ValidationError, match=words):
        upstream(**given)


@pytest.mark.parametrize(
    "url",
    [
        "https://far.example/v1",
        "http://127.0.0.1:8000/v1",
        "http://10.0.0.7",
        "http://[::1]:80",
        "http://ollama:11434/v1",
        "http://box.local",
    ],
)
def test_the_own_network_needs_no_encryption(url):
    assert upstream(base_url=url + "/").url == url


def test_whoever_insists_sends_without_encryption():
    assert upstream(base_url="http://far.example", allow_http=True).url == "http://far.example"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([{"name": "a", "kind": "hf", "models": MODELS}] * 2, "two upstreams are called 'a'"),
        (
            [{"name": n, "kind": "hf", "models": MODELS} for n in "ab"],
            "two models of upstreams are called 'near'",
        ),
        ("sk-this-is-no-list", "a list of tables, as JSON"),
    ],
    ids=["upstreams", "models", "no list"],
)
def test_names_are_given_once(monkeypatch, tmp_path, given, words):
    told = given if isinstance(given, str) else json.dumps(given)
    monkeypatch.setenv("ONEBOX_UPSTREAM", told)
    with pytest.raises(ValidationError) as caught:
        loaded(monkeypatch, tmp_path)
    assert words in caught.value.errors()[0]["msg"]
    assert "sk-this" not in caught.value.errors()[0]["msg"]


@pytest.mark.parametrize("circle", ["a=a", "a=b,b=a", "a=b,b=c,c=b"])
def test_fallbacks_that_lead_back_are_refused(monkeypatch, tmp_path, circle):
    monkeypatch.setenv("ONEBOX_FALLBACKS", circle)
    with pytest.raises(ValidationError, match="break the circle"):
        loaded(monkeypatch, tmp_path)
