"""`POST /generate` and `/local/generate`: prompts (compat/prompts), photos (compat/photos), or both
on one path, told apart by what a body says it is.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from fastapi import APIRouter, Request, Response

from onebox.api.bodies import json_body
from onebox.api.compat.photos import PhotoAnswer, PhotoRequest, draw_background
from onebox.api.compat.prompts import (
    PromptAnswer,
    PromptRequest,
    answer_prompt,
    prompt_responses,
    stream_parameter,
)
from onebox.api.compat.routing import CompatRoute, GenerateRoute, PhotoRoute, PromptRoute
from onebox.api.forms import form_body, is_form

PROMPTS, PHOTOS = "generate", "photo"
PATH, LOCAL = "/generate", "/local/generate"


def create_router(families: Collection[str]) -> APIRouter:
    """With the routes of those of the two families that are among these."""
    router = APIRouter(tags=["compat"])
    if PROMPTS in families:
        _add(router, PromptRoute, LOCAL, answer_prompt, "local_generate", _prompts())
    if PROMPTS in families and PHOTOS in families:
        _add(router, GenerateRoute, PATH, answer_either, "generate_either", _either())
    elif PROMPTS in families:
        _add(router, PromptRoute, PATH, answer_prompt, "generate_text", _prompts())
    elif PHOTOS in families:
        _add(router, PhotoRoute, PATH, draw_background, "generate_background", _photos())
    return router


async def answer_either(request: Request) -> Response:
    return await (draw_background if is_form(request) else answer_prompt)(request)


def _add(
    router: APIRouter,
    route_class: type[CompatRoute],
    path: str,
    endpoint: Any,
    name: str,
    told: dict[str, Any],
) -> None:
    router.add_api_route(
        path,
        endpoint,
        methods=["POST"],
        operation_id=name,
        response_class=Response,
        route_class_override=route_class,
        **told,
    )


def _prompts() -> dict[str, Any]:
    return {
        "summary": "A text from a prompt",
        "responses": {200: {"model": PromptAnswer, **prompt_responses()}},
        "openapi_extra": {**json_body(PromptRequest), **stream_parameter()},
    }


def _photos() -> dict[str, Any]:
    return {
        "summary": "A product on another background, from its photo",
        "responses": {200: {"model": PhotoAnswer}},
        "openapi_extra": form_body(PhotoRequest),
    }


def _either() -> dict[str, Any]:
    bodies = [
        each["requestBody"]["content"]
        for each in (json_body(PromptRequest), form_body(PhotoRequest))
    ]
    content = bodies[0] | bodies[1]
    return {
        "summary": "A text from a prompt (JSON), or a product on another background (a form)",
        "responses": {200: {"model": PromptAnswer | PhotoAnswer, **prompt_responses()}},
        "openapi_extra": {
            "requestBody": {"required": True, "content": content},
            **stream_parameter(),
        },
    }
