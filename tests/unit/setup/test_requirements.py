"""Whether the packages are here already, judged from pyproject.toml alone."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from onebox.setup import requirements

PYPROJECT = """
[project]
dependencies = [
  "torch>=2.10",
  "python-jose[cryptography]>=3.5",
  "uvloop>=1; sys_platform != 'win32'",
]
[project.optional-dependencies]
dev = ["pytest"]
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    return tmp_path


def missing(root: Path, extras: tuple[str, ...] = (), **installed: str) -> list[str]:
    def version(name: str) -> str:
        try:
            return installed[name.replace("-", "_")]
        except KeyError:
            raise PackageNotFoundError(name) from None

    return requirements.missing(root, extras, version)


def test_all_there(root: Path) -> None:
    assert missing(root, torch="2.13.0+cpu", python_jose="3.5.0") == []


def test_absent_and_too_old(root: Path) -> None:
    assert missing(root, torch="2.9.1") == ["torch>=2.10", "python-jose[cryptography]>=3.5"]


def test_a_floor_is_met_by_itself_whatever_its_zeros(root: Path) -> None:
    assert missing(root, torch="2.10", python_jose="3.5.0.0") == []


def test_extras_count_only_when_asked_for(root: Path) -> None:
    here = {"torch": "2.13.0", "python_jose": "4"}
    assert missing(root, (), **here) == []
    assert missing(root, ("dev",), **here) == ["pytest"]
