from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from pydantic import BaseModel, create_model

from onebox.api.app import create_app
from onebox.api.options import RequestOptions, option_fields
from onebox.core.errors import QueueFull
from onebox.services.request import Options
from tests.unit.api.asking import USER, ask
from tests.unit.api.reading import DATA_URL

BODIES = {
    "/v1/infer": {"id": "own/1", "model_id": "m", "prompt": "x"},
    "/v1/images/generations": {"prompt": "x"},
    "/v1/images/edits": {"prompt": "x", "image": DATA_URL},
    "/v1/images/variations": {"image": DATA_URL},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "x"}]},
    "/v1/completions": {"prompt": "x"},
    "/v1/generate": {"prompt": "x"},
    "/v1/tokenize": {"text": "x"},
    "/v1/tasks/text-to-image": {"prompt": "x"},
}
OPENAI = {path for path in BODIES if path.endswith("completions") or "/images/" in path}
HEADERS = {**USER, "x-request-id": "header-1"}


class Inference:
    """Notes the options, and refuses."""

    def __init__(self) -> None:
        self.options: Options | None = None
        self.input: BaseModel | None = None

    async def prepare(self, task, given, *, model, caller, options):
        self.options, self.input = options, given
        raise QueueFull("full")


def post(services, path, body: dict[str, Any]):
    inference = Inference()
    app = create_app(dataclasses.replace(services, inference=inference))
    answer = ask(app, "POST", path, HEADERS, json.dumps(body).encode())
    return answer, inference


@pytest.mark.parametrize("path", BODIES)
def test_what_the_client_says(services, path):
    body = {**BODIES[path], "timeout_s": 2.5, "priority": "batch"}
    answer, inference = post(services, path, body)
    client_id = "own/1" if path == "/v1/infer" else "header-1"
    assert answer.status == 429
    assert inference.options == Options(client_id, "batch", 2.5)
    assert not {"timeout_s", "priority", "model"} & set(inference.input.model_fields_set)


@pytest.mark.parametrize("path", BODIES)
def test_what_the_client_leaves_out(services, path):
    _, inference = post(services, path, BODIES[path])
    assert inference.options is not None
    assert (inference.options.priority, inference.options.timeout_s) == ("interactive", None)


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    "wrong",
    [
        *({"timeout_s": value} for value in (0, -1, 86_401, 1e999, "soon")),
        *({"priority": value} for value in ("urgent", "", None, 1)),
    ],
    ids=str,
)
def test_wrong_options(services, path, wrong):
    answer, inference = post(services, path, {**BODIES[path], **wrong})
    assert answer.status == (400 if path in OPENAI else 422)
    assert answer.error["param"] == next(iter(wrong))
    assert inference.options is None


def test_a_tasks_own_field_wins():
    class Own(BaseModel):
        priority: int = 7

    model = create_model("Both", __base__=Own, **option_fields(Own))
    assert set(option_fields(Own)) == {"timeout_s"}
    assert model.model_validate({"priority": 3, "timeout_s": 1}).model_dump() == {
        "priority": 3,
        "timeout_s": 1.0,
    }


def test_the_options_of_all_models_are_bounded_alike():
    class One(BaseModel):
        text: str = ""

    class Two(BaseModel):
        text: str = ""

    bounds = RequestOptions.model_json_schema()["properties"]
    for base in (One, Two):
        schema = create_model("Made", __base__=base, **option_fields(base)).model_json_schema()
        assert {name: schema["properties"][name] for name in bounds} == bounds


def test_the_options_are_on_the_openapi_page(app):
    page = app.openapi()
    shown = [page["components"]["schemas"]["InferRequest"]["properties"]]
    for path in ("/v1/tasks/text-to-image", "/v1/images/generations", "/v1/images/edits"):
        body = page["paths"][path]["post"]["requestBody"]
        shown.append(body["content"]["application/json"]["schema"]["properties"])
    for properties in shown:
        assert {"timeout_s", "priority"} <= set(properties)
