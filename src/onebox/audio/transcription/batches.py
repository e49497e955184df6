"""Which windows are heard together, and what memory that takes."""

from __future__ import annotations

from collections.abc import Sequence

from onebox.audio.windows import MAX_SAMPLES
from onebox.core.contracts import DTYPE_BYTES, Device, Entry
from onebox.core.piecework import Piece

MOST_ON_CPU = 8
MOST_ON_GPU = 16
# What the windows of one round may take beside the weights: a share of the device's memory, and
# never less than this.
MEMORY_SHARE = 8
LEAST_BATCH_BYTES = 2**30
# Windows are filled up with silence to the longest of their round, at most to so many times.
MAX_PADDING = 2.0
# A window of 30 s, where the family does not tell: keys and values of Whisper's decoder are about
# an eighth of its weights, and its widest activations grow with them.
SHARE_OF_WEIGHTS = 8
LEAST_WINDOW_BYTES = 16 * 2**20
# Decoded windows that wait, and the child process's side of them.
SOURCE_BYTES = 64 * 2**20


def choose_windows(pieces: Sequence[Piece], entry: Entry, device: Device) -> list[Piece]:
    """The first piece and those that are nearest to it in length, in the order given."""
    first, most = pieces[0], most_windows(entry, device)
    by_length = sorted(pieces[1:], key=lambda piece: abs(piece.size - first.size))
    chosen, total, longest = [first], first.size, first.size
    for piece in by_length:
        longest, total = max(longest, piece.size), total + piece.size
        if len(chosen) == most or longest * (len(chosen) + 1) > MAX_PADDING * total:
            break
        chosen.append(piece)
    ids = {id(piece) for piece in chosen}
    return [piece for piece in pieces if id(piece) in ids]


def most_windows(entry: Entry, device: Device) -> int:
    most = MOST_ON_CPU if device.kind == "cpu" else MOST_ON_GPU
    allowed = max(LEAST_BATCH_BYTES, device.total_bytes // MEMORY_SHARE)
    return max(1, min(most, allowed // window_bytes(entry, device)))


def window_bytes(entry: Entry, device: Device) -> int:
    """Working memory of one window of full length."""
    told = entry.facts.get("window_values")
    if told:
        return int(told) * DTYPE_BYTES[device.dtype]
    return max(LEAST_WINDOW_BYTES, entry.size_bytes // SHARE_OF_WEIGHTS)


def reserve_bytes(entry: Entry, device: Device) -> int:
    samples = MAX_SAMPLES * 4 * most_windows(entry, device)
    return most_windows(entry, device) * window_bytes(entry, device) + samples + SOURCE_BYTES
