"""Filling the environment: make the folder, install torch from its index, then the project."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Callable, Sequence

from onebox.setup import remedies, torch_build
from onebox.setup.errors import SetupError
from onebox.setup.interpreter import Interpreter
from onebox.setup.process import Runner, stream
from onebox.setup.stamp import python_of

_HAS_PIP = "import importlib.util as i, sys; sys.exit(i.find_spec('pip') is None)"


def say(text: str) -> None:
    print(f"onebox: {text}", file=sys.stderr, flush=True)


def make_venv(venv: Path, python: Interpreter, run: Runner = stream) -> None:
    """Try each maker in turn: Debian's Python has venv without ensurepip, others have neither."""
    makers = (
        [python.path, "-m", "venv", str(venv)],
        ["uv", "venv", "--python", python.path, str(venv)],
        [python.path, "-m", "virtualenv", str(venv)],
        ["virtualenv", "--python", python.path, str(venv)],
    )
    for maker in makers:
        remove(venv)
        if run(maker).ok and python_of(venv).exists():
            return
    remove(venv)
    raise SetupError(
        f"Python {python.label} ({python.path}) cannot make a virtual environment, "
        "and neither uv nor virtualenv is here to do it",
        remedies.enable_venv(python.label),
    )


def remove(venv: Path) -> None:
    """Delete what is left of an environment."""
    try:
        if venv.exists() or venv.is_symlink():
            shutil.rmtree(str(venv))
    except OSError as error:
        raise SetupError(
            f"{venv} could not be removed ({error})",
            "stop every program that runs from it, delete it by hand, then start again",
        ) from error


def install(
    root: Path,
    venv: Path,
    extras: Sequence[str],
    build: str,
    run: Runner = stream,
    answers: Callable[[str], bool] = torch_build.answers,
) -> None:
    """torch comes first and alone, so that only it is looked for at the extra index."""
    pip = _installer(venv, run)
    constrained = ["-c", str(root / "constraints.txt")]
    torch = _torch_pin(root)
    _step(f"installing {torch}", [*pip, *constrained, *_index(build, pip, answers), torch], run)
    # setuptools is there by now, pinned (torch needs it); the project needs no other to build.
    project = f"{root}[{','.join(extras)}]" if extras else str(root)
    command = [*pip, *constrained, "--no-build-isolation", "-e", project]
    _step("installing Onebox and the packages it needs", command, run)


def _step(what: str, command: Sequence[str], run: Runner) -> None:
    say(what)
    outcome = run(command)
    if not outcome.ok:
        raise SetupError(
            f"{what} ended with status {outcome.code}", remedies.install_failure(outcome.text)
        )


def _installer(venv: Path, run: Runner) -> list[str]:
    """The environment's own pip; where there is none (uv makes such), uv, or pip brought back."""
    python = str(python_of(venv))
    pip = [python, "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    if run([python, "-c", _HAS_PIP]).ok:
        return pip
    if run(["uv", "--version"]).ok:
        return ["uv", "pip", "install", "--python", python]
    if run([python, "-m", "ensurepip"]).ok:
        return pip
    raise SetupError(
        f"{venv} has no pip, and neither ensurepip nor uv is here to install with",
        f"delete the folder {venv}, then start again",
    )


def _index(build: str, pip: Sequence[str], answers: Callable[[str], bool]) -> list[str]:
    url = torch_build.index_url(build)
    if not url:
        return []
    if not answers(url):
        say(f"{url} does not answer within 3 s; taking torch from the default source instead")
        return []
    # `2.13.0+cu130` outranks `2.13.0`, so the build wins while its dependencies come from anywhere.
    strategy = ["--index-strategy", "unsafe-best-match"] if pip[0] == "uv" else []
    return ["--extra-index-url", url, *strategy]


def _torch_pin(root: Path) -> str:
    text = (root / "constraints.txt").read_text(encoding="utf-8")
    match = re.search(r"^torch==\S+", text, re.MULTILINE)
    if match is None:
        raise SetupError(
            "constraints.txt pins no torch", "restore the file: git checkout constraints.txt"
        )
    return match.group()
