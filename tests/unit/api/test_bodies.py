from __future__ import annotations

import json

import pytest

from onebox.api.app import create_app
from tests.unit.api.asking import BODY_LIMIT, USER, ask

NATIVE = [
    "/v1/infer",
    "/infer",
    "/v1/tasks/text-to-image",
    "/v1/generate",
    "/v1/tokenize",
    "/v1/detokenize",
]
OPENAI = ["/v1/images/generations", "/v1/chat/completions", "/v1/completions"]
FIELDS = {"message", "type", "param", "code", "status", "details", "request_id"}
POSTS = [(path, 422) for path in NATIVE] + [(path, 400) for path in OPENAI]


def post(app, path, body):
    return ask(app, "POST", path, USER, body)


def assert_shape(answer):
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.error) == FIELDS
    assert answer.error["status"] == answer.status
    assert answer.error["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(("path", "status"), POSTS)
@pytest.mark.parametrize("body", [b"{", b'{"prompt": }', b"nonsense", b'{"a":1}}'])
def test_malformed_json(app, path, status, body):
    answer = post(app, path, body)
    assert_shape(answer)
    assert (answer.status, answer.error["code"]) == (status, "invalid_json")


@pytest.mark.parametrize(("path", "status"), POSTS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"7",
        b"\xff\xfe",
        b'{"prompt": "\\ud800"}',
        b'{"prompt": "x", "model": "\\ud800", "model_id": "\\ud800"}',
        b'{"prompt": "x", "\\ud800": 1}',
        b'{"prompt": "x", "seed": ' + b"9" * 3000 + b"}",
        b'{"prompt": "x", "guidance_scale": NaN}',
        b'{"prompt": "x", "guidance_scale": 1e999}',
        b"[" * 3000,
        b'{"prompt":' * 300,
    ],
    ids=lambda body: repr(body)[:30],
)
def test_no_body_whatever_is_a_bug_of_ours(app, path, status, body):
    answer = post(app, path, body)
    assert_shape(answer)
    assert answer.status in {400, 404, 422}


@pytest.mark.parametrize(
    ("path", "status", "body", "code", "param"),
    [
        ("/v1/infer", 422, {"id": "1", "model_id": "m"}, "missing_required_parameter", "prompt"),
        ("/v1/tasks/text-to-image", 422, {}, "missing_required_parameter", "prompt"),
        ("/v1/images/generations", 400, {}, "missing_required_parameter", "prompt"),
        ("/v1/chat/completions", 400, {}, "missing_required_parameter", "messages"),
        ("/v1/completions", 400, {}, "missing_required_parameter", "prompt"),
        ("/v1/generate", 422, {}, "missing_required_parameter", "prompt"),
        (
            "/v1/infer",
            422,
            {"id": "1", "model_id": "m", "prompt": "x", "width": 3000},
            "invalid_value",
            "width",
        ),
        ("/v1/tasks/text-to-image", 422, {"prompt": "x", "n": 11}, "invalid_value", "n"),
        ("/v1/tasks/text-to-image", 422, {"prompt": "x", "q": 1}, "unknown_parameter", "q"),
        ("/v1/images/generations", 400, {"prompt": "x", "size": "7x7"}, "invalid_value", "size"),
        (
            "/v1/images/generations",
            400,
            {"prompt": "x", "partial_images": 2},
            "invalid_value",
            "partial_images",
        ),
    ],
)
def test_a_wrong_value_is_named(app, path, status, body, code, param):
    answer = post(app, path, json.dumps(body).encode())
    assert_shape(answer)
    assert (answer.status, answer.error["code"], answer.error["param"]) == (status, code, param)


def test_what_was_received_and_the_bounds_are_in_the_details(app):
    body = json.dumps({"id": "1", "model_id": "m", "prompt": "x", "width": 3000}).encode()
    assert post(app, "/v1/infer", body).error["details"] == {"max": 1024, "received": 3000}


@pytest.mark.parametrize(("path", "status"), POSTS)
def test_a_body_over_the_limit_is_413_declared_or_not(app, path, status):
    big = [b'{"prompt": "', b"x" * BODY_LIMIT, b'"}']
    declared = ask(app, "POST", path, {**USER, "content-length": str(BODY_LIMIT + 1)}, b"{}")
    for answer in (declared, post(app, path, big)):
        assert_shape(answer)
        assert (answer.status, answer.error["code"]) == (413, "payload_too_large")
        assert answer.headers["connection"] == "close"


def test_a_body_at_the_limit_is_read(app):
    frame = b'{"prompt": 7, "negative_prompt": ""}'
    body = frame[:-2] + b"x" * (BODY_LIMIT - len(frame)) + frame[-2:]
    assert len(body) == BODY_LIMIT
    assert post(app, "/v1/tasks/text-to-image", body).status == 422


def test_a_multipart_body_counts_too(app):
    headers = {**USER, "content-type": "multipart/form-data; boundary=b"}
    head = b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n'
    body = [head, *[b"x" * 1000] * 5, b"\r\n--b--\r\n"]
    assert ask(app, "POST", "/v1/tasks/text-to-image", headers, body).status == 413


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nope", 404, "route_not_found"),
        ("POST", "/v1/tasks/nope", 404, "route_not_found"),
        ("GET", "/v1/infer", 405, "method_not_allowed"),
        ("DELETE", "/health", 405, "method_not_allowed"),
        ("GET", "/v1/models/nope", 404, "model_not_found"),
    ],
)
def test_unknown_routes_methods_and_models(app, method, path, status, code):
    answer = ask(app, method, path, USER)
    assert_shape(answer)
    assert (answer.status, answer.error["code"]) == (status, code)


def test_a_model_of_no_such_name_is_404_with_the_param(app):
    answer = post(app, "/v1/infer", b'{"id": "1", "model_id": "nope", "prompt": "x"}')
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")


def test_a_bug_is_500_with_a_request_id_and_without_its_text(services):
    app = create_app(services)

    @app.get("/bug")
    async def bug() -> str:
        raise RuntimeError("/secret/path")

    answer = ask(app, "GET", "/bug", {**USER, "x-request-id": "mine-1"})
    assert_shape(answer)
    assert (answer.status, answer.error["code"]) == (500, "internal_error")
    assert answer.error["request_id"] == "mine-1"
    assert b"secret" not in answer.body
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("wanted", ["a b", "x" * 65, "é", "<script>", "a,b", ""])
def test_a_strange_request_id_is_replaced(app, wanted):
    answer = ask(app, "GET", "/health", {"x-request-id": wanted})
    assert answer.headers["x-request-id"] not in ("", wanted)


def test_requests_are_counted_by_route_and_not_by_what_was_typed(app, services):
    for path in ("/health", "/nope-1", "/v1/models/typed"):
        ask(app, "GET", path, USER)
    page = services.metrics.render().decode()
    assert 'route="/health"' in page
    assert 'route="/v1/models/{model}"' in page
    assert "nope-1" not in page
    assert "typed" not in page
