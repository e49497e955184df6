from __future__ import annotations

from onebox.core import errors
from onebox.core.errors import AppError, InvalidInput, all_errors


def test_every_error_has_a_code_of_its_own():
    classes = [
        item
        for item in vars(errors).values()
        if isinstance(item, type) and issubclass(item, AppError)
    ]
    assert len({cls.code for cls in classes}) == len(classes) > 15


def test_every_error_is_found_by_its_code():
    found = all_errors()
    for item in vars(errors).values():
        if isinstance(item, type) and issubclass(item, AppError):
            assert found[item.code] is item


def test_errors_of_plugins_are_found_below_any_error():
    class TooBlue(InvalidInput):
        code = "too_blue_for_this_test"

    assert all_errors()["too_blue_for_this_test"] is TooBlue


def test_an_error_carries_what_a_client_needs():
    error = InvalidInput("too wide", param="width", details={"max": 8}, retry_after_s=2)
    assert (str(error), error.message, error.param) == ("too wide", "too wide", "width")
    assert (error.details, error.retry_after_s) == ({"max": 8}, 2)
    assert InvalidInput("x").details == {}
