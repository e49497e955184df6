from __future__ import annotations

import pytest

from onebox.core.errors import RequestIdTaken, RequestNotFound
from onebox.runtime.wire import Delta, Loading, Progress, Result, Started
from onebox.services.running import RunningRequest, RunningRequests


class Table(RunningRequests):
    """The table on a clock that only the test moves, with short names for what it needs."""

    def __init__(self) -> None:
        self.now = 100.0
        self._count = 0
        super().__init__(lambda: self.now)

    def add(self, client_id: str, caller: str = "ann") -> RunningRequest:
        self._count += 1
        return self.enter(
            f"internal-{self._count}",
            client_id,
            caller,
            task="chat",
            model="m",
            key="k",
            priority="interactive",
        )


@pytest.fixture
def table():
    return Table()


def test_a_caller_may_use_an_id_again_only_after_the_answer(table):
    first = table.add("x")
    with pytest.raises(RequestIdTaken) as caught:
        table.add("x")
    assert (caught.value.param, caught.value.details) == ("id", {"id": "x"})
    assert list(table) == [first]
    table.leave(first)
    table.add("x")


def test_two_callers_may_use_the_same_id(table):
    table.add("x", "ann")
    table.add("x", "bob")
    assert len(table) == 2


def test_leaving_twice_does_not_take_out_the_next_request_of_that_id(table):
    first = table.add("x")
    table.leave(first)
    second = table.add("x")
    table.leave(first)
    assert list(table) == [second]


def test_a_caller_finds_its_own_request_and_no_other(table):
    table.add("x", "bob")
    with pytest.raises(RequestNotFound) as caught:
        table.find("x", "ann", any_caller=False)
    assert (caught.value.param, caught.value.details) == ("id", {"id": "x"})
    own = table.add("x", "ann")
    assert table.find("x", "ann", any_caller=False) == [own]


def test_who_may_manage_finds_its_own_first_and_else_those_of_others(table):
    others = [table.add("x", "bob"), table.add("x", "eve")]
    table.add("y", "bob")
    assert table.find("x", "ann", any_caller=True) == others
    own = table.add("x", "ann")
    assert table.find("x", "ann", any_caller=True) == [own]
    with pytest.raises(RequestNotFound):
        table.find("z", "ann", any_caller=True)


def test_a_request_that_left_is_not_found(table):
    table.leave(table.add("x"))
    with pytest.raises(RequestNotFound):
        table.find("x", "ann", any_caller=True)
    assert len(table) == 0


def test_the_requests_of_one_caller(table):
    mine = [table.add("x"), table.add("y")]
    table.add("z", "bob")
    assert table.of("ann") == mine
    assert table.of("nobody") == []


def test_requests_may_leave_while_the_table_is_gone_through(table):
    for name in "xyz":
        table.add(name)
    for request in table:
        table.leave(request)
    assert len(table) == 0


@pytest.mark.parametrize(
    ("events", "state", "loading"),
    [
        ([], "placing", None),
        ([Loading("1", 0.0)], "loading", 0.0),
        ([Loading("1", 0.25)], "loading", 0.25),
        ([Loading("1", 0.25), Loading("1", 1.0, 7)], "queued", None),
        ([Loading("1", 0.25), Started("1")], "running", None),
        ([Loading("1", 0.25), Progress("1", 1, 4)], "running", None),
        ([Started("1"), Delta("1", {}), Result("1")], "running", None),
        ([Started("1"), Loading("1", 0.5)], "loading", 0.5),
        ([Started("1"), Loading("1", 0.5), Loading("1", 1.0, 7)], "running", None),
    ],
)
def test_the_state_follows_the_workers_events(table, events, state, loading):
    request = table.add("x")
    for event in events:
        request.observe(event)
    assert (request.state, request.loading) == (state, loading)


def test_what_clients_see(table):
    request = table.add("x")
    assert table.public() == [
        {
            "id": "x",
            "caller": "ann",
            "task": "chat",
            "model": "m",
            "priority": "interactive",
            "state": "placing",
            "step": 0,
            "steps": 0,
            "progress": None,
            "loading": None,
            "elapsed_s": 0.0,
            "worker": None,
        }
    ]
    request.worker = 1
    request.observe(Progress("internal-1", 3, 4))
    table.now += 2.5
    (seen,) = table.public()
    assert (seen["state"], seen["step"], seen["steps"]) == ("running", 3, 4)
    assert (seen["progress"], seen["elapsed_s"], seen["worker"]) == (0.75, 2.5, 1)


def test_cancel_is_passed_on_once(table):
    calls = []
    request = table.add("x")
    request.on_cancel = lambda: calls.append("cancel")
    assert not request.cancelled
    request.cancel()
    request.cancel()
    assert request.cancelled
    assert calls == ["cancel"]


def test_a_cancel_before_anybody_works_on_it_is_remembered(table):
    request = table.add("x")
    request.cancel()
    assert request.cancelled
