"""`/v1/responses`: OpenAI's newer chat route, with conversations that the server keeps.

An adapter over the task `chat`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from onebox.api.bodies import JSON, json_body, read_json
from onebox.api.deps import CallerDep, ServicesDep
from onebox.api.openai.responses_answer import Answer
from onebox.api.openai.responses_fields import (
    InputTokensRequest,
    ResponsesRequest,
    refuse_unsupported,
)
from onebox.api.openai.responses_run import run_in_background, run_whole, stream_events
from onebox.api.openai.responses_turn import Turn, begin_turn, count_tokens
from onebox.api.options import options_of
from onebox.api.pages import Cursor, Limit, page
from onebox.api.routing import OpenAIRoute
from onebox.api.sse import EVENT_STREAM, EventStream
from onebox.bootstrap import Services
from onebox.core.errors import InvalidInput
from onebox.services.database import Order
from onebox.services.request import Options

PATH = "/v1/responses"


def create_router() -> APIRouter:
    router = APIRouter(route_class=OpenAIRoute, tags=["openai"])
    router.add_api_route(
        PATH,
        create_response,
        methods=["POST"],
        summary="The next turn of a conversation, which the server may keep",
        response_class=Response,
        responses={
            200: {
                "description": "`response`, or its events as server-sent events.",
                "content": {JSON: {}, EVENT_STREAM: {}},
            }
        },
        openapi_extra=json_body(ResponsesRequest),
    )
    router.add_api_route(
        f"{PATH}/input_tokens",
        count_input_tokens,
        methods=["POST"],
        summary="How many tokens the input of a response takes",
        response_class=Response,
        openapi_extra=json_body(InputTokensRequest),
    )
    one = f"{PATH}/{{response_id}}"
    router.add_api_route(one, get_response, methods=["GET"], summary="A stored response")
    router.add_api_route(one, delete_response, methods=["DELETE"], summary="Forget a response")
    router.add_api_route(
        f"{one}/cancel",
        cancel_response,
        methods=["POST"],
        summary="Stop a response that runs in the background",
    )
    router.add_api_route(
        f"{one}/input_items",
        list_input_items,
        methods=["GET"],
        summary="What went into a response, the turns before it included",
    )
    return router


async def create_response(request: Request) -> Response:
    services: Services = request.app.state.services
    body = await read_json(request, ResponsesRequest)
    refuse_unsupported(body)
    if body.background:
        services.background.require_room()
    turn = await begin_turn(body, services, request.state.caller, options_of(body, request))
    if body.background:
        return _json(await _start(services, turn))
    answer = Answer(turn, "in_progress")
    if body.stream:
        return EventStream(stream_events(services, turn, answer), request)
    await run_whole(services, turn, answer)
    return _json(answer.public())


async def _start(services: Services, turn: Turn) -> dict[str, Any]:
    answer = Answer(turn, "queued")
    begun = answer.public()
    # The id of the request will be free again while this still runs.
    turn = turn.renamed(answer.id)
    await services.responses.insert(answer.stored(), turn.conversation)
    services.background.start(answer.id, run_in_background(services, turn, answer))
    return begun


async def count_input_tokens(request: Request) -> Response:
    services: Services = request.app.state.services
    body = await read_json(request, InputTokensRequest)
    options = Options(request.scope["request_id"])
    prepared = await count_tokens(body, services, request.state.caller, options)
    outcome = await services.inference.run(prepared)
    count = msgspec.json.decode(outcome.artifacts[0].data or b"")["count"]
    return _json({"object": "response.input_tokens", "input_tokens": count})


async def get_response(
    response_id: str, services: ServicesDep, caller: CallerDep, stream: bool = False
) -> Response:
    """`include` is accepted, without effect: all that was made is told."""
    if stream:
        raise InvalidInput(
            "a stored response is not streamed again by this server; leave stream out",
            param="stream",
        )
    return _json((await services.responses.get(response_id, caller.id)).public())


async def delete_response(
    response_id: str, services: ServicesDep, caller: CallerDep
) -> dict[str, Any]:
    """One that is still running is stopped. What continues it cannot be continued any more."""
    await services.responses.get(response_id, caller.id)
    await services.background.cancel(response_id)
    await services.responses.delete(response_id, caller.id)
    return {"id": response_id, "object": "response", "deleted": True}


async def cancel_response(response_id: str, services: ServicesDep, caller: CallerDep) -> Response:
    """One that has ended is answered as it is."""
    stored = await services.responses.get(response_id, caller.id)
    if not stored.body["background"]:
        raise InvalidInput(
            "only a response made with background=true can be cancelled; "
            "close the connection of any other",
            param="response_id",
        )
    await services.background.cancel(response_id)
    return _json((await services.responses.get(response_id, caller.id)).public())


async def list_input_items(
    response_id: str,
    services: ServicesDep,
    caller: CallerDep,
    order: Order = "desc",
    limit: Limit = 20,
    after: Cursor = None,
    before: Cursor = None,
) -> dict[str, Any]:
    items = await services.responses.input_items(response_id, caller.id)
    return page(items, order=order, limit=limit, after=after, before=before)


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type=JSON)
