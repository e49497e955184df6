"""`/v1/jobs/{job_id}/webhooks`: what became of the events of a job."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from onebox.api.deps import CallerDep, ServicesDep
from onebox.api.native.job_answer import PATH
from onebox.api.routing import Route
from onebox.services.webhooks.outbox import Delivery, DeliveryState

router = APIRouter(route_class=Route, tags=["jobs"])


class DeliveryAnswer(BaseModel):
    """Times are seconds since 1970."""

    id: str = Field(description="What the receiver gets as `webhook-id`.")
    object: Literal["webhook.delivery"] = "webhook.delivery"
    type: str
    url: str
    status: DeliveryState
    attempts: int
    last_status: int | None = Field(description="What the last attempt was answered, if it was.")
    last_error: str | None
    created_at: float
    next_attempt_at: float | None


class Deliveries(BaseModel):
    object: Literal["list"] = "list"
    data: list[DeliveryAnswer]


@router.get(f"{PATH}/{{job_id}}/webhooks", summary="What became of the events of a job")
async def job_webhooks(job_id: str, services: ServicesDep, caller: CallerDep) -> Deliveries:
    """Oldest first; those that have ended are forgotten after a week."""
    job = await services.jobs.get(job_id, caller)
    return Deliveries(data=[_answer(found) for found in await services.webhooks.of(job.id)])


def _answer(delivery: Delivery) -> DeliveryAnswer:
    return DeliveryAnswer(
        id=delivery.id,
        type=delivery.event_type,
        url=delivery.url,
        status=delivery.state,
        attempts=delivery.attempts,
        last_status=delivery.last_status,
        last_error=delivery.last_error,
        created_at=delivery.created_at,
        next_attempt_at=delivery.next_at,
    )
