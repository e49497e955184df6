"""`/v1/usage`: what was used, and what may be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from onebox.api.bodies import JSON
from onebox.api.deps import CallerDep, ServicesDep, UsageDep
from onebox.api.pages import Cursor, Limit, listing
from onebox.api.routing import Route
from onebox.core.errors import InvalidInput
from onebox.services.access.caller import Caller
from onebox.services.usage.key_names import MAX_NAME_CHARS, caller_id
from onebox.services.usage.report import Bucket, Grouping, SumsQuery

router = APIRouter(route_class=Route, tags=["usage"])

PATH = "/v1/usage"
DATE = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
# Units that are counted in whole numbers.
WHOLE = frozenset({"requests", "prompt_tokens", "completion_tokens", "cached_tokens", "pictures"})
DIGITS = 6
MAX_ROWS = 1000

Day = Annotated[
    str | None,
    Query(max_length=10, json_schema_extra={"format": "date"}, description="Of UTC: 2026-01-31."),
]
Text = Annotated[str | None, Query(max_length=MAX_NAME_CHARS)]
Rows = Annotated[int, Query(ge=1, le=MAX_ROWS)]
Page = Annotated[int, Query(ge=1, le=1_000_000)]


class UsageAmounts(BaseModel):
    """`device_seconds` and `completion_tokens` are also of requests that did not end well, as far
    as they ran; all others only of those that did.
    """

    requests: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = Field(description="Those of the prompt that had not to be computed.")
    pictures: int
    audio_seconds: float
    video_seconds: float
    device_seconds: float
    credits: float = Field(description="What was charged.")


class UsageSum(UsageAmounts):
    ended: int = Field(description="All requests, also those that failed or were cancelled.")


class UsageRow(UsageSum):
    """With what it is grouped by."""

    day: str | None = None
    month: str | None = None
    key: str | None = None
    model: str | None = None
    task: str | None = None
    status: Literal["ok", "cancelled", "failed"] | None = None


class UsageAnswer(BaseModel):
    object: Literal["usage"]
    start: str
    end: str
    data: list[UsageRow]
    total: UsageSum = Field(description="Of all pages.")
    page: int
    has_more: bool


class RequestUsage(UsageAmounts):
    id: str
    at: float = Field(description="When it ended, in seconds since 1970.")
    key: str
    task: str
    model: str
    status: str = Field(description="ok, cancelled, or the code of the error.")
    request_id: str
    job_id: str | None


class RequestUsagePage(BaseModel):
    object: Literal["list"]
    data: list[RequestUsage]
    first_id: str | None
    last_id: str | None
    has_more: bool


class QuotaUse(BaseModel):
    unit: str
    limit: float
    used: float


class QuotasAnswer(BaseModel):
    object: Literal["quotas"] = "quotas"
    key: str
    day: list[QuotaUse]
    month: list[QuotaUse]


@router.get(
    PATH,
    summary="What was used, summed up",
    response_class=Response,
    responses={200: {"model": UsageAnswer}},
)
async def sum_usage(
    usage: UsageDep,
    caller: CallerDep,
    start: Day = None,
    end: Day = None,
    bucket: Bucket | None = None,
    group_by: Annotated[tuple[Grouping, ...], Query(max_length=16)] = (),
    key: Text = None,
    model: Text = None,
    task: Text = None,
    limit: Rows = 100,
    page: Page = 1,
) -> Response:
    """Your own; with the scope `admin`, everybody's, or that of one `key`. Both days are included;
    without them it is this month.
    """
    first, last = _days(start, end)
    wanted = SumsQuery(
        start=first,
        end=last,
        caller=whose(caller, key),
        model=model,
        task=task,
        group_by=tuple(dict.fromkeys(group_by)),
        bucket=bucket,
        limit=limit,
        page=page,
    )
    sums = await usage.report.sums(wanted)
    return _answer(
        {
            "object": "usage",
            "start": first,
            "end": last,
            "data": [_rounded(row) for row in sums.rows],
            "total": _rounded(sums.total),
            "page": page,
            "has_more": sums.has_more,
        }
    )


@router.get(
    f"{PATH}/requests",
    summary="What single requests used, the newest first",
    response_class=Response,
    responses={200: {"model": RequestUsagePage}},
)
async def list_requests(
    usage: UsageDep,
    caller: CallerDep,
    key: Text = None,
    limit: Limit = 20,
    after: Cursor = None,
) -> Response:
    """Your own; with the scope `admin`, everybody's, or those of one `key`. They are kept for a
    time only.
    """
    rows, has_more = await usage.report.requests(
        caller=whose(caller, key), after=after, limit=limit
    )
    return _answer(listing([_request(row) for row in rows], has_more=has_more))


@router.get(f"{PATH}/quotas", summary="What you may use, and how much of it you have")
async def list_quotas(services: ServicesDep, caller: CallerDep) -> QuotasAnswer:
    return QuotasAnswer.model_validate({"key": caller.id, **services.usage.quotas.of(caller)})


def whose(caller: Caller, key: str | None) -> str | None:
    """Whose usage is told; None: everybody's. Raises Forbidden for that of others."""
    if key is None:
        return None if caller.may("admin") else caller.id
    asked = caller_id(key)
    if asked != caller.id:
        caller.require("admin")
    return asked


def _days(start: str | None, end: str | None) -> tuple[str, str]:
    last = _day("end", end) or datetime.now(UTC).date()
    first = _day("start", start) or last.replace(day=1)
    if first > last:
        raise InvalidInput(f"start: {first} is after the end, {last}", param="start")
    return first.isoformat(), last.isoformat()


def _day(name: str, text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text if DATE.fullmatch(text) else "")
    except ValueError:
        raise InvalidInput(f"{name}: {text} is no day such as 2026-01-31", param=name) from None


def _request(row: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: value for name, value in row.items() if name not in ("caller", "day", "at")}
    return {"at": row["at"], "key": row["caller"], **_rounded(told)}


def _rounded(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _number(name, value) for name, value in row.items()}


def _number(name: str, value: Any) -> Any:
    if name in WHOLE:
        return int(value)
    return round(value, DIGITS) if isinstance(value, float) else value


def _answer(body: dict[str, Any]) -> Response:
    return Response(msgspec.json.encode(body), media_type=JSON)
