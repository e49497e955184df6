"""The starter's Whisper, as `onebox pull starter` makes it, on speech of known text."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from onebox.audio.transcription.contracts import Heard, Listen
from onebox.families.whisper import Whisper
from tests.families.languages import device, entry
from tests.support.server import ROOT
from tests.support.starter import whisper_folder

TEXT = (
    "And so, my fellow Americans, ask not what your country can do for you, "
    "ask what you can do for your country."
)
CONTEXT: Any = SimpleNamespace(lean=False, hand_over=lambda: None)


@pytest.fixture(scope="module")
def samples() -> Any:
    import av
    import numpy as np

    resampler = av.AudioResampler(format="s16", layout="mono", rate=16_000)
    with av.open(ROOT / "tests" / "data" / "jfk.flac") as file:
        frames = [made for frame in file.decode(audio=0) for made in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def transcriber(request: pytest.FixtureRequest) -> Any:
    family = Whisper()
    (folder,) = (path for path in Path(whisper_folder()).iterdir() if path.is_dir())
    bundle: Any = family.load(entry(folder, family), device(request.param))
    yield bundle.transcriber
    bundle.close()


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def text_of(heard: Heard) -> str:
    return "".join(segment.text for segment in heard.segments)


def test_it_hears_the_known_text(transcriber: Any, samples: Any):
    told = [Listen(samples, timestamps=timestamps) for timestamps in (True, False)]
    for heard in transcriber.transcribe(told, CONTEXT):
        assert words(text_of(heard)) == words(TEXT)
        assert heard.language == "en"
        assert heard.avg_logprob > -0.5
        assert heard.no_speech_prob < 0.2


def test_it_knows_when_each_word_was_said(transcriber: Any, samples: Any):
    (heard,) = transcriber.transcribe([Listen(samples, words=True)], CONTEXT)
    said = [word for segment in heard.segments for word in segment.words]
    assert [each for word in said for each in words(word.text)] == words(TEXT)
    when = {words(word.text)[0]: word for word in said}
    # As one hears it: "ask" comes twice, the second time after eight seconds.
    assert when["americans"].start_s == pytest.approx(1.8, abs=0.4)
    assert when["country"].end_s == pytest.approx(10.6, abs=0.5)
    assert when["ask"].start_s == pytest.approx(8.2, abs=0.5)


def test_silence_is_told_from_speech(transcriber: Any, samples: Any):
    import numpy as np

    (heard,) = transcriber.transcribe([Listen(np.zeros_like(samples))], CONTEXT)
    assert heard.no_speech_prob > 0.5
