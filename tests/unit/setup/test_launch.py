"""From the words after app.py and test.py to what runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from onebox.setup import launch


@pytest.mark.parametrize(
    ("args", "forwarded"),
    [
        ([], ["serve"]),
        (["--port", "9000"], ["serve", "--port", "9000"]),
        (["list"], ["list"]),
        (["keys", "show"], ["keys", "show"]),
        (["--help"], ["--help"]),
    ],
)
def test_app_forwards_to_the_command_line(args: list[str], forwarded: list[str]) -> None:
    assert launch.cli_arguments(args) == forwarded


@pytest.mark.parametrize(
    ("args", "forwarded"),
    [
        ([], []),
        (["unit"], ["tests/unit"]),
        (["unit", "-k", "torch", "-x"], ["tests/unit", "-k", "torch", "-x"]),
        (["gpu"], ["tests/gpu", "-m", "gpu"]),
        (["-q"], ["-q"]),
        (["tests/unit/setup"], ["tests/unit/setup"]),
    ],
)
def test_test_chooses_the_suite(args: list[str], forwarded: list[str]) -> None:
    assert launch.pytest_arguments(args) == forwarded


@pytest.fixture
def bare_project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["onebox-no-such-package"]\n'
    )
    return tmp_path


def test_a_stamp_that_lies_is_told_instead_of_going_in_circles(
    bare_project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ONEBOX_SETUP_DONE", "1")
    assert launch.app(bare_project, []) == 1
    told = capsys.readouterr().err
    assert "onebox-no-such-package" in told
    assert f"delete the folder {bare_project / '.venv'}" in told
