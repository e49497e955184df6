"""What backends may answer about a token and about credits, and what is made of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from onebox.services.access.caller import SCOPES, Allowance
from onebox.services.hooks.answers import read_credit, read_verdict
from onebox.services.outgoing.client import BadAnswer


def verdict(answer: Any, granted=SCOPES):
    return read_verdict(json.dumps(answer).encode(), "token-0123", granted)


@pytest.mark.parametrize("body", [b"", b" \n", b"{}"])
def test_an_answer_that_says_nothing_means_valid(body):
    caller = read_verdict(body, "token-0123", SCOPES)
    assert (caller.id, caller.scopes) == ("backend:token-0123", {"infer"})


@pytest.mark.parametrize(
    ("answer", "id_"),
    [
        ({"caller": "team-a", "user_id": 1}, "team-a"),
        ({"user_id": 42}, "42"),
        ({"sub": "0d1-f"}, "0d1-f"),
        ({"id": 5, "email": "a@example.com"}, "5"),
        ({"id": 0}, "0"),
        ({"user": {"id": 7, "username": "ada"}}, "7"),
        ({"user": {"pk": 8}}, "8"),
        ({"user": "ada"}, "ada"),
        ({"user": {}, "username": "ada"}, "ada"),
        ({"user_id": None, "username": "ada"}, "ada"),
        ({"detail": "welcome"}, "token-0123"),
        ({"user_id": "key:admin"}, "key:admin"),
    ],
)
def test_a_caller_is_named_by_what_the_backend_calls_them(answer, id_):
    assert verdict(answer).id == f"backend:{id_}"


def test_a_valid_answer_may_bound_what_its_caller_takes():
    caller = verdict(
        {
            "valid": True,
            "user_id": 42,
            "models": ["sd-turbo"],
            "requests_per_minute": 60,
            "tokens_per_minute": 10_000,
            "max_concurrent": 2,
            "daily": {"pictures": 100},
            "monthly": {"device_seconds": 3600},
        }
    )
    assert caller.allowance == Allowance(
        models=("sd-turbo",),
        requests_per_minute=60,
        tokens_per_minute=10_000,
        max_concurrent=2,
        daily={"pictures": 100},
        monthly={"device_seconds": 3600},
    )


def test_no_models_are_not_all_models():
    assert verdict({"models": []}).allowance.models == ()
    assert verdict({"models": None}).allowance.models is None


@pytest.mark.parametrize(
    ("told", "granted", "scopes"),
    [
        ({"scopes": ["infer", "manage"]}, {"infer", "manage"}, {"infer", "manage"}),
        ({"scope": "infer manage read:mail"}, {"infer", "manage"}, {"infer", "manage"}),
        ({"scopes": ["admin"]}, {"infer"}, set()),
        ({"scopes": ["infer", "admin"]}, {"infer"}, {"infer"}),
        ({"scopes": []}, SCOPES, set()),
        ({}, SCOPES, {"infer"}),
        ({}, {"manage"}, set()),
    ],
)
def test_scopes_are_those_told_that_may_be_granted(told, granted, scopes):
    assert verdict(told, granted).scopes == scopes


@pytest.mark.parametrize(
    ("answer", "allowed", "balance"),
    [
        ({"allowed": True}, True, None),
        ({"allowed": False, "balance": 3}, False, 3),
        ({"has_credits": False}, False, None),
        ({"balance": 12.5}, True, 12.5),
        ({"balance": "0.00"}, False, 0),
        ({"balance": -1}, False, -1),
        ({"allowed": True, "balance": -1}, True, -1),
        ({}, True, None),
    ],
)
def test_what_is_said_of_credits(answer, allowed, balance):
    credit = read_credit(json.dumps(answer).encode())
    assert (credit.allowed, credit.balance) == (allowed, balance)


@pytest.mark.parametrize(
    "body",
    [
        b'{"allowed": "yes"}',
        b'{"allowed": null}',
        b'{"balance": "much"}',
        b'{"balance": "nan"}',
        b"true",
        b"<html>",
    ],
)
def test_what_is_no_answer_about_credits(body):
    with pytest.raises(BadAnswer):
        read_credit(body)


def test_what_is_wrong_is_said_without_a_word_of_the_answer():
    with pytest.raises(BadAnswer, match="requests_per_minute") as caught:
        verdict({"requests_per_minute": "a-secret"})
    assert "a-secret" not in str(caught.value)
