"""From the words after app.py and test.py to what runs."""

from __future__ import annotations

import os
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
        (["unit"], ["tests/unit"]),
        (["unit", "-k", "torch", "-x"], ["tests/unit", "-k", "torch", "-x"]),
        (["gpu"], ["tests/gpu", "-m", "gpu"]),
        (["-q"], ["-q"]),
        (["tests/unit/setup"], ["tests/unit/setup"]),
    ],
)
def test_test_chooses_the_suite(args: list[str], forwarded: list[str]) -> None:
    assert launch.pytest_runs(args) == [forwarded]


def test_test_alone_runs_every_suite_but_that_for_cards_once() -> None:
    named = [suite for run in launch.pytest_runs([]) for suite in run[run.index("loadfile") + 1 :]]
    assert sorted(named) == sorted(f"tests/{suite}" for suite in launch.SUITES if suite != "gpu")


def test_a_run_that_fails_keeps_none_from_running(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[bool] = []

    def main(args: list[str]) -> int:
        ran.append(os.environ.get("OMP_NUM_THREADS") == "1")
        return 1 if len(ran) == 1 else 0

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(pytest, "main", main)
    assert launch._run_tests(Path.cwd(), []) == 1
    assert ran == [True, True]
    assert "OMP_NUM_THREADS" not in os.environ


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
