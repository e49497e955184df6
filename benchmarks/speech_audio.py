"""Minutes of speech with known text: real clips, joined with pauses; and word error rates."""

from __future__ import annotations

import csv
import random
import re
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RATE = 16_000
PAUSES_S = (0.3, 1.0)
# Of full scale 32,768: about -66 dB.
NOISE = 16.0
ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
)  # fmt: skip
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


@dataclass(frozen=True, slots=True)
class Clip:
    """`samples`: int16 numpy array [n], mono, 16 kHz."""

    samples: Any
    text: str


@dataclass(frozen=True, slots=True)
class Recording:
    file: Path
    text: str
    seconds: float


def read_clips(folder: Path) -> list[Clip]:
    """The clips that `transcripts.tsv` in the folder names, with their texts."""
    with (folder / "transcripts.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [Clip(decoded(folder / row["file"]), row["text"]) for row in rows]


def decoded(file: Path) -> Any:
    import av
    import numpy as np

    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    with av.open(str(file)) as container:
        frames = [made for frame in container.decode(audio=0) for made in resampler.resample(frame)]
    frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


def join(clips: Sequence[Clip], seconds: float, file: Path, seed: int) -> Recording:
    """Clips in random order, none twice in a row, with pauses and low noise, of so many seconds."""
    import numpy as np

    chance, noise = random.Random(seed), np.random.default_rng(seed)
    parts: list[Any] = []
    texts: list[str] = []
    length, last = 0, None
    while length < seconds * RATE:
        clip = chance.choice([clip for clip in clips if clip is not last])
        last = clip
        pause = np.zeros(int(chance.uniform(*PAUSES_S) * RATE), np.int16)
        parts += [clip.samples, pause]
        texts.append(clip.text)
        length += len(clip.samples) + len(pause)
    sound = np.concatenate(parts)
    # A room is never silent; digital zeros would be a case of their own.
    sound = np.clip(sound + noise.normal(0, NOISE, len(sound)).round(), -(2**15), 2**15 - 1)
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(sound.astype("<i2").tobytes())
    return Recording(file, " ".join(texts), length / RATE)


def words_of(text: str) -> list[str]:
    """Lower case, without punctuation, numbers below a hundred as words."""
    text = re.sub(r"(?<=\w)['\u2019](?=\w)", "", text.casefold())
    return [word for part in re.findall(r"\d+|[^\W\d_]+", text) for word in _spoken(part)]


def _spoken(word: str) -> list[str]:
    if not word.isdigit() or int(word) >= 100:
        return [word]
    number = int(word)
    if number < len(ONES):
        return [ONES[number]]
    tens = [TENS[number // 10 - 2]]
    return tens + ([ONES[number % 10]] if number % 10 else [])


def word_error_rate(truth: str, heard: str) -> float:
    """Words to insert, take out and change, by the words that were said."""
    wanted, got = words_of(truth), words_of(heard)
    costs = list(range(len(got) + 1))
    for row, word in enumerate(wanted, 1):
        diagonal, costs[0] = costs[0], row
        for column, other in enumerate(got, 1):
            best = min(diagonal + (word != other), costs[column] + 1, costs[column - 1] + 1)
            diagonal, costs[column] = costs[column], best
    return costs[-1] / max(1, len(wanted))
