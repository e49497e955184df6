"""Requests of a piecewise engine inside a worker: what is made of them, and that it is closed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from onebox.core.cancel import CancelToken
from onebox.core.errors import Cancelled
from onebox.core.piecework import Piece, PieceTask, Piecework
from onebox.core.results import Output
from onebox.runtime.wire import Delta, Progress, Result, Started
from onebox.runtime.worker.request import Request
from tests.unit.runtime.bench import Bench
from tests.unit.runtime.desk import TextInput, submit


class Letters(Piecework):
    def __init__(self, text: str) -> None:
        self.left = list(text)
        self.closed = 0
        self.context: Any = None

    def start(self, context, wake):
        self.context = context

    def ready(self, most):
        return [Piece("letter", 1, letter) for letter in self.left[:most]]

    def accept(self, piece, result):
        self.left.remove(piece.value)
        self.context.delta({"letter": result})
        self.context.step(1, 2)

    @property
    def done(self):
        return not self.left

    def outputs(self):
        return [Output("json", "done")]

    def close(self):
        self.closed += 1


class Spell(PieceTask[TextInput]):
    name = "spell"
    Input = TextInput
    max_open = 7

    def prepare(self, request, entry, read):
        return Letters(request.text)

    def choose(self, pieces, entry, device):
        return pieces[:2]

    def compute(self, bundle: Any, pieces: Sequence[Piece], context: Any) -> list[Any]:
        context.hand_over()
        return [piece.value.upper() for piece in pieces]


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


@pytest.fixture
def request_(bench):
    given = TextInput(text="ab")
    request = Request(submit("1"), bench.around, Spell(), given, CancelToken())
    assert request.needs_preparing
    request.prepare()
    assert not request.needs_preparing
    return request


def compute(bench, request, between=lambda: None):
    work, letters = request.work(), request.prepared
    pieces = bench.runner.choose(work, letters.ready(9))
    results = bench.runner.compute([work], pieces, "weights", between, lean=False)
    for piece, result in zip(pieces, results, strict=True):
        letters.accept(piece, result)


def test_a_request_starts_with_its_first_round_and_tells_as_it_goes(bench, request_):
    work = request_.work()
    assert bench.runner.most_open(work) == 7
    assert bench.runner.begin(work, lambda: None) is request_.prepared
    assert bench.events == []
    compute(bench, request_)
    bench.runner.finish(work, request_.prepared)
    assert isinstance(bench.answers()["1"], Result)
    assert bench.events[:3] == [
        Started("1"),
        Delta("1", {"letter": "A"}),
        Progress("1", 1, 2),
    ]


def test_others_may_go_first_between_the_steps_of_a_round(bench, request_):
    handed = []
    bench.runner.begin(request_.work(), lambda: None)
    compute(bench, request_, between=lambda: handed.append(True))
    assert handed == [True]


def test_a_round_that_nobody_wants_any_more_ends(bench, request_):
    bench.runner.begin(request_.work(), lambda: None)
    request_.token.cancel()
    with pytest.raises(Cancelled):
        compute(bench, request_)


def test_what_was_prepared_is_closed_with_the_answer(bench, request_):
    request_.fail(Cancelled("it never began"))
    assert request_.prepared.closed == 1


def test_what_is_prepared_for_one_that_was_answered_meanwhile_is_closed_at_once(bench):
    request = Request(submit("1"), bench.around, Spell(), TextInput(text="a"), CancelToken())
    request.fail(Cancelled("gone"))
    request.prepare()
    assert request.prepared.closed == 1


def test_requests_of_one_piece_task_may_go_together_unless_it_says_otherwise(request_):
    assert request_.work().batch_key == ("spell", ())
