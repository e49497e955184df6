"""Keys and values of the windows that are being written down side by side."""

from __future__ import annotations

from typing import Any

GROWTH = 64


class WhisperMemory:
    """One slot for each window.

    Attributes:
        heard: [layers, 2, slots, heads, frames, dim], of the encoder's output.
        written: [layers, 2, slots, heads, capacity, dim], of the tokens.
    """

    def __init__(self, heard: Any, written: Any, most: int) -> None:
        """`most`: how many tokens a slot may come to hold."""
        self.heard = heard
        self.written = written
        self._most = most

    def reserve(self, tokens: int) -> None:
        """Have room for so many tokens in each slot."""
        capacity = self.written.shape[4]
        if tokens <= capacity:
            return
        shape = list(self.written.shape)
        shape[4] = min(self._most, max(tokens, 2 * capacity))
        grown = self.written.new_zeros(shape)
        grown[..., :capacity, :] = self.written
        self.written = grown

    def move(self, source: int, target: int) -> None:
        """Have the target hold what the source holds."""
        if source != target:
            self.heard[:, :, target] = self.heard[:, :, source]
            self.written[:, :, target] = self.written[:, :, source]

    def of_slot(self, slot: int, tokens: int) -> WhisperMemory:
        """What was heard in one slot, with room for other tokens."""
        heard = self.heard[:, :, slot : slot + 1]
        return WhisperMemory(heard, written_like(heard, tokens), tokens)


def create_memory(
    layers: int, heads: int, dim: int, frames: int, slots: int, most: int, like: Any
) -> WhisperMemory:
    """Empty slots of at most so many tokens, of the dtype and on the device of a tensor."""
    heard = like.new_empty((layers, 2, slots, heads, frames, dim))
    return WhisperMemory(heard, written_like(heard, min(most, GROWTH)), most)


def written_like(heard: Any, tokens: int) -> Any:
    """Room for so many tokens. What was never written is read with a weight of 0, which only
    numbers survive.
    """
    return heard.new_zeros((*heard.shape[:4], tokens, heard.shape[5]))
