"""`/v1/tasks/*` as a form: lists of files, objects, options."""

from __future__ import annotations

import pytest

from tests.unit.api.drawing import post
from tests.unit.api.reading import DATA_URL, FILE, PNG

PATH = "/v1/tasks/image-to-image"
OTHER = ("b.png", PNG + b"other", "image/png")


@pytest.mark.parametrize("name", ["images", "images[]"])
def test_several_files_of_one_name_are_a_list(services, name):
    answer, drawings = post(services, PATH, [("prompt", "x"), (name, FILE), (name, OTHER)])
    assert answer.status == 200, answer.body
    assert [picture.data for picture in drawings.input.images] == [PNG, OTHER[1]]


def test_a_form_and_json_ask_for_the_same(services):
    parts = [
        ("prompt", "x"),
        ("images", FILE),
        ("loras", '[{"model": "ink", "scale": 2}]'),
        ("strength", "0.5"),
        ("model", "m"),
        ("priority", "batch"),
    ]
    _, by_form = post(services, PATH, parts)
    body = {
        "prompt": "x",
        "images": [DATA_URL],
        "loras": [{"model": "ink", "scale": 2}],
        "strength": 0.5,
        "model": "m",
        "priority": "batch",
    }
    _, by_json = post(services, PATH, body)
    assert by_form.input == by_json.input
    assert (by_form.model, by_form.options.priority) == ("m", "batch")


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ([("images", "text")], "images"),
        ([("images", FILE), ("strength", FILE)], "strength"),
        ([("images", FILE), ("strength", "1"), ("strength", "1")], "strength"),
        ([("images", FILE), ("unknown", "1")], "unknown"),
        ([("images[]", FILE)] * 17, "images"),
        ([("strength", "1")], "images"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_is_wrong_is_told_by_name(services, parts, param):
    answer, drawings = post(services, PATH, [("prompt", "x"), *parts])
    assert (answer.status, answer.error["param"]) == (422, param)
    assert drawings.input is None


def test_a_client_cannot_name_a_file_of_the_server(services):
    body = {"prompt": "x", "images": [{"file_id": "ab" * 16}]}
    answer, drawings = post(services, PATH, body)
    assert (answer.status, answer.error["param"]) == (422, "images")
    assert drawings.input is None
