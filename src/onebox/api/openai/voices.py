"""`GET /v1/audio/voices`: who can speak."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from onebox.api.deps import CallerDep, ServicesDep
from onebox.api.model_lookup import look_up
from onebox.api.routing import OpenAIRoute
from onebox.audio.synthesis.voices import default_names
from onebox.core.contracts import Entry
from onebox.services.request import require_task

router = APIRouter(route_class=OpenAIRoute, tags=["openai"])

TASK = "speech"


class Voice(BaseModel):
    id: str
    name: str
    object: str = "audio.voice"
    language: str
    model: str
    default: bool = Field(description="Whether it speaks where a request names no voice.")
    aliases: list[str] = Field(description="Names that mean it, OpenAI's for one.")
    licence: str | None = Field(description="Of the model.")
    licence_note: str | None


class Voices(BaseModel):
    object: str = "list"
    data: list[Voice]


@router.get("/v1/audio/voices", summary="The voices of all models that speak, or of one")
async def list_voices(
    services: ServicesDep,
    caller: CallerDep,
    model: Annotated[str | None, Query(max_length=512)] = None,
) -> Voices:
    if model is None:
        entries = [
            entry
            for entry in services.catalogue.entries(caller.allowance.models)
            if TASK in entry.tasks and entry.status != "broken"
        ]
    else:
        entries = [look_up(model, services, caller)]
        require_task(entries[0], TASK)
    return Voices(data=[voice for entry in entries for voice in _voices(entry)])


def _voices(entry: Entry) -> list[Voice]:
    # Those of another server it would have to tell.
    known = entry.facts.get("voices", [])
    others = default_names([voice["id"] for voice in known])
    return [
        Voice(
            **voice,
            model=entry.name,
            default=place == 0,
            aliases=others if place == 0 else [],
            licence=entry.overrides.get("licence"),
            licence_note=entry.overrides.get("licence_note"),
        )
        for place, voice in enumerate(known)
    ]
