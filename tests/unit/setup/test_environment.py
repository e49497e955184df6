"""The decision about .venv on a real folder; nothing is installed and no process started."""

from __future__ import annotations

from pathlib import Path

import pytest

from onebox.setup import environment, stamp, torch_build
from onebox.setup.stamp import python_of


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("ONEBOX_TORCH_INDEX", raising=False)
    (tmp_path / "constraints.txt").write_text("torch==2.13.0\n")
    python = python_of(tmp_path / ".venv")
    python.parent.mkdir(parents=True)
    python.touch()
    return tmp_path


def finish(root: Path, torch: str = "cu126", extras: tuple[str, ...] = ()) -> None:
    """Leave the stamp that a finished set-up leaves."""
    venv = root / ".venv"
    hardware = torch_build.hardware_hint()
    done = stamp.Stamp(
        stamp.hash_constraints(root),
        torch,
        hardware,
        stamp.interpreter_of(venv),
        str(venv),
        extras,
        True,
    )
    stamp.write(venv, done)


def is_current(root: Path, *extras: str) -> bool:
    return environment._is_current(root, root / ".venv", extras)


def test_no_stamp_is_not_current(root: Path) -> None:
    assert not is_current(root)


def test_a_finished_environment_is_current(root: Path) -> None:
    finish(root)
    assert is_current(root)
    assert environment.ensure(root) == python_of(root / ".venv")


def test_another_extra_is_not_current(root: Path) -> None:
    finish(root)
    assert not is_current(root, "dev")
    finish(root, extras=("dev",))
    assert is_current(root)
    assert is_current(root, "dev")


def test_changed_constraints_are_not_current(root: Path) -> None:
    finish(root)
    (root / "constraints.txt").write_text("torch==2.14.0\n")
    assert not is_current(root)


def test_an_override_counts_when_it_is_set(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(root, torch="cu126")
    monkeypatch.setenv("ONEBOX_TORCH_INDEX", "cpu")
    assert not is_current(root)
    monkeypatch.setenv("ONEBOX_TORCH_INDEX", "cu126")
    assert is_current(root)


def test_changed_hardware_is_looked_at_again(root: Path) -> None:
    finish(root)
    venv = root / ".venv"
    found = stamp.read(venv)
    assert found is not None
    stamp.write(venv, found._replace(hardware="another driver"))
    assert not is_current(root)


def test_a_python_that_is_gone_is_not_current(root: Path) -> None:
    finish(root)
    python_of(root / ".venv").unlink()
    assert not is_current(root)
