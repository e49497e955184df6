"""What the families text_encoder and cross_encoder load: `TextEncoder`, in a bundle."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from onebox.language.encoding.texts import EncodedText


class Pass(Protocol):
    """`between` is called where others may have the device."""

    device: Any
    dtype: Any
    size_bytes: int

    def __call__(self, packed: Any, between: Callable[[], None]) -> Any: ...


class Computed(Protocol):
    """What a bundle computes with."""

    size_bytes: int

    def compute(
        self, texts: Sequence[EncodedText], between: Callable[[], None], *, budget: int
    ) -> Any:
        """A row of float32 numbers for each text, as numpy [texts, numbers].

        Args:
            budget: the most tokens at once, padding counted; a longer text goes alone.
        """


class EncoderBundle:
    """One loaded encoder. Its `encoder` is a Computed."""

    def __init__(self, encoder: Computed) -> None:
        self.encoder: Any = encoder
        self.size_bytes = encoder.size_bytes

    def close(self) -> None:
        self.encoder = None


class TextEncoder:
    """A pass through a model, and what makes rows of what it gives.

    Args:
        head: (what the pass gave, Packed) → [texts, numbers].
        head_bytes: of its weights.
    """

    def __init__(self, forward: Pass, head: Callable[[Any, Any], Any], head_bytes: int = 0) -> None:
        self._forward = forward
        self._head = head
        self.size_bytes = forward.size_bytes + head_bytes

    def compute(
        self, texts: Sequence[EncodedText], between: Callable[[], None], *, budget: int
    ) -> Any:
        import numpy as np
        import torch

        from onebox.language.encoding.packed import Packed

        # The longest first: texts of one length lie side by side, and padding is small.
        order = sorted(range(len(texts)), key=lambda index: -len(texts[index]))
        rows: list[Any] = [None] * len(texts)
        with torch.inference_mode():
            for part in _parts([texts[index] for index in order], budget):
                packed = Packed.of([texts[order[place]] for place in part], self._forward.device)
                found = self._head(self._forward(packed, between), packed).float().cpu().numpy()
                for place, row in zip(part, found, strict=True):
                    rows[order[place]] = row
        return np.stack(rows)


def _parts(texts: Sequence[EncodedText], budget: int) -> Iterator[range]:
    """Places of neighbours that go together; `texts` come longest first."""
    start = 0
    while start < len(texts):
        count = max(1, budget // max(1, len(texts[start])))
        yield range(start, min(start + count, len(texts)))
        start += count
