"""A token that a request says to be somebody's: the operator's backend is asked about both."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.backend import Backend, said
from tests.unit.services.asking_backend import TOKEN, Hooked


@pytest.fixture
def backend() -> Iterator[Backend]:
    with Backend(said({"valid": True})) as made:
        yield made


async def of_two_users(made):
    return [(await made.verify(TOKEN, user)).id for user in ("anna", "anna", "ben")]


def test_the_backend_is_told_the_user_and_the_key_under_its_name_there(backend):
    Hooked(backend.url()).verify(of_two_users)
    bodies = [json.loads(asked.body) for asked in backend.received]
    # An answer about one user says nothing about another.
    assert bodies == [
        {"token": TOKEN, "user_id": user, "api_key": TOKEN} for user in ("anna", "ben")
    ]


def test_whom_the_backend_does_not_name_has_no_name_that_a_request_gave(backend):
    (first, _, last) = Hooked(backend.url()).verify(of_two_users)
    assert first == last
    assert first.startswith("backend:token-")
