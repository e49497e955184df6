"""Multipart bodies: how lists, objects and files are named."""

from __future__ import annotations

import pytest
from fastapi.exceptions import RequestValidationError
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from onebox.core.errors import InvalidInput
from onebox.core.media import MediaRef
from tests.unit.api.reading import FILE, PNG, read
from tests.unit.api.sounds import Part


class Adapter(BaseModel):
    model_config = ConfigDict(extra="forbid")

    model: str
    scale: float = 1.0


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    files: list[MediaRef] | None = Field(None, validation_alias=AliasChoices("files", "file"))
    one: MediaRef | None = None
    steps: int | None = None
    loud: bool = False
    words: list[str] | None = None
    loras: list[Adapter] | None = Field(None, max_length=3)
    options: Adapter | None = None


def adapters(*parts: tuple[str, Part]) -> list[tuple[str, float]]:
    return [(lora.model, lora.scale) for lora in read(Body, parts).loras]


def test_several_files_in_all_spellings() -> None:
    for names in (("files", "files"), ("files[]", "files[]"), ("files[0]", "files[1]")):
        body = read(Body, [(name, FILE) for name in names])
        assert [file.data for file in body.files] == [PNG, PNG]
    assert read(Body, [("file", FILE), ("file", FILE)]).files == body.files


def test_one_file_is_a_list_where_a_list_is_wanted() -> None:
    assert [file.data for file in read(Body, [("files", FILE)]).files] == [PNG]
    assert read(Body, [("one", FILE)]).one.data == PNG


def test_numbers_and_truths_are_texts_in_a_form() -> None:
    body = read(Body, [("steps", "7"), ("loud", "true")])
    assert (body.steps, body.loud) == (7, True)


def test_a_field_without_text_is_left_out() -> None:
    body = read(Body, [("steps", ""), ("words[]", ""), ("loras", "")])
    assert body == Body()


@pytest.mark.parametrize(
    "parts",
    [
        [("loras", '[{"model": "a", "scale": 0.5}, {"model": "b", "scale": 2}]')],
        [("loras", '{"model": "a", "scale": 0.5}'), ("loras", '{"model": "b", "scale": 2}')],
        [("loras[]", '{"model": "a", "scale": 0.5}'), ("loras[]", '{"model": "b", "scale": 2}')],
        # As OpenAI's client writes a list of objects.
        [
            ("loras[][model]", "a"),
            ("loras[][model]", "b"),
            ("loras[][scale]", "0.5"),
            ("loras[][scale]", "2"),
        ],
        [
            ("loras[0][model]", "a"),
            ("loras[1][scale]", "2"),
            ("loras[0][scale]", "0.5"),
            ("loras[1][model]", "b"),
        ],
    ],
)
def test_a_list_of_objects_in_all_spellings(parts: list[tuple[str, Part]]) -> None:
    assert adapters(*parts) == [("a", 0.5), ("b", 2.0)]


def test_objects_by_number_may_lack_parts_and_have_gaps() -> None:
    assert adapters(("loras[9][model]", "a")) == [("a", 1.0)]
    parts = [("loras[0][model]", "a"), ("loras[1][model]", "b"), ("loras[1][scale]", "2")]
    assert adapters(*parts) == [("a", 1.0), ("b", 2.0)]


@pytest.mark.parametrize(
    "parts", [[("options", '{"model": "a"}')], [("options[model]", "a")]], ids=["json", "parts"]
)
def test_an_object_in_both_spellings(parts: list[tuple[str, Part]]) -> None:
    assert read(Body, parts).options == Adapter(model="a")


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ([("steps", "1"), ("steps", "2")], "steps"),
        ([("one", FILE), ("one", FILE)], "one"),
        ([("one", "text")], "one"),
        ([("files[]", "text")], "files"),
        ([("steps", FILE)], "steps"),
        ([("loras", FILE)], "loras"),
        ([("options[model]", "a"), ("options[model]", "b")], "options"),
        ([("options[model]", "a"), ("options", "{}")], "options"),
        ([("options[model][deep]", "a")], "options"),
        ([("loras[0][model]", "a"), ("loras[0][model]", "b")], "loras"),
        ([("loras[0][model]", "a"), ("loras", "{}")], "loras"),
        # Whose scale is it?
        (
            [("loras[][model]", "a"), ("loras[][model]", "b"), ("loras[][scale]", "2")],
            "loras",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(parts: list[tuple[str, Part]], param: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(Body, parts)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("parts", "place"),
    [
        ([("steps", "many")], ("steps",)),
        ([("unknown", "x")], ("unknown",)),
        ([("unknown[part]", "x")], ("unknown",)),
        ([("unknown", FILE)], ("unknown",)),
        ([("loras", "no json")], ("loras", 0)),
        ([("loras", "[" * 5000)], ("loras", 0)),
        ([("loras", '[{"model": "a", "strength": 1}]')], ("loras", 0, "strength")),
        ([("loras", '[{"model":"a"},{"model":"a"},{"model":"a"},{"model":"a"}]')], ("loras",)),
        ([("files", FILE), ("file", FILE)], ("file",)),
    ],
)
def test_what_the_model_refuses_is_told_with_its_place(
    parts: list[tuple[str, Part]], place: tuple[str | int, ...]
) -> None:
    with pytest.raises(RequestValidationError) as caught:
        read(Body, parts)
    assert caught.value.errors()[0]["loc"] == ("body", *place)
