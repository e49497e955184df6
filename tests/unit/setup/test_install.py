"""Making and filling .venv, with a runner that only writes down what it was asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from onebox.setup import install
from onebox.setup.errors import SetupError
from onebox.setup.interpreter import Interpreter
from onebox.setup.process import Outcome
from onebox.setup.stamp import python_of

PYTHON = Interpreter("/usr/bin/python3.11", (3, 11))


class FakeRunner:
    """Succeeds unless a command has one of the given words; makes the venv it is asked for."""

    def __init__(self, *broken: str, text: str = "") -> None:
        self.broken = broken
        self.text = text
        self.commands: list[str] = []

    def __call__(self, command: Sequence[str]) -> Outcome:
        line = " ".join(command)
        self.commands.append(line)
        fails = any(word in line for word in self.broken)
        if line.endswith(".venv"):  # python -m venv leaves a folder behind also when it fails
            python = python_of(Path(command[-1]))
            python.parent.mkdir(parents=True)
            if not fails:
                python.touch()
        return Outcome(int(fails), self.text if fails else "")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "constraints.txt").write_text("numpy==2.4.6\ntorch==2.13.0\n")
    return tmp_path


@pytest.mark.parametrize(
    ("broken", "used"),
    [
        ((), "/usr/bin/python3.11 -m venv"),
        (("-m venv",), "uv venv --python /usr/bin/python3.11"),
        (("-m venv", "uv venv"), "/usr/bin/python3.11 -m virtualenv"),
        (("-m venv", "uv venv", "-m virtualenv"), "virtualenv --python /usr/bin/python3.11"),
    ],
)
def test_makers_are_tried_in_turn(root: Path, broken: tuple[str, ...], used: str) -> None:
    run = FakeRunner(*broken)
    install.make_venv(root / ".venv", PYTHON, run)
    assert run.commands[-1] == f"{used} {root / '.venv'}"
    assert python_of(root / ".venv").exists()


def test_no_maker_at_all_names_the_command(root: Path) -> None:
    with pytest.raises(SetupError) as error:
        install.make_venv(root / ".venv", PYTHON, FakeRunner("venv", "virtualenv"))
    assert "3.11" in error.value.what
    assert "uv" in error.value.remedy
    assert not (root / ".venv").exists()


def test_a_half_made_folder_is_cleared_first(root: Path) -> None:
    rubbish = root / ".venv" / "lib" / "rubbish"
    rubbish.mkdir(parents=True)
    install.make_venv(root / ".venv", PYTHON, FakeRunner())
    assert not rubbish.exists()


def test_torch_first_from_its_index_then_the_project(root: Path) -> None:
    run = FakeRunner()
    install.install(root, root / ".venv", ("dev",), "cu130", run, answers=lambda url: True)
    torch, project = run.commands[1:]
    assert torch.endswith("--extra-index-url https://download.pytorch.org/whl/cu130 torch==2.13.0")
    assert project.endswith(f"-e {root}[dev]")
    assert "extra-index" not in project
    assert all(f"-c {root / 'constraints.txt'}" in command for command in (torch, project))


def test_a_silent_index_is_skipped_with_one_line(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = FakeRunner()
    install.install(root, root / ".venv", (), "cpu", run, answers=lambda url: False)
    assert "extra-index" not in run.commands[1]
    lines = [line for line in capsys.readouterr().err.splitlines() if "does not answer" in line]
    assert len(lines) == 1
    assert "https://download.pytorch.org/whl/cpu" in lines[0]


def test_the_default_build_asks_no_index(root: Path) -> None:
    def never(url: str) -> bool:
        raise AssertionError(url)

    install.install(root, root / ".venv", (), "default", FakeRunner(), answers=never)


def test_an_environment_without_pip_is_filled_by_uv(root: Path) -> None:
    run = FakeRunner("find_spec('pip')")
    install.install(root, root / ".venv", (), "cpu", run, answers=lambda url: True)
    python = python_of(root / ".venv")
    assert run.commands[2].startswith(f"uv pip install --python {python}")
    assert "--index-strategy unsafe-best-match" in run.commands[2]


def test_without_uv_pip_is_brought_back(root: Path) -> None:
    run = FakeRunner("find_spec('pip')", "uv --version")
    install.install(root, root / ".venv", (), "default", run)
    assert "-m ensurepip" in run.commands[2]
    assert "-m pip install" in run.commands[3]


def test_no_way_to_install_at_all(root: Path) -> None:
    with pytest.raises(SetupError, match="has no pip"):
        install.install(
            root,
            root / ".venv",
            (),
            "default",
            FakeRunner("find_spec", "uv --version", "ensurepip"),
        )


def test_a_failed_step_says_what_failed_and_what_to_do(root: Path) -> None:
    run = FakeRunner("torch==2.13.0", text="OSError: [Errno 28] No space left on device")
    with pytest.raises(SetupError) as error:
        install.install(root, root / ".venv", (), "default", run)
    assert "installing torch==2.13.0" in error.value.what
    assert "disk space" in error.value.remedy


def test_constraints_without_torch_are_refused(root: Path) -> None:
    (root / "constraints.txt").write_text("numpy==2.4.6\n")
    with pytest.raises(SetupError, match="pins no torch"):
        install.install(root, root / ".venv", (), "default", FakeRunner())
