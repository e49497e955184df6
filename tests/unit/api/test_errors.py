from __future__ import annotations

import dataclasses

import pytest

from onebox.api.app import create_app
from onebox.api.errors import STATUSES, error_body, status_of
from onebox.api.openai.image_fields import parse_size
from onebox.core import errors
from onebox.core.errors import AppError, InvalidInput
from tests.unit.api.asking import USER, ask

CLASSES = [
    item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, AppError)
]
EXPECTED = {
    "InvalidInput": 422,
    "TaskNotSupported": 400,
    "Unauthorized": 401,
    "Forbidden": 403,
    "ModelNotAllowed": 403,
    "InsufficientCredits": 403,
    "ModelNotFound": 404,
    "KeyNotFound": 404,
    "RequestNotFound": 404,
    "RequestIdTaken": 409,
    "ResultNotReady": 409,
    "ModelBusy": 409,
    "PayloadTooLarge": 413,
    "QueueFull": 429,
    "ConcurrencyLimited": 429,
    "RateLimited": 429,
    "QuotaExceeded": 429,
    "UpstreamFailed": 502,
    "BackendUnavailable": 503,
    "ModelUnloaded": 503,
    "WorkerLost": 503,
    "OutOfMemory": 503,
    "DeadlineExceeded": 504,
    "UpstreamTimeout": 504,
    "UpstreamLoop": 508,
    "ModelTooLarge": 507,
    "StorageFull": 507,
    "InferenceFailed": 500,
}


def test_every_error_of_the_domain_has_a_status_and_no_other():
    # With that one there is no server.
    assert set(STATUSES) == set(CLASSES) - {errors.ConfigurationError}


@pytest.mark.parametrize(("name", "status"), EXPECTED.items())
def test_statuses_are_those_of_the_design(name, status):
    assert status_of(getattr(errors, name)("x")) == status


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_openai_routes_say_400_where_native_ones_say_422(cls):
    native, openai = status_of(cls("x")), status_of(cls("x"), 400)
    assert openai == (400 if native == 422 else native)


@pytest.mark.parametrize(
    ("status", "error_type"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (422, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "server_error"),
        (507, "server_error"),
    ],
)
def test_the_one_shape(status, error_type):
    assert error_body("m", code="c", status=status, request_id="r", param="p") == {
        "error": {
            "message": "m",
            "type": error_type,
            "param": "p",
            "code": "c",
            "status": status,
            "details": {},
            "request_id": "r",
        }
    }


@pytest.mark.parametrize(
    ("size", "sides"),
    [
        (None, (None, None)),
        ("auto", (None, None)),
        ("512x512", (512, 512)),
        ("64x2048", (64, 2048)),
        ("1792x1024", (1792, 1024)),
    ],
)
def test_sizes(size, sides):
    assert parse_size(size) == sides


@pytest.mark.parametrize(
    "size",
    [
        *("", "512", "512x", "x512", "512X512", "512*512", "512x512x512", " 512x512", "0x0"),
        *("56x64", "2056x64", "513x512", "-512x512", "512.0x512", "999999x8", "AUTO", "auto "),
        "9" * 10_000 + "x8",
    ],
    ids=lambda size: size[:12],
)
def test_no_sizes(size):
    with pytest.raises(InvalidInput) as caught:
        parse_size(size)
    assert caught.value.param == "size"
    assert len(caught.value.details["received"]) <= 32


def answered(services, error):
    class Inference:
        async def prepare(self, *args, **kwargs):
            raise error

    app = create_app(dataclasses.replace(services, inference=Inference()))
    return ask(app, "POST", "/v1/tasks/text-to-image", USER, b'{"prompt": "x"}')


@pytest.mark.parametrize(
    ("error", "should_retry"),
    [
        (errors.ModelBusy("x"), "false"),
        (errors.RequestIdTaken("x"), "false"),
        (errors.DeadlineExceeded("x"), "false"),
        (errors.ModelTooLarge("x"), "false"),
        (errors.OutOfMemory("x"), None),
        (errors.OutOfMemory("x", should_retry=False), "false"),
        (errors.ModelBusy("x", should_retry=True), "true"),
        (errors.ModelUnloaded("x", should_retry=False), "false"),
        (errors.QueueFull("x", retry_after_s=1), None),
    ],
    ids=repr,
)
def test_whether_a_client_should_try_again_by_itself(services, error, should_retry):
    assert answered(services, error).headers.get("x-should-retry") == should_retry


@pytest.mark.parametrize(
    ("retry_after_s", "seconds", "milliseconds"),
    [(0.0, "1", "1"), (0.2, "1", "200"), (1.0, "1", "1000"), (2.0001, "3", "2001")],
)
def test_when_to_try_again(services, retry_after_s, seconds, milliseconds):
    answer = answered(services, errors.ConcurrencyLimited("x", retry_after_s=retry_after_s))
    assert answer.status == 429
    assert answer.headers["retry-after"] == seconds
    assert answer.headers["retry-after-ms"] == milliseconds
