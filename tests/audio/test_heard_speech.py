"""What the starter voice says, as Whisper hears it. Both are the real models."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import numpy as np
import pytest

from onebox.audio.synthesis.text import frontend
from onebox.audio.windows import SAMPLING_RATE
from onebox.core.contracts import TaskDefaults
from onebox.families.speech_synthesis import SpeechSynthesis
from onebox.families.whisper import Whisper
from onebox.registry.on_disk import open_on_disk
from onebox.tasks.speech import Speech, SpeechInput
from tests.families.languages import device, entry
from tests.families.listening import Context, Listen, hear, text_of
from tests.support.starter import voice_folder, whisper_folder

# Text, and what Whisper writes for it: it has its own way with figures. Signs are not looked at.
SENTENCES = [
    (
        "The meeting was moved to Wednesday afternoon because of the holiday.",
        "the meeting was moved to wednesday afternoon because of the holiday",
    ),
    ("Please call me back when you get home.", "please call me back when you get home"),
    (
        "On January 5, 2024, we drove 120 km to see Dr. Smith.",
        "on january 5 2024 we drove 120 kilometers to see dr smith",
    ),
    ("The ticket costs $15.50, which is 20% less.", "the ticket costs 15 50 which is 20 less"),
    (
        "Our train leaves at 3:30 p.m. from platform 9.",
        "our train leaves at 3 30pm from platform 9",
    ),
    (
        "Queen Elizabeth II met the president of the USA.",
        "queen elizabeth ii met the president of the usa",
    ),
    (
        "Scientists have discovered a new species of fish in the deep ocean.",
        "scientists have discovered a new species of fish in the deep ocean",
    ),
    (
        "She finished 2nd out of 45 runners, e.g. well ahead of me.",
        "she finished second out of 45 runners for example well ahead of me",
    ),
    (
        "“Well,” he said — and I’m sure you’ve heard it — “it’s 1984 again!”",  # noqa: RUF001
        "well he said and i'm sure you've heard it it's 1984 again",
    ),
    (
        "Add 3/4 cup of sugar & 2 eggs, then bake for 30 min.",
        "add 3 quarters cup of sugar and 2 eggs then bake for 30 minutes",
    ),
]
MAX_WORD_ERRORS = 0.1


@pytest.fixture(scope="module")
def voice():
    family, path = SpeechSynthesis(), next(_children(voice_folder()))
    match = family.matches(open_on_disk(path))
    known = msgspec.structs.replace(entry(path, family), kind=match.kind)
    bundle = family.load(known, device())
    yield known, bundle
    bundle.close()


@pytest.fixture(scope="module")
def ears():
    family, path = Whisper(), next(_children(whisper_folder()))
    bundle = family.load(entry(path, family), device())
    yield bundle
    bundle.close()


@pytest.fixture(autouse=True)
def _no_espeak(monkeypatch):
    """As Onebox is without the extra, wherever these tests run."""
    monkeypatch.setattr(frontend, "espeak_is_here", lambda: False)


def _children(folder: Path):
    return (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def speak(voice, text, **fields):
    """The samples [n] of a text, and their rate."""
    known, bundle = voice
    task = Speech()
    request = task.resolve(SpeechInput(input=text, **fields), known, TaskDefaults(1, 1.0))
    task.check(request, known)
    work = task.prepare(request, known, None)
    context = SpeechContext()
    work.start(context, lambda: None)
    while not work.done:
        chosen = task.choose(work.ready(16), known, device())
        for piece, samples in zip(chosen, task.compute(bundle, chosen, context), strict=True):
            assert not isinstance(samples, Exception), samples
            work.accept(piece, samples)
    (output,) = work.outputs()
    return output.value, output.meta["sampling_rate"]


class SpeechContext(Context):
    lean = False

    def step(self, step, steps):
        self.hand_over()


def heard(ears, samples, rate):
    count = int(len(samples) * SAMPLING_RATE / rate)
    at = np.arange(count) * rate / SAMPLING_RATE
    sound = np.interp(at, np.arange(len(samples)), samples)
    window = Listen((sound * 32767).astype(np.int16), timestamps=False)
    (result,) = hear(ears, window, context=SpeechContext())
    return text_of(result)


def words(text):
    """Without punctuation and signs."""
    return re.sub(r"[^a-z0-9' ]", " ", text.lower()).split()


def errors(wanted, found):
    """How many words must be changed, added or left out."""
    row = list(range(len(found) + 1))
    for index, word in enumerate(wanted, 1):
        before, row = row, [index]
        for column, other in enumerate(found, 1):
            change = before[column - 1] + (word != other)
            row.append(min(row[-1] + 1, before[column] + 1, change))
    return row[-1]


def test_plain_english_is_understood_without_espeak(voice, ears):
    wrong = total = 0
    report = []
    for seed, (text, wanted) in enumerate(SENTENCES):
        found = heard(ears, *speak(voice, text, seed=seed))
        missed = errors(words(wanted), words(found))
        report.append(f"{missed}: {wanted} | {found}")
        wrong, total = wrong + missed, total + len(words(wanted))
    assert wrong / total <= MAX_WORD_ERRORS, "\n".join(report)


def test_equal_seeds_give_equal_sound_and_others_do_not(voice):
    text = "It is one thing. It is another thing altogether."
    first, again, other = (speak(voice, text, seed=seed)[0] for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)


def test_a_long_text_of_anything_is_spoken_in_pieces_the_voice_can_take(voice):
    samples, rate = speak(voice, "Tschüß! 你好 12345678901234567890 xyzzy " + "ab" * 200, speed=4.0)
    assert len(samples) > rate
