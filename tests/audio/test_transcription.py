"""A file's way through decoding, windows and a tiny model, as the engine drives it; no weights that
anybody trained.
"""

from __future__ import annotations

import io
import threading
import wave
from typing import Any

import pytest

from onebox.core.contracts import TaskDefaults
from onebox.core.errors import InvalidInput
from onebox.core.piecework import Piecework
from onebox.families.speech_ctc import SpeechCTC
from onebox.families.speech_seq2seq import SpeechSeq2Seq
from onebox.tasks.transcription import Transcription, TranscriptionInput
from tests.families import tiny_listeners as tiny
from tests.families.languages import device, entry

TASK = Transcription()
PATIENCE_S = 120.0
# Everything counts as speech, so that noise is heard.
ALL = {"threshold": 0.0}


class Context:
    lean = False

    def __init__(self) -> None:
        self.deltas: list[dict[str, Any]] = []
        self.steps: list[tuple[int, int]] = []

    def hand_over(self) -> None:
        return

    def step(self, step: int, steps: int) -> None:
        self.steps.append((step, steps))

    def delta(self, data: dict[str, Any]) -> None:
        self.deltas.append(data)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("listeners")
    made: dict[str, Any] = {}
    for family, folder in (
        (SpeechCTC(), tiny.ctc(root / "ctc")),
        (SpeechSeq2Seq(), tiny.speech_to_text(root / "seq2seq")),
    ):
        known = entry(folder, family)
        made[folder.name] = (known, family.load(known, device()))
    return made


def wav(samples: Any, rate: int = 16_000) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return out.getvalue()


def prepare(model: Any, data: bytes, media_type: str = "audio/wav", **fields: Any) -> Piecework:
    file = {"media_type": media_type, "data": data}
    request = TranscriptionInput.model_validate({"file": file, "seed": 1, **fields})
    request = TASK.resolve(request, model[0], TaskDefaults(1, 1.0))
    TASK.check(request, model[0])
    return TASK.prepare(request, model[0], lambda media: media.data)


def run(model: Any, data: bytes, **fields: Any) -> tuple[dict[str, Any], Context]:
    context: Any = Context()
    work = prepare(model, data, **fields)
    woken = threading.Event()
    work.start(context, woken.set)
    try:
        while True:
            offered = work.ready(1000)
            if work.done:
                break
            if not offered:
                assert woken.wait(PATIENCE_S)
                woken.clear()
                continue
            chosen = TASK.choose(offered, model[0], device())
            for piece, heard in zip(chosen, TASK.compute(model[1], chosen, context), strict=True):
                work.accept(piece, heard)
        (output,) = work.outputs()
    finally:
        work.close()
    return output.value, context


@pytest.mark.parametrize("kind", ["ctc", "seq2seq"])
def test_a_long_file_becomes_segments_in_order(models: dict[str, Any], kind: str) -> None:
    seconds = 70.0
    value, context = run(models[kind], wav(tiny.noise(seconds)), vad=ALL)
    assert value["duration"] == pytest.approx(seconds, abs=0.1)
    assert len(value["segments"]) >= 3
    at = 0.0
    for number, segment in enumerate(value["segments"]):
        assert segment["id"] == number
        assert at <= segment["start"] <= segment["end"] <= seconds
        at = segment["end"]
    assert "".join(delta["text"] for delta in context.deltas) == value["text"]
    assert context.steps[-1] == (70, 70)
    assert value["language"] is None


def test_words_and_logprobs_of_a_real_model(models: dict[str, Any]) -> None:
    value, context = run(
        models["ctc"], wav(tiny.noise(5.0)), vad=ALL, words=True, logprobs=True, language="en"
    )
    assert " ".join(word["word"] for word in value["words"]) == value["text"]
    letters = "".join(one["token"] for one in value["logprobs"])
    assert letters == value["text"].replace(" ", "")
    assert value["logprobs"] == [one for delta in context.deltas for one in delta["logprobs"]]
    assert value["language"] == "en"


@pytest.mark.parametrize("kind", ["ctc", "seq2seq"])
def test_silence_gives_no_text(models: dict[str, Any], kind: str) -> None:
    value, context = run(models[kind], wav(tiny.noise(40.0) * 0))
    assert value["text"] == ""
    assert value["segments"] == []
    assert value["duration"] == pytest.approx(40.0, abs=0.1)
    assert context.deltas == []


def test_raw_samples_are_a_file_too(models: dict[str, Any]) -> None:
    samples = tiny.noise(3.0)
    raw, _ = run(models["ctc"], samples.tobytes(), media_type="audio/pcm", vad=ALL)
    packed, _ = run(models["ctc"], wav(samples), vad=ALL)
    assert raw["text"] == packed["text"] != ""


def test_the_same_seed_gives_the_same_text(models: dict[str, Any]) -> None:
    sound = wav(tiny.noise(4.0))
    first, second, other = (
        run(models["seq2seq"], sound, vad=ALL, temperature=1.0, seed=seed)[0]["text"]
        for seed in (1, 1, 2)
    )
    assert first == second != other


def test_what_is_no_sound_is_refused_before_queueing(models: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        prepare(models["ctc"], b"not a sound at all" * 100)
