"""What `onebox keys credits` prints and changes."""

from __future__ import annotations

import pytest
from click.testing import CliRunner, Result

from onebox.cli.keys import keys


def credits(*arguments: str) -> Result:
    return CliRunner().invoke(keys, ["credits", *arguments])


def printed(*arguments: str) -> str:
    result = credits(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def test_credits_are_given_set_and_taken_away() -> None:
    key = CliRunner().invoke(keys, ["create", "customer"]).stderr.split()[0]
    assert printed(key) == "unlimited"
    assert printed(key, "--add", "12.5") == "12.5"
    assert printed(key, "--add", "-2.5") == "10"
    assert printed(key, "--set", "3") == "3"
    assert printed(f"key:{key}") == "3"
    assert printed(key, "--remove") == "unlimited"


@pytest.mark.parametrize(
    "arguments",
    [
        ("key_00000000000000000000000000", "--add", "1"),
        ("nobody",),
        ("key:1", "--add", "1", "--set", "2"),
        ("key:1", "--set", "nan"),
        ("key:1", "--add", "many"),
    ],
)
def test_what_cannot_be_changed_is_told(arguments: tuple[str, ...]) -> None:
    result = credits(*arguments)
    assert result.exit_code != 0
    assert "Traceback" not in result.output
    assert result.output.startswith(("Error", "Usage"))
