"""What tests of encoder families share: an entry, and a task run to its end without a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from onebox.core.contracts import Device, Entry, Family
from onebox.core.piecework import PieceTask
from onebox.core.plugins import ENCODERS
from onebox.registry.on_disk import open_on_disk
from tests.families.languages import device

ROUND = 512


def entry(path: Path, family: Family, **overrides: Any) -> Entry:
    match = family.matches(open_on_disk(path))
    assert match is not None
    return Entry(
        key=f"{path} {overrides}",
        name="tiny",
        path=str(path),
        extension="",
        size_bytes=1,
        status="ready",
        family=family.name,
        facts=dict(match.facts),
        overrides=overrides,
    )


class Context:
    """A RunContext that counts how often others might have had the device."""

    lean = False

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.device = device()
        self.handed_over = 0

    def hand_over(self) -> None:
        self.handed_over += 1


def run(task: PieceTask[Any], bundle: Any, entry: Entry, **values: Any) -> dict[str, Any]:
    """The JSON that the task answers with."""
    import onebox.encoders.plain
    import onebox.encoders.vectors  # noqa: F401

    request = task.Input(**values)
    task.check(request, entry)
    work = task.prepare(request, entry, lambda media: b"")
    context: Any = Context(entry)
    place: Device = context.device
    while not work.done:
        pieces = task.choose(work.ready(ROUND), entry, place)
        for piece, result in zip(pieces, task.compute(bundle, pieces, context), strict=True):
            work.accept(piece, result)
    (output,) = work.outputs()
    found: dict[str, Any] = json.loads(ENCODERS[output.kind].encode(output).data or b"")
    return found
