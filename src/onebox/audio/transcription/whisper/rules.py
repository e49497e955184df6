"""Which token comes next: what may come at all, Whisper's rules for times, and the choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from onebox.audio.transcription.whisper.tokens import WhisperTokens
from onebox.language.decoding.drawing import draw, uniform_number
from onebox.language.sampling import Sampling


@dataclass(frozen=True, slots=True)
class Allowed:
    """What may come next in one window.

    Attributes:
        text: whether text may; without it, `end` tells whether the end may.
        low, high: times from `zero + low` up to below `zero + high` may.
        is_first: whether it is the first token of all.
    """

    text: bool
    end: bool
    low: int
    high: int
    is_first: bool = False


@dataclass(frozen=True, slots=True)
class Heat:
    """How one window's token is chosen; of temperature 0 the likeliest."""

    temperature: float
    seed: int


def allowed(written: Sequence[int], tokens: WhisperTokens, *, timestamps: bool) -> Allowed:
    """Times come in pairs: one that ends a segment, one that begins the next. They never go back.

    Args:
        written: what has come so far, without the opening.
    """
    first = not written
    if not timestamps:
        return Allowed(text=True, end=True, low=0, high=0, is_first=first)
    if first:
        high = min(tokens.times, tokens.max_first_time + 1)
        return Allowed(text=False, end=False, low=0, high=high, is_first=True)
    times = [token - tokens.zero for token in written if token >= tokens.zero]
    if written[-1] < tokens.zero:
        low = times[-1] + 1 if times else 0
        return Allowed(text=True, end=True, low=low, high=tokens.times)
    if len(written) == 1 or written[-2] >= tokens.zero:
        return Allowed(text=True, end=True, low=0, high=0)
    return Allowed(text=False, end=True, low=times[-1], high=tokens.times)


def choose(
    scores: Any, rows: Sequence[Allowed], heats: Sequence[Heat], places: Sequence[int],
    tokens: WhisperTokens,
) -> tuple[list[int], list[float]]:  # fmt: skip
    """The next token of each row, and its log-probability among all that may come.

    Args:
        scores: float32 [rows, vocabulary]; changed.
        places: how many tokens each row has; each place has its own random number.
    """
    total = _bar(scores, rows, tokens)
    ids = scores.argmax(-1)
    drawn = [row for row, heat in enumerate(heats) if heat.temperature > 0]
    if drawn:
        uniforms = [uniform_number(heats[row].seed, places[row]) for row in drawn]
        samplings = [_sampling(heats[row].temperature) for row in drawn]
        ids[drawn] = draw(scores[drawn], samplings, uniforms)[1]
    logprobs = scores.gather(1, ids[:, None])[:, 0] - total
    return ids.tolist(), logprobs.tolist()


def _bar(scores: Any, rows: Sequence[Allowed], tokens: WhisperTokens) -> Any:
    """Take from the scores what may not come; the logarithm of their sum [rows]."""
    import torch

    device = scores.device
    scores.add_(tokens.suppression(device))
    _bar_first(scores, rows, tokens)
    text, times = scores[:, : tokens.zero], scores[:, tokens.zero :]
    bounds = torch.tensor([[row.low, row.high] for row in rows], device=device)
    numbers = torch.arange(times.shape[1], device=device)
    times.masked_fill_((numbers < bounds[:, :1]) | (numbers >= bounds[:, 1:]), -torch.inf)
    without = [place for place, row in enumerate(rows) if not row.text]
    if without:
        ends = text[without, tokens.end]
        text[without] = -torch.inf
        ending = torch.tensor([rows[place].end for place in without], device=device)
        text[without, tokens.end] = ends.masked_fill_(~ending, -torch.inf)
    # Where a time is likelier than any one token of text, it is a time.
    of_times = times.logsumexp(-1)
    is_time = (of_times > text.amax(-1)).tolist()
    timed = [place for place, wins in enumerate(is_time) if wins]
    if not timed:
        return scores.logsumexp(-1)
    text[timed] = -torch.inf
    return of_times if len(timed) == len(rows) else scores.logsumexp(-1)


def _bar_first(scores: Any, rows: Sequence[Allowed], tokens: WhisperTokens) -> None:
    import torch

    first = [place for place, row in enumerate(rows) if row.is_first]
    if first and tokens.suppressed_first:
        which = torch.tensor(first, device=scores.device)[:, None]
        scores[which, torch.tensor(tokens.suppressed_first, device=scores.device)] = -torch.inf


def _sampling(temperature: float) -> Sampling:
    return Sampling(
        temperature=temperature, top_p=1.0, top_k=0, min_p=0.0, frequency_penalty=0.0,
        presence_penalty=0.0, repetition_penalty=1.0, logit_bias={}, seed=0, top_logprobs=None,
    )  # fmt: skip
