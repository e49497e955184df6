"""The next token of every sequence of a step, from their logits.

A row goes through these, in this order: grammar, `logit_bias`, repetition penalty, frequency and
presence penalties, temperature, `top_k`, `top_p`, `min_p`. So do transformers
(`GenerationMixin._get_logits_processor`) and, up to temperature, vLLM (`v1/sample/sampler.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from onebox.core.decoding import Token, TokenSequence
from onebox.core.errors import AppError, InferenceFailed
from onebox.language.decoding.drawing import draw, rows_of, uniform_number
from onebox.language.decoding.penalties import Penalties, has_penalties

BITS = 32  # of one number of a grammar's mask
CACHED_VALUES = 2**17  # logits


class Sampler:
    """Chooses tokens for the sequences of one model. Used by the engine thread only.

    What a row becomes depends on that row alone, to the bit, and a sequence's k-th token on its
    seed and k: it goes on the same beside others, and after a pause.

    Args:
        uniform: from a seed and the number of a token, a number in [0, 1).
    """

    def __init__(self, uniform: Callable[[int, int], float] = uniform_number) -> None:
        self._uniform = uniform
        self._penalties = Penalties()

    def sample(self, logits: Any, sequences: Sequence[TokenSequence]) -> list[Token | AppError]:
        """A token for each row of `logits` [rows, vocabulary], of any float dtype and device.

        A row without usable numbers, or whose grammar leaves nothing, gets its error in place of a
        token. Tells each `matcher` of its token, but leaves `output` alone.
        """
        import torch

        if not sequences:
            return []
        with torch.inference_mode():
            errors, picks = self._pick(logits, sequences)
            for row, (_, best) in enumerate(picks):
                if row not in errors and not math.isfinite(best):
                    errors[row] = _unusable(best, sequences[row])
            ids = [int(token_id) for token_id, _ in picks]
            asked = [
                row
                for row, sequence in enumerate(sequences)
                if sequence.sampling.top_logprobs is not None and row not in errors
            ]
            reports: dict[int, Token] = {}
            for rows in _batches(asked, logits):
                reports |= _reports(logits, rows, ids, sequences)
        _tell_matchers(sequences, ids, errors)
        return [errors.get(row) or reports.get(row) or Token(ids[row]) for row in range(len(ids))]

    def _pick(
        self, logits: Any, sequences: Sequence[TokenSequence]
    ) -> tuple[dict[int, AppError], list[list[float]]]:
        """For each row its token and the largest score it was chosen from. One transfer."""
        import torch

        plain = [row for row, sequence in enumerate(sequences) if _is_plain(sequence)]
        shaped = [row for row, sequence in enumerate(sequences) if not _is_plain(sequence)]
        errors: dict[int, AppError] = {}
        parts = []
        if plain:
            parts.append(_greedy(rows_of(logits, plain)))
        for rows in _batches(shaped, logits):
            own = [sequences[row] for row in rows]
            failed, picked = self._pick_shaped(rows_of(logits, rows), own)
            errors |= {rows[row]: error for row, error in failed.items()}
            parts.append(picked)
        picked_rows = zip([*plain, *shaped], torch.cat(parts).tolist(), strict=True)
        return errors, [pick for _, pick in sorted(picked_rows)]

    def _pick_shaped(
        self, logits: Any, sequences: Sequence[TokenSequence]
    ) -> tuple[dict[int, AppError], Any]:
        import torch

        device = logits.device
        # MPS lacks 64-bit floats and is not trusted with 64-bit sums; its memory is the CPU's.
        scores = logits.to("cpu" if device.type == "mps" else device, torch.float32, copy=True)
        errors = _apply_grammars(scores, sequences)
        self._penalties.apply(scores, sequences)
        greedy = [row for row, one in enumerate(sequences) if one.sampling.temperature == 0]
        drawn = [row for row, one in enumerate(sequences) if one.sampling.temperature > 0]
        picks = torch.empty((len(sequences), 2), device=scores.device)
        if greedy:
            picks[greedy] = _greedy(rows_of(scores, greedy))
        if drawn:
            own = [sequences[row] for row in drawn]
            uniforms = [self._uniform(one.sampling.seed, len(one.output)) for one in own]
            best, ids = draw(rows_of(scores, drawn), [one.sampling for one in own], uniforms)
            picks[drawn] = torch.stack([ids.float(), best], dim=1)
        return errors, picks.to(device)


def _is_plain(sequence: TokenSequence) -> bool:
    """Whether its token is that of the largest logit as it is."""
    sampling = sequence.sampling
    is_greedy = sampling.temperature == 0 and sequence.matcher is None
    return is_greedy and not sampling.logit_bias and not has_penalties(sampling)


def _batches(rows: Sequence[int], logits: Any) -> Iterator[Sequence[int]]:
    """Together on a GPU; on the CPU so few at a time that what they need stays in its cache."""
    count = max(1, CACHED_VALUES // logits.shape[1]) if logits.device.type == "cpu" else len(rows)
    for start in range(0, len(rows), count or 1):
        yield rows[start : start + count]


def _greedy(scores: Any) -> Any:
    """[rows, 2]: the lowest id of those with the largest score, and that score.

    Ids are exact in float32 up to 2^24.
    """
    import torch

    best, ids = scores.max(dim=-1)
    return torch.stack([ids.float(), best.float()], dim=1)


def _apply_grammars(scores: Any, sequences: Sequence[TokenSequence]) -> dict[int, AppError]:
    """Make what each grammar forbids -inf, in place. Returns the rows whose grammar failed."""
    import torch

    errors: dict[int, AppError] = {}
    rows: list[int] = []
    bound = [(row, one.matcher) for row, one in enumerate(sequences) if one.matcher is not None]
    width = scores.shape[1]
    bitmask = torch.zeros((len(bound), -(-width // BITS)), dtype=torch.int32)
    for row, matcher in bound:
        try:
            if matcher.fill(bitmask, len(rows)):
                rows.append(row)
        except AppError as error:
            errors[row] = error
            bitmask[len(rows)] = 0
    if rows:
        bitmask = bitmask[: len(rows)].to(scores.device)
        shifts = torch.arange(BITS, dtype=torch.int32, device=scores.device)
        allowed = ((bitmask[:, :, None] >> shifts) & 1).view(len(rows), -1)[:, :width].bool()
        scores[rows] = torch.where(allowed, rows_of(scores, rows), -math.inf)
    return errors


def _unusable(best: float, sequence: TokenSequence) -> InferenceFailed:
    """Why no token can be chosen where the largest score is `best`."""
    place = f"token {len(sequence.output) + 1} of the answer"
    if best == -math.inf and sequence.matcher is not None:
        return InferenceFailed(
            f"the grammar of the answer leaves the model nothing to write as {place}; "
            "ask for a simpler form"
        )
    return InferenceFailed(
        f"the model computed no usable number for {place} (its largest score is {best}); "
        "try again, or load the model in float32"
    )


def _reports(
    logits: Any, rows: Sequence[int], ids: Sequence[int], sequences: Sequence[TokenSequence]
) -> dict[int, Token]:
    """Tokens of the rows given with the log-probabilities that the model itself gave."""
    import torch

    scores = torch.log_softmax(rows_of(logits, rows).float(), dim=-1)
    chosen = torch.tensor([ids[row] for row in rows], device=scores.device)
    logprobs = scores.gather(1, chosen[:, None])[:, 0].tolist()
    counts = [min(sequences[row].sampling.top_logprobs, scores.shape[1]) for row in rows]
    tops = _most_likely(scores, counts) if any(counts) else [()] * len(rows)
    return {
        row: Token(ids[row], logprob, top)
        for row, logprob, top in zip(rows, logprobs, tops, strict=True)
    }


def _most_likely(scores: Any, counts: Sequence[int]) -> list[tuple[tuple[int, float], ...]]:
    """So many of each row, best first; those that are equal in the order of their ids."""
    found = scores.topk(min(max(counts) + 1, scores.shape[1]))
    tops = []
    for row, count in enumerate(counts):
        values, ids = found.values[row].tolist(), found.indices[row].tolist()
        if 0 < count < len(ids) and values[count - 1] == values[count]:
            # Which of equal ones `topk` takes is not said, so take all that there are.
            ids = (scores[row] >= values[count - 1]).nonzero()[:, 0]
            values, ids = scores[row, ids].tolist(), ids.tolist()
        pairs = sorted(zip(ids, values, strict=True), key=lambda pair: (-pair[1], pair[0]))
        tops.append(tuple(pair for pair in pairs[:count] if pair[1] > -math.inf))
    return tops


def _tell_matchers(
    sequences: Sequence[TokenSequence], ids: Sequence[int], errors: dict[int, AppError]
) -> None:
    """Move every grammar on. One that fails now is its row's error."""
    for row, sequence in enumerate(sequences):
        if sequence.matcher is not None and row not in errors:
            try:
                sequence.matcher.accept(ids[row])
            except AppError as error:
                errors[row] = error
