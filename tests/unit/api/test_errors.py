from __future__ import annotations

import pytest

from onebox.api.errors import STATUSES, error_body, status_of
from onebox.api.openai.images import parse_size
from onebox.core import errors
from onebox.core.errors import AppError, InvalidInput

CLASSES = [
    item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, AppError)
]
EXPECTED = {
    "InvalidInput": 422,
    "TaskNotSupported": 400,
    "Unauthorized": 401,
    "Forbidden": 403,
    "ModelNotFound": 404,
    "ModelBusy": 409,
    "PayloadTooLarge": 413,
    "QueueFull": 429,
    "WorkerLost": 503,
    "OutOfMemory": 503,
    "DeadlineExceeded": 504,
    "ModelTooLarge": 507,
    "InferenceFailed": 500,
}


def test_every_error_of_the_domain_has_a_status_and_no_other():
    # ConfigurationError is not among them: with it there is no server.
    assert set(STATUSES) == set(CLASSES)


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
