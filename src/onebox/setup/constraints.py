"""Copy constraints.txt into pyproject.toml for uv: `python -m onebox.setup.constraints`.

uv knows no `-c` file for `uv run`; a test compares the two, so that neither can drift.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

_BLOCK = re.compile(r"^constraint-dependencies = \[\n.*?^\]$", re.MULTILINE | re.DOTALL)


def pins(constraints: str) -> list[str]:
    """The pinned requirements, without comments and empty lines."""
    lines = (line.split("#", 1)[0].strip() for line in constraints.splitlines())
    return [line for line in lines if line]


def with_pins(pyproject: str, constraints: str) -> str:
    """The text of pyproject.toml with its generated list renewed."""
    rows = "".join(f'  "{pin}",\n' for pin in pins(constraints))
    text, found = _BLOCK.subn(lambda _: f"constraint-dependencies = [\n{rows}]", pyproject)
    if found != 1:
        raise ValueError("pyproject.toml needs exactly one `constraint-dependencies` list")
    return text


def main(root: Path) -> None:
    pyproject = root / "pyproject.toml"
    constraints = (root / "constraints.txt").read_text(encoding="utf-8")
    pyproject.write_text(
        with_pins(pyproject.read_text(encoding="utf-8"), constraints), encoding="utf-8"
    )
    print(f"{pyproject}: {len(pins(constraints))} pins", file=sys.stderr)


if __name__ == "__main__":
    main(Path(__file__).resolve().parents[3])
