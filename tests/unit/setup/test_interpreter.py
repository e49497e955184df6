"""Which Python is taken, with lookups that only pretend."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from onebox.setup import interpreter
from onebox.setup.errors import SetupError
from onebox.setup.interpreter import Interpreter
from onebox.setup.process import Outcome

OLD = Interpreter("/usr/bin/python3.8", (3, 8))


def machine_with(**answers: str) -> Callable[[Sequence[str], float], Outcome]:
    """A machine on which only these first words of a command line answer, with this text."""

    def ask(command: Sequence[str], timeout_s: float) -> Outcome:
        words = command[:2] if command[0] == "py" else command[:1]
        text = answers.get("_".join(words).replace(".", "_").replace("-", ""))
        return Outcome(127, "") if text is None else Outcome(0, text)

    return ask


@pytest.mark.parametrize(
    ("version", "fits"),
    [((3, 10), False), ((3, 11), True), ((3, 14), True), ((3, 15), False), ((2, 7), False)],
)
def test_supported_versions(version: tuple[int, int], fits: bool) -> None:
    assert interpreter.fits(version) is fits


def test_a_fitting_interpreter_is_kept_without_asking() -> None:
    here = Interpreter("/usr/bin/python3", (3, 12))
    assert interpreter.choose(here, machine_with()) == here


def test_the_newest_that_answers_is_taken() -> None:
    ask = machine_with(python3_13="3.13\n/opt/13\n", python3_11="3.11\n/opt/11\n")
    assert interpreter.choose(OLD, ask, "posix") == Interpreter("/opt/13", (3, 13))


def test_a_shim_that_fails_or_lies_is_passed_over() -> None:
    ask = machine_with(python3_14="", python3_13="3.9\n/opt/9\n", python3_11="3.11\n/opt/11\n")
    assert interpreter.choose(OLD, ask, "posix").path == "/opt/11"


def test_too_new_is_as_wrong_as_too_old() -> None:
    here = Interpreter("/usr/bin/python3.15", (3, 15))
    assert (
        interpreter.choose(here, machine_with(python3_14="3.14\n/opt/14\n"), "posix").label
        == "3.14"
    )


def test_windows_asks_the_launcher() -> None:
    ask = machine_with(py_3_12="3.12\nC:\\Python312\\python.exe\n")
    assert interpreter.choose(OLD, ask, "nt").path == "C:\\Python312\\python.exe"


def test_uv_is_the_last_resort() -> None:
    assert interpreter.choose(OLD, machine_with(uv="3.13\n/uv/13\n"), "posix").path == "/uv/13"


def test_nothing_found_says_what_to_install() -> None:
    with pytest.raises(SetupError) as error:
        interpreter.choose(OLD, machine_with(), "posix")
    assert "3.11 to 3.14" in error.value.what
    assert "3.8" in error.value.what
    assert "uv run app.py" in error.value.remedy


def test_the_interpreter_of_this_test_fits() -> None:
    assert interpreter.choose(interpreter.current()).version[0] == 3
