from __future__ import annotations

import pytest

from onebox.audio.languages import NAMES, OTHER_NAMES, code_of, name_of
from onebox.core.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("en", "en"),
        ("English", "en"),
        (" DE ", "de"),
        ("de-AT", "de"),
        ("pt_BR", "pt"),
        ("Castilian", "es"),
        ("haitian creole", "ht"),
        ("yue", "yue"),
        ("nb-NO", "no"),
    ],
)
def test_a_language_may_be_named_in_many_ways(text: str, code: str) -> None:
    assert code_of(text) == code


@pytest.mark.parametrize("text", ["", "xx", "klingon", "en\n\nde"])
def test_what_is_no_language_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="no language is called"):
        code_of(text)


def test_every_code_has_a_name_that_leads_back() -> None:
    assert {code_of(name_of(code)) for code in NAMES} == set(NAMES)
    assert set(OTHER_NAMES.values()) <= set(NAMES)
    assert name_of("xx") == "xx"
