"""Random tokens: which ones may come, and the one that a uniform number falls on.

Probabilities become whole numbers, whose sums are exact in any order: what a row becomes cannot
depend on how many rows are computed with it. Tokens below 2^-40 of the most likely one never come.
The number falls on the tokens in the order of their ids, not of their probabilities, since rounding
swaps tokens of like probability, and with them the text of a seed, but never their ids.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from onebox.language.sampling import Sampling

WEIGHT_BITS = 40  # of the largest weight, which is 2^40
WEIGHT_MASK = 2 ** (WEIGHT_BITS + 1) - 1
RANDOM_BITS = 53  # what a float holds
FIRST_LOOK = 1024  # tokens; nearly always more than top_k and top_p leave
LOOK_FURTHER = 8  # times as many, where it was not enough


@dataclass(frozen=True, slots=True)
class Rules:
    """How tokens are drawn: tensors [rows, 1].

    Attributes:
        limit: how many tokens stay at most.
        share: the part of their sum that the fewest of them must reach.
        floor: the least weight that stays.
        has_floor: whether any of these is above 0.
        uniform: in [0, 1).
    """

    limit: Any
    share: Any
    floor: Any
    uniform: Any
    has_floor: bool

    def rows(self, index: Any) -> Rules:
        return replace(
            self,
            limit=self.limit[index],
            share=self.share[index],
            floor=self.floor[index],
            uniform=self.uniform[index],
        )


def uniform_number(seed: int, position: int) -> float:
    """In [0, 1), from a hash of both: no state, so a sequence can be left and taken up anywhere."""
    digest = hashlib.blake2b(struct.pack("<QQ", seed, position), digest_size=8).digest()
    number = int.from_bytes(digest, "little") >> (64 - RANDOM_BITS)
    return float(number / 2**RANDOM_BITS)


def draw(scores: Any, samplings: Sequence[Sampling], uniforms: Sequence[float]) -> tuple[Any, Any]:
    """For each row of float32 `scores` the largest score and a token's id, both tensors [rows].

    Every temperature is above 0. An id means nothing where the largest score is not finite.
    """
    import torch

    best = scores.amax(dim=-1, keepdim=True)
    heat = torch.tensor([[one.temperature] for one in samplings], device=scores.device)
    weights = ((scores - best) / heat).exp_().mul_(2.0**WEIGHT_BITS).long()
    rules = _rules(samplings, uniforms, weights)
    ids = torch.empty(len(samplings), dtype=torch.int64, device=scores.device)
    is_cut = [0 < one.top_k < scores.shape[1] or one.top_p < 1 for one in samplings]
    for kind, among in ((True, _among_likely), (False, _among_all)):
        rows = [row for row, cut in enumerate(is_cut) if cut is kind]
        if rows:
            ids[rows] = among(rows_of(weights, rows), rules.rows(rows))
    return best[:, 0], ids


def rows_of(tensor: Any, rows: Sequence[int]) -> Any:
    """Those rows, without a copy where they are all."""
    import torch

    if len(rows) == tensor.shape[0]:
        return tensor
    return tensor.index_select(0, torch.tensor(rows, device=tensor.device))


def _rules(samplings: Sequence[Sampling], uniforms: Sequence[float], weights: Any) -> Rules:
    import torch

    def column(values: Sequence[float], dtype: Any) -> Any:
        return torch.tensor(values, dtype=dtype, device=weights.device)[:, None]

    width = weights.shape[1]
    return Rules(
        limit=column([min(one.top_k or width, width) for one in samplings], torch.int64),
        share=column([one.top_p for one in samplings], torch.float64),
        # The largest weight is the same in every row and always stays, so a share of it does not
        # depend on what else is left out.
        floor=column([int(one.min_p * 2**WEIGHT_BITS) for one in samplings], torch.int64),
        uniform=column(uniforms, torch.float64),
        has_floor=any(one.min_p > 0 for one in samplings),
    )


def _among_all(weights: Any, rules: Rules) -> Any:
    if rules.has_floor:
        weights = weights * (weights >= rules.floor)
    return _fall(weights, rules.uniform)


def _among_likely(weights: Any, rules: Rules, count: int = FIRST_LOOK) -> Any:
    """Ids [rows] drawn among the largest weights, looked for among the `count` largest first.

    At least one stays. Of equal ones the lowest ids stay.
    """
    import torch

    width = weights.shape[1]
    count = min(count, width)
    bits = width.bit_length()
    low_bits = 2**bits - 1
    # With the id below the weight no two are equal, and the lowest id is the largest.
    keys = (weights << bits).add_(torch.arange(width - 1, -1, -1, device=weights.device))
    top = _largest(keys, count)
    heavy = top >> bits
    sums = heavy.cumsum(-1)
    total = sums.gather(1, rules.limit.clamp(max=count) - 1)
    total = total.where(rules.limit <= count, weights.sum(-1, keepdim=True))
    needed = (rules.share * total.double()).ceil().long().minimum(total).clamp(min=1)
    last = torch.searchsorted(sums, needed).minimum(rules.limit - 1)
    stays = torch.arange(count, device=weights.device) <= last
    heavy.mul_(stays & (heavy >= rules.floor))
    by_id = _largest(((top & low_bits) << (WEIGHT_BITS + 1)) | heavy, count)
    place = _fall(by_id & WEIGHT_MASK, rules.uniform)
    ids = width - 1 - (by_id.gather(1, place[:, None])[:, 0] >> (WEIGHT_BITS + 1))
    # The sum of so many is not known before they are looked at.
    unknown = (last >= count) | ((rules.limit > count) & (rules.limit < width))
    rows = unknown[:, 0].nonzero()[:, 0] if count < width else ()
    if len(rows):
        ids[rows] = _among_likely(weights[rows], rules.rows(rows), count * LOOK_FURTHER)
    return ids


def _fall(weights: Any, uniform: Any) -> Any:
    """[rows]: the places where so large a part of the sum is reached; none whose weight is 0."""
    import torch

    sums = weights.cumsum(-1)
    total = sums[:, -1:]
    marks = (uniform * total.double()).long().minimum(total - 1)
    return torch.searchsorted(sums, marks, right=True)[:, 0].clamp(max=weights.shape[1] - 1)


def _largest(values: Any, count: int) -> Any:
    """The largest `count` of each row, in descending order."""
    import numpy as np
    import torch

    if values.device.type != "cpu":
        return values.topk(count).values
    array = values.numpy()  # torch takes some 20 times as long on the CPU
    if count < array.shape[1]:
        array = np.partition(array, -count, axis=-1)[:, -count:]
    return torch.from_numpy(np.sort(array, axis=-1)[:, ::-1].copy())
