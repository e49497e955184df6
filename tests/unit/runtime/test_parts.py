"""Results that go out part by part."""

from __future__ import annotations

import pytest

from onebox.core.errors import InferenceFailed
from onebox.core.plugins import ENCODERS
from onebox.core.results import Artifact, Encoder, Output
from onebox.runtime.wire import Delta, Failed, Result
from tests.unit.runtime.bench import Bench


class Letters:
    """A file of letters, with a mark at its end."""

    def feed(self, value):
        if value == "bad":
            raise ValueError("secret detail")
        return value.encode()

    def end(self):
        return b"."


class LettersEncoder(Encoder):
    kind = "letters"

    def encode(self, output):
        return Artifact("text/plain", output.value.encode())

    def stream(self, options):
        return Letters()


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setitem(ENCODERS._items, "letters", LettersEncoder())
    return Bench(tmp_path)


def send(bench, *values):
    bench.task.on_run = lambda context: [context.part(Output("letters", v)) for v in values]
    bench.run(bench.request("1"))


def test_parts_go_out_in_order_and_the_result_after_them(bench):
    send(bench, "a", "", "b")
    answer = bench.answers()["1"]
    assert isinstance(answer, Result)
    sent = [event.data["data"] for event in bench.events if isinstance(event, Delta)]
    assert sent == [b"a", b"b", b"."]
    assert bench.events[-1] is answer


def test_nothing_is_encoded_on_the_engine_thread(bench):
    send(bench, "a")
    assert not any(isinstance(event, Delta) for event in bench.events)


def test_a_part_that_cannot_be_encoded_ends_the_request(bench):
    send(bench, "a", "bad", "b")
    answer = bench.answers()["1"]
    assert isinstance(answer, Failed)
    assert answer.code == InferenceFailed.code
    assert "secret" not in answer.message
    assert [event.data["data"] for event in bench.events if isinstance(event, Delta)] == [b"a"]


def test_what_cannot_be_sent_is_computed_no_further(bench):
    request = bench.request("1")
    bench.task.on_run = lambda context: context.part(Output("letters", "bad"))
    bench.run(request)
    assert request.token.stopped() is None
    bench.answers()
    assert isinstance(request.token.stopped(), InferenceFailed)


def test_a_panic_in_an_encoder_ends_the_request_too(bench, monkeypatch):
    """Those of libraries in Rust are no Exception."""

    class Panic(BaseException):
        pass

    def panics(self, value):
        raise Panic

    monkeypatch.setattr(Letters, "feed", panics)
    send(bench, "a")
    assert bench.answers()["1"].code == InferenceFailed.code


def test_what_was_cancelled_sends_nothing_more(bench):
    request = bench.request("1")
    bench.task.on_run = lambda context: context.part(Output("letters", "a"))
    bench.run(request)
    request.fail(InferenceFailed("over"))
    bench.answers()
    assert not any(isinstance(event, Delta) for event in bench.events)


def test_a_result_without_parts_is_as_ever(bench):
    send(bench)
    assert bench.answers()["1"].artifacts[0].data == b'"1"'


def test_previews_go_to_the_request_they_are_of_before_its_result(bench):
    def show(context):
        context.preview(1, 0, Output("letters", "a"))
        context.preview(0, 2, Output("letters", "b"))
        context.preview(1, 1, Output("letters", "c"))

    bench.task.on_run = show
    bench.run(bench.request("1"), bench.request("2"))
    assert set(bench.answers()) == {"1", "2"}
    shown = [(e.id, e.data["picture"], e.data["preview"]) for e in bench.events if type(e) is Delta]
    assert sorted(shown) == [("1", 2, b"b"), ("2", 0, b"a"), ("2", 1, b"c")]
    for request in ("1", "2"):
        last = [event for event in bench.events if getattr(event, "id", None) == request][-1]
        assert isinstance(last, Result)


def test_a_preview_that_cannot_be_encoded_fails_its_request_with_a_text_that_tells_nothing(bench):
    bench.task.on_run = lambda context: context.preview(0, 0, Output("no such", "a"))
    bench.run(bench.request("1"))
    assert isinstance(bench.answers()["1"], Failed)
