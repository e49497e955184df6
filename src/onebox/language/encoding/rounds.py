"""Which texts are computed in one round, and what a round takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from onebox.core.contracts import Device, Entry
from onebox.core.errors import AppError, InferenceFailed
from onebox.core.piecework import Piece
from onebox.language.encoding.encoder import TextEncoder
from onebox.language.encoding.texts import EncodedText

# Tokens of a round. On two CPU cores 512 to 4,096 were equally fast with MiniLM, fewer and more
# slower; a round of 1,024 takes about 0.1 s, and who comes meanwhile waits no longer.
CPU_TOKENS = 1024
DEVICE_TOKENS = 16_384
# Rounds of larger models are smaller, so that they take about as long; but never smaller than this.
CPU_MODEL_BYTES = 100_000_000
LEAST_TOKENS = 256
# With memory short.
LEAN_SHARE = 8
# Working memory of a token, in float32 values a unit of the model's width: what layers hand on.
TOKEN_VALUES = 24


def budget(entry: Entry, device: Device) -> int:
    """The most tokens of a round, padding counted."""
    if device.kind != "cpu":
        return DEVICE_TOKENS
    share = CPU_MODEL_BYTES / max(entry.size_bytes, CPU_MODEL_BYTES)
    return max(LEAST_TOKENS, int(CPU_TOKENS * share))


def reserve_bytes(entry: Entry, device: Device) -> int:
    """What a round takes beside the weights; an estimate."""
    tokens = max(budget(entry, device), int(entry.facts["max_tokens"]))
    return tokens * int(entry.facts["width"]) * TOKEN_VALUES * 4


def choose(pieces: Sequence[Piece], limit: int) -> list[Piece]:
    """The first piece, and those nearest to it in length while all fit into so many tokens.

    Equal texts count once, for they are computed once.
    """
    first, *others = pieces
    chosen, counted = [first], {first.value}
    longest = first.size
    for piece in sorted(others, key=lambda other: abs(other.size - first.size)):
        if piece.value in counted:
            chosen.append(piece)
            continue
        longest = max(longest, piece.size)
        if longest * (len(counted) + 1) > limit:
            break
        chosen.append(piece)
        counted.add(piece.value)
    return chosen


def compute(
    encoder: TextEncoder, pieces: Sequence[Piece], between: Callable[[], None], limit: int
) -> list[Any]:
    """A row of numbers for each piece; an error for one that has none. Equal texts once."""
    import numpy as np

    texts: dict[EncodedText, int] = {}
    for piece in pieces:
        texts.setdefault(piece.value, len(texts))
    rows = encoder.compute(list(texts), between, budget=limit)
    sound = np.isfinite(rows).all(axis=1)
    return [
        rows[place] if sound[place] else _not_finite() for place in (texts[p.value] for p in pieces)
    ]


def _not_finite() -> AppError:
    return InferenceFailed(
        "the model gives no finite numbers for one of the texts; with half precision, take dtype "
        "out of its onebox.toml"
    )
