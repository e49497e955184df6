"""What an attacker sends to the picture routes: each is told what is wrong, and nothing breaks."""

from __future__ import annotations

import json

import pytest

from tests.unit.api.asking import USER, ask
from tests.unit.api.drawing import EDITS, GENERATIONS, VARIATIONS, Drawings, edit, post
from tests.unit.api.reading import DATA_URL, FILE, PNG
from tests.unit.api.texts import app_with

BODIES = {
    GENERATIONS: {"prompt": "x"},
    EDITS: {"prompt": "x", "image": DATA_URL},
    VARIATIONS: {"image": DATA_URL},
}
NUMBERS = [
    *("n", "seed", "steps", "guidance_scale", "clip_skip", "output_compression", "timeout_s"),
    *("partial_images", "strength", "feather", "frame_count"),
]
NO_NUMBERS = ["NaN", "Infinity", "-Infinity", "1e999", "-1", "9" * 400, "-" + "9" * 4000, "[]"]


def raw(path: str, name: str, value: str) -> bytes:
    """The body of a route with a field as it is written, be it JSON or not."""
    return json.dumps(BODIES[path]).encode()[:-1] + f', "{name}": {value}}}'.encode()


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("name", NUMBERS)
def test_no_number_that_is_none_gets_through(roomy, path: str, name: str) -> None:
    app = app_with(roomy, Drawings())
    for value in NO_NUMBERS:
        answer = ask(app, "POST", path, USER, raw(path, name, value))
        assert (answer.status, answer.error["type"]) == (400, "invalid_request_error"), value


@pytest.mark.parametrize("name", NUMBERS)
def test_no_number_of_a_form_either(roomy, name: str) -> None:
    for value in ("nan", "inf", "-inf", "1e999", "-1", "9" * 5000, "0x10", "\u0661\u0662e9"):
        answer, drawings = edit(roomy, (name, value))
        assert answer.status == 400, value
        assert drawings.input is None


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(
    "value",
    ['{"a":' * 150 + "1" + "}" * 150, "[" * 5000, '"\\ud800"', '{"image_url": {"image_url": "x"}}'],
    ids=lambda value: value[:20],
)
def test_what_is_nested_or_no_text_is_a_400(roomy, path: str, value: str) -> None:
    for name in ("image", "mask", "loras", "svg", "prompt", "size"):
        answer = ask(app_with(roomy, Drawings()), "POST", path, USER, raw(path, name, value))
        assert answer.status == 400


def test_very_many_pictures_are_refused_before_they_are_looked_at(roomy) -> None:
    body = {"prompt": "x", "image": [DATA_URL] * 20_000}
    answer, drawings = post(roomy, EDITS, body)
    assert (answer.status, answer.error["param"]) == (400, "image")
    assert drawings.input is None


@pytest.mark.parametrize(
    "name",
    ["image[" * 500, "[" * 900, "image" + "[0]" * 300, "loras[0][model" + "]" * 300, "[]", "]["],
)
def test_names_of_fields_may_be_anything(roomy, name: str) -> None:
    for part in ("x", FILE):
        answer, drawings = post(roomy, EDITS, [("prompt", "x"), ("image", FILE), (name, part)])
        assert answer.status == 400
        assert drawings.input is None


def test_names_of_files_are_never_used(roomy) -> None:
    for name in ("../../etc/passwd", "C:\\CON", "a\0b.png", "x" * 300, "; touch x"):
        answer, drawings = post(roomy, EDITS, [("prompt", "x"), ("image", (name, PNG, "a/b"))])
        assert (answer.status, drawings.input.images[0].data) == (200, PNG)


@pytest.mark.parametrize(
    "link",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://localhost/a.png",
        "https://[::1]/a.png",
        "https://0.0.0.0/a.png",
        "https://2130706433/a.png",
        "https://a@127.0.0.1/a.png",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "/etc/passwd",
        "C:\\windows\\win.ini",
    ],
)
@pytest.mark.parametrize("name", ["image", "mask"])
def test_no_link_is_followed_unless_the_operator_allows_it(services, link: str, name: str) -> None:
    for path in (EDITS, VARIATIONS)[: 2 if name == "image" else 1]:
        answer, drawings = post(services, path, {**BODIES[path], name: link})
        assert (answer.status, answer.error["param"]) == (400, name)
        assert drawings.input is None
