"""What an attacker sends to the text routes: each is told what is wrong, and nothing breaks."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.unit.api.asking import USER, ask, build, tear_down
from tests.unit.api.texts import Texts, app_with
from tests.unit.api.turns import Turns

CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
MESSAGES = [{"role": "user", "content": "Hi"}]
BODIES = {
    CHAT: {"model": "m", "messages": MESSAGES},
    COMPLETIONS: {"model": "m", "prompt": "Hi"},
    RESPONSES: {"model": "m", "input": "Hi"},
}
NUMBERS = [
    "temperature",
    "top_p",
    "min_p",
    "top_k",
    "seed",
    "n",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "max_tool_calls",
    "logprobs",
    "top_logprobs",
    "timeout_s",
    "best_of",
]
NO_NUMBERS = ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 400, "-" + "9" * 5000, "[]"]
HUGE = 10**30
NESTED = '{"a":' * 150 + "1" + "}" * 150


@pytest.fixture(scope="module")
def roomy(tmp_path_factory):
    """A server that takes bodies of its usual size."""
    built = build(tmp_path_factory.mktemp("roomy"), max_body_bytes=64 * 1024 * 1024)
    yield built
    tear_down(built)


def send(services, path, body, texts=None):
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ask(app_with(services, texts or Turns()), "POST", path, USER, sent)


def with_raw(path, name, value):
    """The body of a route with a field as it is written, be it JSON or not."""
    return json.dumps(BODIES[path]).encode()[:-1] + f', "{name}": {value}}}'.encode()


def tool(path, parameters):
    function = {"name": "f", "parameters": parameters}
    flat = path == RESPONSES
    return {"type": "function", **(function if flat else {"function": function})}


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_no_number_is_refused_in_every_field(services, path, name):
    for value in NO_NUMBERS:
        answer = send(services, path, with_raw(path, name, value))
        assert answer.status in (400, 413), (value, answer.body)
        json.loads(answer.body)


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
@pytest.mark.parametrize("number", [HUGE, -HUGE, 2**63, float("inf"), float("nan")])
def test_numbers_that_cannot_be_passed_on_are_refused_deep_in_a_schema(services, path, number):
    parameters = {"type": "object", "properties": {"a": [{"maximum": number}]}}
    answer = send(services, path, {**BODIES[path], "tools": [tool(path, parameters)]})
    place = "tools.0.parameters" if path == RESPONSES else "tools.0.function.parameters"
    assert (answer.status, answer.error["param"]) == (400, place)


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        (
            CHAT,
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "x", "schema": {"const": HUGE}},
                }
            },
            "response_format.json_schema.schema",
        ),
        (
            RESPONSES,
            {"text": {"format": {"type": "json_schema", "name": "x", "schema": {"const": HUGE}}}},
            "text.format.schema",
        ),
    ],
)
def test_numbers_of_a_format_too(services, path, fields, param):
    answer = send(services, path, {**BODIES[path], **fields})
    assert (answer.status, answer.error["param"]) == (400, param)


@pytest.mark.parametrize("url", ["http://h/x", "https://h/x", "file:///etc/passwd", "#/x/../y"])
@pytest.mark.parametrize("path", [CHAT, RESPONSES])
def test_a_schema_fetches_nothing(services, path, url):
    given = tool(path, {"type": "object", "properties": {"a": {"$ref": url}}})
    (given if path == RESPONSES else given["function"])["strict"] = True
    answer = send(services, path, {**BODIES[path], "tools": [given]})
    assert answer.status == 400
    assert answer.error["details"]["keyword"] == "$ref"


@pytest.mark.parametrize("path", [CHAT, RESPONSES])
def test_a_deep_schema_of_a_tool_is_passed_on_or_refused(services, path):
    turns = Turns()
    body = {**BODIES[path], "tools": [tool(path, json.loads(NESTED))]}
    assert send(services, path, body, turns).status == 200
    (passed,) = turns.inputs[-1].tools
    assert passed.parameters == json.loads(NESTED)
    given = body["tools"][0]
    (given if path == RESPONSES else given["function"])["strict"] = True
    assert send(services, path, body).status == 400


@pytest.mark.parametrize("path", BODIES)
def test_a_template_in_a_request_is_refused_by_name(services, path):
    for name in ("chat_template", "chat_template_kwargs", "add_generation_prompt", "documents"):
        answer = send(services, path, {**BODIES[path], name: "{{ 7 * 7 }}"})
        assert (answer.status, answer.error["param"]) == (400, name)


@pytest.mark.parametrize("path", BODIES)
def test_a_name_of_any_length_is_told_in_short(roomy, path):
    answer = send(roomy, path, {**BODIES[path], "k" * 1_000_000: 1})
    assert answer.status == 400
    assert answer.error["code"] == "unknown_parameter"
    assert len(answer.body) < 2000


@pytest.mark.parametrize("path", [*BODIES, "/v1/generate", "/v1/tokenize", "/v1/tasks/chat"])
def test_a_crowded_body_is_refused_before_it_is_parsed(roomy, path):
    given = BODIES.get(path, {"prompt": "x"})
    crowd = ",".join(f'"a{number}":0' for number in range(200_000))
    answer = send(roomy, path, json.dumps(given).encode()[:-1] + f",{crowd}}}".encode())
    assert (answer.status, answer.error["code"]) == (413, "payload_too_large")
    assert "holds more than" in answer.error["message"]
    assert len(answer.body) < 1000


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        (CHAT, {"messages": MESSAGES * 8000}, "messages"),
        (RESPONSES, {"input": MESSAGES * 8000}, None),
        (CHAT, {"stop": ["x"] * 50_000}, "stop"),
        (CHAT, {"logit_bias": {str(token): 1 for token in range(50_000)}}, "logit_bias"),
        (CHAT, {"tools": [tool(CHAT, {})] * 5000}, "tools"),
        (RESPONSES, {"tools": [tool(RESPONSES, {})] * 5000}, "tools"),
        (COMPLETIONS, {"prompt": ["x"] * 50_000}, "prompt"),
        (CHAT, {"messages": [{"role": "user", "content": "x" * 4_000_001}]}, None),
        (CHAT, {"messages": [{"role": "user", "content": "x", "name": "n" * 65}]}, None),
        (RESPONSES, {"metadata": {str(number): "x" for number in range(17)}}, "metadata"),
        (RESPONSES, {"input": [{"type": "x" * 1_000_000}]}, "input.0.type"),
        (CHAT, {"messages": [{"role": "x" * 1_000_000, "content": "x"}]}, "messages.0.role"),
    ],
)
def test_too_much_of_a_thing_is_refused_in_short(roomy, path, fields, param):
    answer = send(roomy, path, {**BODIES[path], **fields})
    assert answer.status == 400
    assert param is None or answer.error["param"] == param
    assert len(answer.body) < 4000


@pytest.mark.parametrize(
    "fields",
    [
        {"input": "\0"},
        {"instructions": "\0", "user": "\0", "metadata": {"\0": "\0"}},
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": "a\0b"}]}]},
        {"prompt_cache_key": "\0", "safety_identifier": "\0", "service_tier": "\0"},
    ],
)
def test_zeros_in_texts_are_kept(services, fields):
    answer = send(services, RESPONSES, {**BODIES[RESPONSES], **fields})
    assert answer.status == 200
    told = json.loads(answer.body)
    again = ask(app_with(services, Turns()), "GET", f"{RESPONSES}/{told['id']}", USER)
    assert json.loads(again.body) == told


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_\0"}, "previous_response_id"),
        ({"previous_response_id": "' OR 1=1 --"}, "previous_response_id"),
        ({"previous_response_id": "../../resp"}, "previous_response_id"),
        ({"input": [{"type": "item_reference", "id": "a\0"}]}, "input.0.id"),
        ({"input": [{"type": "item_reference", "id": "'; DROP TABLE responses; --"}]}, None),
        ({"input": [{"role": "user", "content": "x", "id": "a\0"}]}, "input.0.id"),
    ],
)
def test_ids_are_looked_up_and_nothing_else(services, fields, param):
    kept = json.loads(send(services, RESPONSES, BODIES[RESPONSES]).body)
    answer = send(services, RESPONSES, {**BODIES[RESPONSES], **fields})
    assert answer.status == 400
    assert param is None or answer.error["param"] == param
    again = ask(app_with(services, Turns()), "GET", f"{RESPONSES}/{kept['id']}", USER)
    assert again.status == 200


@pytest.mark.parametrize(
    "place", ["%00", "..%2f..%2fetc%2fpasswd", "%2e%2e", "'%20OR%201=1--", "resp_%ff", "x" * 3000]
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_place_that_is_no_id_is_not_found(services, place, method):
    app = app_with(services, Turns())
    assert ask(app, method, f"{RESPONSES}/{place}", USER).status == 404
    assert ask(app, "GET", f"{RESPONSES}/{place}/input_items", USER).status == 404


def test_an_item_is_referred_to_once(services):
    given = {**BODIES[RESPONSES], "input": [{"role": "user", "content": "x", "id": "msg_mine"}]}
    assert send(services, RESPONSES, given).status == 200
    reference = {"type": "item_reference", "id": "msg_mine"}
    turns = Turns()
    body = {**BODIES[RESPONSES], "input": [reference]}
    assert send(services, RESPONSES, body, turns).status == 200
    assert turns.shown() == [("user", "x")]
    answer = send(services, RESPONSES, {**body, "input": [reference] * 50})
    assert (answer.status, answer.error["param"]) == (400, "input.1.id")


def test_items_referred_to_take_only_so_much(services, monkeypatch):
    monkeypatch.setattr("onebox.api.openai.responses_turn.MAX_REFERRED_BYTES", 1000)
    for name in ("msg_first", "msg_second"):
        item = {"role": "user", "content": "x" * 600, "id": name}
        given = {**BODIES[RESPONSES], "input": [item]}
        assert send(services, RESPONSES, given).status == 200
    references = [{"type": "item_reference", "id": name} for name in ("msg_first", "msg_second")]
    body = {**BODIES[RESPONSES], "input": references}
    answer = send(services, RESPONSES, body)
    assert (answer.status, answer.error["param"]) == (413, "input.1.id")


def test_a_large_body_lets_others_be_served_while_it_is_looked_at(roomy):
    """What looks through it is not on the event loop."""
    seen = []

    def watched(body):
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            seen.append(len(body))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("onebox.api.routing.refuse_crowded", watched)
        body = json.dumps({**BODIES[CHAT], "user": "x" * 2_000_000}).encode()
        assert send(roomy, CHAT, body, Texts()).status == 200
    assert seen == [len(body)]
