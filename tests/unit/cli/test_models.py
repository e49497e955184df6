"""How `onebox list` writes what is on disk."""

from __future__ import annotations

import msgspec

from onebox.cli.models import notes, row, table
from onebox.core.contracts import Entry

CHAT = Entry(
    key="a",
    name="org/chat",
    path="/m/org/chat",
    extension="",
    size_bytes=5,
    status="ready",
    sha256="ab" * 32,
    tasks=("chat", "completion"),
    overrides={"licence": "Apache-2.0"},
)
BROKEN = Entry(
    key="b", name="b", path="/m/b", extension="", size_bytes=5, status="broken", reason="no header"
)


def test_a_row_tells_tasks_and_licence() -> None:
    assert row(CHAT, "5 B") == (
        "org/chat",
        "abababababab",
        "5 B",
        "ready",
        "chat, completion",
        "Apache-2.0",
    )


def test_a_broken_model_tells_why() -> None:
    assert row(BROKEN, "5 B") == ("b", "-", "5 B", "broken", "no header", "-")


def test_a_pickle_that_nobody_used_yet_tells_when_its_tasks_come_out() -> None:
    unconverted = msgspec.structs.replace(CHAT, tasks=(), unconverted=True)
    assert "on first use" in row(unconverted, "5 B")[4]


def test_what_to_know_about_a_licence_has_a_line_of_its_own() -> None:
    unclear = msgspec.structs.replace(
        CHAT, name="voice", overrides={"licence": "unclear", "licence_note": "for\x1b tests"}
    )
    assert notes([CHAT, unclear, BROKEN]) == ["the licence of voice: for  tests"]


def test_columns_are_aligned_and_sizes_end_together() -> None:
    lines = table([row(CHAT, "5 B"), row(BROKEN, "123.4 MB")])
    assert lines[0].index("ready") == lines[1].index("broken")
    assert lines[0].index("5 B") + 3 == lines[1].index("123.4 MB") + 8


def test_a_name_cannot_drive_the_terminal() -> None:
    (line,) = table([("a\x1b[2Jb", "", "", "", "", "")])
    assert line == "a [2Jb"
