"""Bad settings are named, with their value, where they stand and what to do."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from onebox.core.errors import ConfigurationError
from onebox.core.settings import Settings, load_settings
from onebox.core.settings_forms import PREFIX
from onebox.core.settings_problems import problems_of
from onebox.core.settings_sources import OTHER_NAMES, PER_TASK, names_of, unknown_names

SOURCES = Path(__file__).resolve().parents[3] / "src"


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """A project root of our own, and nothing of this machine's environment."""
    plain = {name for field in Settings.model_fields for name in names_of(field)}
    for name in os.environ:
        if name.startswith(PREFIX) or name in plain:
            monkeypatch.delenv(name)
    monkeypatch.setenv("ONEBOX_ROOT", str(tmp_path))
    return tmp_path


def told(**given) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        load_settings(**given)
    return problems_of(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        (
            "PORT",
            "abc",
            "PORT=abc (in the environment): must be a whole number; correct it, or leave PORT out "
            "for 8000",
        ),
        (
            "ONEBOX_PORT",
            "70000",
            "ONEBOX_PORT=70000 (in the environment): must be at most 65535; correct it, or leave "
            "ONEBOX_PORT out for 8000",
        ),
        (
            "ONEBOX_MAX_QUEUE",
            "0",
            "ONEBOX_MAX_QUEUE=0 (in the environment): must be at least 1; correct it, or leave "
            "ONEBOX_MAX_QUEUE out for 256",
        ),
        (
            "MODEL_SCAN_INTERVAL",
            "0",
            "MODEL_SCAN_INTERVAL=0 (in the environment): must be more than 0; correct it, or leave "
            "MODEL_SCAN_INTERVAL out for 10",
        ),
        (
            "MODEL_SCAN_INTERVAL",
            "soon",
            "MODEL_SCAN_INTERVAL=soon (in the environment): must be a number; correct it, or leave "
            "MODEL_SCAN_INTERVAL out for 10",
        ),
        (
            "ONEBOX_DOCS",
            "maybe",
            "ONEBOX_DOCS=maybe (in the environment): must be true or false; correct it, or leave "
            "ONEBOX_DOCS out for true",
        ),
        (
            "LOG_LEVEL",
            "LOUD",
            "LOG_LEVEL=LOUD (in the environment): must be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'; "
            "correct it, or leave LOG_LEVEL out for INFO",
        ),
        (
            "ONEBOX_TRUSTED_PROXIES",
            "10.0.0.1,proxy",
            "ONEBOX_TRUSTED_PROXIES=10.0.0.1,proxy (in the environment): 'proxy' is neither an "
            "address nor a network; write such as 127.0.0.1 or 10.0.0.0/8; correct it, or leave "
            "ONEBOX_TRUSTED_PROXIES out",
        ),
        (
            "ONEBOX_DEVICE",
            "cuda:0,cudda",
            "ONEBOX_DEVICE=cuda:0,cudda (in the environment): 'cudda' is no name of a device: "
            "auto, cpu, mps, cuda, rocm or xpu, or one of several such as cuda:1; correct it, or "
            "leave ONEBOX_DEVICE out for auto",
        ),
        (
            "ONEBOX_MEMORY_BUDGET",
            "much",
            "ONEBOX_MEMORY_BUDGET=much (in the environment): 'much' is not an amount of memory: "
            "write bytes with a unit (8GiB, 8GB, 512MiB) or a share of the device's memory (0.8, "
            "80%); correct it, or leave ONEBOX_MEMORY_BUDGET out",
        ),
        (
            "ONEBOX_MODEL_ALIASES",
            "fast=sd,whisper-1",
            "ONEBOX_MODEL_ALIASES=fast=sd,whisper-1 (in the environment): 'whisper-1' must be "
            "written as name=value; correct it, or leave ONEBOX_MODEL_ALIASES out",
        ),
        (
            "ONEBOX_JWT_LIMIT_CLAIMS",
            "requests_per_minute:rpm",
            "ONEBOX_JWT_LIMIT_CLAIMS=requests_per_minute:rpm (in the environment): "
            "'requests_per_minute:rpm' must be written as name=value; correct it, or leave "
            "ONEBOX_JWT_LIMIT_CLAIMS out",
        ),
        (
            "ONEBOX_UPSTREAM",
            '{"api_key": "hidden-1"}',
            "ONEBOX_UPSTREAM (in the environment): must be a list; correct it, or "
            "leave ONEBOX_UPSTREAM out",
        ),
    ],
)
def test_a_bad_value_is_told_with_its_place_and_the_remedy(monkeypatch, name, value, line):
    monkeypatch.setenv(name, value)
    assert told() == [line]


def test_a_default_of_one_task_does_not_hide_what_is_wrong_with_the_others(monkeypatch):
    monkeypatch.setenv("ONEBOX_DEFAULT_MODELS", "chat")
    monkeypatch.setenv("ONEBOX_DEFAULT_SPEECH", "voice")
    (line,) = told()
    assert line.startswith("ONEBOX_DEFAULT_MODELS=chat (in the environment): 'chat' must be")


def test_each_bad_value_has_its_line(monkeypatch):
    monkeypatch.setenv("PORT", "abc")
    monkeypatch.setenv("ONEBOX_MAX_QUEUE", "0")
    assert len(told()) == 2


def test_a_bad_value_of_a_file_names_the_file(root):
    (root / "onebox.toml").write_text("max_queue = 0\n")
    (root / ".env").write_text("PORT=x\n")
    lines = "\n".join(told())
    assert f"PORT=x (in {root / '.env'}): must be" in lines
    assert f"max_queue=0 (in {root / 'onebox.toml'}): must be" in lines


def test_a_bad_value_of_the_command_line_is_no_other_place_s(monkeypatch):
    monkeypatch.setenv("PORT", "8000")
    assert told(port=70000) == [
        "PORT=70000: must be at most 65535; correct it, or leave PORT out for 8000"
    ]


def test_the_entry_of_a_table_is_named_without_its_value(root):
    (root / "onebox.toml").write_text(
        '[[upstream]]\nname = "far"\nkind = "openai"\nbase_url = "sk-pasted-key"\nmodels = 3\n'
    )
    (line,) = told()
    assert line.startswith(f"upstream[0].models (in {root / 'onebox.toml'}): ")
    assert "sk-pasted-key" not in line


@pytest.mark.parametrize(
    ("name", "value"),
    [("API_KEYS", {"key": "hidden-1"}), ("database_url", 7), ("limits_url", ["hidden-1"])],
)
def test_no_secret_is_told(name, value):
    for line in told(**{name: value}):
        assert "hidden-1" not in line
        assert "=7" not in line


def test_a_password_in_a_link_is_not_told(monkeypatch):
    monkeypatch.setenv("PORT", "redis://me:hidden-1@host")
    (line,) = told()
    assert line.startswith("PORT (in the environment): must be")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("onebox.toml", b"port = 3\nhost = \n", "at line 2, column 8"),
        ("onebox.toml", b"port = 3\n\n\xff\n", "line 3: not UTF-8"),
        (".env", b"PORT=3\n\xff\n", "line 2: not UTF-8"),
        (".env", b"PORT=3\nAPI_KEYS hidden-1\n", "line 2: not NAME=value"),
        (".env", b"PORT='3\n", "line 1: not NAME=value"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_line(root, name, content, words):
    (root / name).write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert caught.value.message.startswith(str(root / name))
    assert words in caught.value.message
    assert "hidden-1" not in caught.value.message


@pytest.mark.parametrize("name", ["onebox.toml", ".env"])
def test_a_file_that_may_not_be_read_is_named(root, name, monkeypatch):
    def refuse(self, *_, **__):
        raise PermissionError(13, "Permission denied")

    (root / name).write_text("")
    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(ConfigurationError, match="cannot be read: Permission denied") as caught:
        load_settings()
    assert caught.value.message.startswith(str(root / name))


def unknown(root, **environ: str) -> list[str]:
    return [found.text() for found in unknown_names(root, environ)]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ONEBOX_MAX_QUEU", "; did you mean ONEBOX_MAX_QUEUE?"),
        ("ONEBOX_SHUTDOWN_GRACE_S", "; did you mean ONEBOX_SHUTDOWN_GRACE?"),
        ("ONEBOX_FLY_TO_THE_MOON", "; remove it"),
    ],
)
def test_a_name_that_is_no_setting_is_told_with_the_nearest(root, name, meant):
    assert unknown(root, **{name: "1"}) == [f"{name} in the environment is no setting{meant}"]


def test_names_in_files_are_looked_at_too(root):
    (root / ".env").write_text("MAX_QUEUE=3\nELSEWHERE=1\n")
    (root / "onebox.toml").write_text("prt = 1\n[server]\nport = 3\n")
    assert unknown(root) == [
        f"MAX_QUEUE in {root / '.env'} is no setting; did you mean ONEBOX_MAX_QUEUE?",
        f"prt in {root / 'onebox.toml'} is no setting; did you mean port?",
        f"server in {root / 'onebox.toml'} is no setting; remove it",
    ]


def test_what_settings_are_called_is_known(root):
    (root / "onebox.toml").write_text("port = 1\n[[upstream]]\nname = 'x'\n")
    (root / ".env").write_text("HF_API_KEY=1\nREQUEST_TIMEOUT=3\nPORT=1\nonebox_port=2\n")
    known = {name: "1" for field in Settings.model_fields for name in names_of(field)}
    assert unknown(root, **known, ONEBOX_DEFAULT_CHAT="x", onebox_docs="true", PATH="/bin") == []


def test_every_name_that_the_source_reads_is_known():
    known = {name for field in Settings.model_fields for name in names_of(field)} | OTHER_NAMES
    read = re.compile(r'"(ONEBOX_[A-Z_]+[A-Z])"')
    for path in SOURCES.rglob("*.py"):
        for name in read.findall(path.read_text(encoding="utf-8")):
            assert name in known or name.startswith(PER_TASK), path.name
