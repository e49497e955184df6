from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from onebox.audio.decoding.options import VadOptions
from onebox.audio.transcription.batches import most_windows, reserve_bytes, window_bytes
from onebox.audio.transcription.contracts import Heard, Listen
from onebox.core.contracts import Device, Entry, TaskDefaults
from onebox.core.errors import InvalidInput, PayloadTooLarge
from onebox.core.piecework import Piece
from onebox.tasks.transcription import Transcription, TranscriptionInput
from tests.unit.audio.speaking import FakeContext, FakeSource, in_a_row, said

SOUND = "data:audio/wav;base64,AAAA"
ENGLISH = {"languages": ["en"], "translates": False, "words": True}
MANY = {"languages": ["de", "en", "fr"], "translates": True, "words": False}
MIB = 2**20


def entry(size_bytes: int = 150 * MIB, **facts: Any) -> Entry:
    return Entry("k", "tiny.en", "/tiny", "", size_bytes, "ready", facts=facts or ENGLISH)


def device(kind: Any = "cpu", dtype: Any = "float32", total: int = 2**34) -> Device:
    return Device(kind, kind, kind, kind, "host", total, total, dtype, dtype)


def ask(**fields: Any) -> TranscriptionInput:
    return TranscriptionInput.model_validate({"file": SOUND, **fields})


def resolved(facts: dict[str, Any] | None = None, **fields: Any) -> TranscriptionInput:
    return Transcription().resolve(ask(**fields), entry(**(facts or {})), TaskDefaults(1, 1.0))


def refusal(facts: dict[str, Any], **fields: Any) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        Transcription().check(ask(**fields), entry(**facts))
    return caught.value


def pieces(*lengths: int) -> list[Piece]:
    return [Piece((), length, number) for number, length in enumerate(lengths)]


def chosen(offered: list[Piece], kind: Any = "cpu", **facts: Any) -> list[int]:
    return [one.value for one in Transcription().choose(offered, entry(**facts), device(kind))]


class Model:
    """Says how it was asked."""

    def __init__(self) -> None:
        self.transcriber = self
        self.batches: list[int] = []

    def transcribe(self, windows: list[Listen], context: Any) -> list[Heard]:
        self.batches.append(len(windows))
        return [said(f" {len(window.samples)}") for window in windows]


@pytest.mark.parametrize(
    "wrong",
    [
        {"file": "no data URL"},
        {"language": "klingon"},
        {"temperature": 1.1},
        {"temperature": -0.1},
        {"temperature": "nan"},
        {"prompt": "x" * 4001},
        {"seed": -1},
        {"seed": 2**32},
        {"max_seconds": 0},
        {"max_seconds": float("nan")},
        {"vad": {"threshold": 1.5}},
        {"vad": {"silence_duration_ms": -1}},
        {"vad": {"prefix_padding_ms": 10_001}},
    ],
)
def test_a_wrong_value_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ask(**wrong)


def test_a_language_may_be_named_or_left_out() -> None:
    assert ask(language="German").language == "de"
    assert ask(language="").language is None
    assert ask().language is None


def test_what_is_left_out_is_filled_in_once() -> None:
    request = resolved()
    assert request.temperature == 0
    assert request.timestamps is True
    assert request.seed is not None
    assert resolved(seed=3, temperature=0.5, timestamps=False).seed == 3
    assert resolved(temperature=0.5).temperature == 0.5
    assert resolved(timestamps=False).timestamps is False


@pytest.mark.parametrize(("asked", "holds"), [(None, 60.0), (30.0, 30.0), (90.0, 60.0)])
def test_a_request_may_only_lower_the_longest_sound(asked: float | None, holds: float) -> None:
    defaults = TaskDefaults(1, 1.0, max_audio_s=60.0)
    assert Transcription().resolve(ask(max_seconds=asked), entry(), defaults).max_seconds == holds


def test_a_model_that_knows_no_times_is_not_asked_for_them() -> None:
    assert resolved(ENGLISH | {"timestamps": False}, timestamps=True).timestamps is False


def test_a_language_that_the_model_does_not_know_is_refused_before_queueing() -> None:
    refused = refusal(MANY, language="it")
    assert refused.param == "language"
    assert "de, en, fr" in refused.message
    assert refused.details == {"languages": ["de", "en", "fr"]}


def test_translating_and_words_need_a_model_that_can() -> None:
    assert refusal(ENGLISH, translate=True).param == "model"
    assert refusal(MANY, words=True).param == "words"


def test_what_a_model_can_passes() -> None:
    task = Transcription()
    task.check(ask(language="fr", translate=True), entry(**MANY))
    task.check(ask(language="en", words=True), entry(**ENGLISH))
    task.check(ask(language="it"), entry(**(ENGLISH | {"languages": []})))


def test_the_file_is_opened_with_its_limits_before_queueing() -> None:
    opened = []

    def opener(
        data: bytes, media_type: str, read: Callable[[], bytes], **options: Any
    ) -> FakeSource:
        assert read() == data
        opened.append((data, media_type, options))
        return FakeSource(in_a_row(2))

    task, request = Transcription(opener), resolved(vad={"threshold": 0.7})
    work = task.prepare(request, entry(), lambda media: media.data)
    options = {"max_seconds": 4 * 3600.0, "vad": VadOptions(threshold=0.7)}
    assert opened == [(b"\0\0\0", "audio/wav", options)]
    model, context = Model(), FakeContext()
    work.start(context, lambda: None)  # type: ignore[arg-type]
    offered = list(work.ready(8))
    for piece, result in zip(offered, task.compute(model, offered, context), strict=True):  # type: ignore[arg-type]
        work.accept(piece, result)
    assert work.outputs()[0].value["text"] == "160000 160000"
    assert model.batches == [2]


def test_a_file_that_is_too_long_is_refused_before_queueing() -> None:
    def opener(*_: Any, **__: Any) -> FakeSource:
        raise PayloadTooLarge("too long")

    with pytest.raises(PayloadTooLarge):
        Transcription(opener).prepare(resolved(), entry(), lambda media: media.data)


def test_with_little_memory_windows_are_heard_one_by_one() -> None:
    task, model, context = Transcription(), Model(), FakeContext()
    context.lean = True

    class Value:
        def listen(self) -> Listen:
            return Listen(range(3))

    offered = [Piece((), 3, Value()) for _ in range(3)]
    assert len(task.compute(model, offered, context)) == 3  # type: ignore[arg-type]
    assert model.batches == [1, 1, 1]


def test_a_round_has_windows_of_about_the_length_of_the_first() -> None:
    assert chosen(pieces(30, 2, 3, 28, 1, 2, 1, 2)) == [0, 1, 2, 3]
    assert chosen(pieces(2, 30, 3, 30, 2)) == [0, 2, 4]


def test_a_round_is_as_large_as_the_device_allows() -> None:
    many = pieces(*[30] * 40)
    assert len(chosen(many)) == 8
    assert len(chosen(many, "cuda")) == 16
    assert chosen(many) == list(range(8))


def test_a_model_whose_windows_are_large_hears_fewer_at_once() -> None:
    large = entry(window_values=150_000_000)
    assert window_bytes(large, device()) == 600_000_000
    assert most_windows(large, device(total=2**33)) == 1
    assert most_windows(large, device("cuda", "float16", 2**36)) == 16
    assert most_windows(entry(window_values=10**12), device()) == 1


def test_memory_is_set_aside_for_a_whole_round() -> None:
    small, large = entry(150 * MIB), entry(3000 * MIB)
    assert 8 * 16 * MIB < reserve_bytes(small, device()) < 512 * MIB
    assert reserve_bytes(large, device()) > reserve_bytes(small, device())
    request = ask()
    assert Transcription().reserve_bytes(request, small, device()) == reserve_bytes(small, device())
    assert Transcription().size_class(request)
