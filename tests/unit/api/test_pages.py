from __future__ import annotations

import pytest

from onebox.api.pages import page
from onebox.core.errors import InvalidInput

ITEMS = [{"id": name} for name in "abcde"]


def ids(**given):
    found = page(ITEMS, **{"order": "asc", "limit": 2, **given})
    return "".join(item["id"] for item in found["data"]), found["has_more"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ("ab", True)),
        ({"order": "desc"}, ("ed", True)),
        ({"limit": 5}, ("abcde", False)),
        ({"after": "b"}, ("cd", True)),
        ({"after": "c"}, ("de", False)),
        ({"after": "e"}, ("", False)),
        ({"order": "desc", "after": "b"}, ("a", False)),
        ({"before": "e"}, ("cd", True)),
        ({"before": "b"}, ("a", False)),
        ({"after": "a", "before": "e"}, ("bc", True)),
    ],
)
def test_pages(given, expected):
    assert ids(**given) == expected


def test_a_page_names_its_ends():
    found = page(ITEMS, order="asc", limit=2, after="a")
    assert (found["object"], found["first_id"], found["last_id"]) == ("list", "b", "c")


def test_an_empty_page_has_none():
    found = page([], order="asc", limit=2)
    assert (found["data"], found["first_id"], found["last_id"]) == ([], None, None)


@pytest.mark.parametrize("name", ["after", "before"])
def test_an_unknown_place_is_refused(name):
    with pytest.raises(InvalidInput) as caught:
        page(ITEMS, order="asc", limit=2, **{name: "x"})
    assert caught.value.param == name
