"""`.env.example` is what `python -m onebox.core.settings_table --env` prints."""

from __future__ import annotations

import io
from pathlib import Path

from dotenv import dotenv_values

from onebox.core.settings import Settings, load_settings
from onebox.core.settings_sources import names_of
from onebox.core.settings_table import env_example

EXAMPLE = Path(__file__).resolve().parents[2] / ".env.example"


def test_the_example_lists_every_setting_as_it_is() -> None:
    assert EXAMPLE.read_text(encoding="utf-8") == env_example()


def uncommented() -> dict[str, str | None]:
    lines = env_example().splitlines()
    taken = "\n".join(line[1:] for line in lines if line[:2] not in ("# ", "#", ""))
    return dict(dotenv_values(stream=io.StringIO(taken)))


def test_every_setting_stands_there_once_and_no_secret_has_a_value() -> None:
    values = uncommented()
    for name, field in Settings.model_fields.items():
        written = names_of(name)[-1]
        assert written in values
        assert "Secret" not in str(field.annotation) or values[written] == ""


def test_its_defaults_are_what_the_server_has_without_it(monkeypatch, tmp_path) -> None:
    for name, value in uncommented().items():
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"ONEBOX_{name}", raising=False)
        if value:
            (tmp_path / ".env").open("a").write(f"{name}={value}\n")
    monkeypatch.setenv("ONEBOX_ROOT", str(tmp_path))
    given = load_settings()
    (tmp_path / ".env").unlink()
    assert given == load_settings()
