"""Lists of jobs, a page at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from onebox.core.errors import InvalidInput
from onebox.services.database import Order
from onebox.services.jobs.ids import is_id, sequence_of
from onebox.services.jobs.job import PREFIXES, Job, State, Surface
from onebox.services.jobs.rows import job_of, select_short
from onebox.services.tables import JOBS


@dataclass(frozen=True, slots=True, kw_only=True)
class JobQuery:
    """Which jobs are wanted, in which order by age; None stands for all.

    Attributes:
        after, before: ids of jobs; they need not exist any more. Raises InvalidInput for others.
    """

    surface: Surface | None = None
    state: State | None = None
    task: str | None = None
    model: str | None = None
    group: str | None = None
    after: str | None = None
    before: str | None = None
    limit: int = 20
    order: Order = "desc"

    def __post_init__(self) -> None:
        for param, cursor in (("after", self.after), ("before", self.before)):
            if cursor is not None and not any(is_id(cursor, kind) for kind in PREFIXES.values()):
                raise InvalidInput(f"{param}: {cursor[:64]} is no id of a job", param=param)

    def conditions(self, caller: str | None) -> list[Any]:
        wanted = (
            (JOBS.c.caller, caller),
            (JOBS.c.surface, self.surface),
            (JOBS.c.state, self.state),
            (JOBS.c.task, self.task),
            (JOBS.c.model, self.model),
            (JOBS.c.group_id, self.group),
        )
        found = [column == value for column, value in wanted if value is not None]
        sequence, rises = JOBS.c.sequence, self.order == "asc"
        for cursor, is_later in ((self.after, rises), (self.before, not rises)):
            if cursor is not None:
                place = sequence_of(cursor)
                found.append(sequence > place if is_later else sequence < place)
        return found

    def can_match(self) -> bool:
        """PostgreSQL has no texts with a NUL, and says so."""
        return not any("\0" in text for text in (self.task, self.model, self.group) if text)


def page(connection: Connection, caller: str | None, query: JobQuery) -> tuple[list[Job], bool]:
    """Without their `work`, and whether there are more; `caller` None is all callers'."""
    if not query.can_match():
        return [], False
    # Those before a place are the ones nearest to it: read backwards, and turned round.
    is_backwards = query.before is not None and query.after is None
    rises = (query.order == "asc") != is_backwards
    found = connection.execute(
        select_short()
        .where(*query.conditions(caller))
        .order_by(JOBS.c.sequence if rises else JOBS.c.sequence.desc())
        .limit(query.limit + 1)
    ).all()
    part = [job_of(row) for row in found[: query.limit]]
    return part[::-1] if is_backwards else part, len(found) > query.limit
