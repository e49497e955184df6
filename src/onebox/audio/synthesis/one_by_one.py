"""What all synthesizers share: sentences are computed one after the other, each with its own seed.

Computed side by side they would take their padding into account, and equal requests would no longer
give equal bits; and a voice is so fast that there is nothing to win on a CPU.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from onebox.audio.synthesis.contracts import Say
from onebox.audio.synthesis.seeded import seeded
from onebox.core.contracts import RunContext
from onebox.core.errors import AppError, InferenceFailed, InvalidInput
from onebox.core.weight_sizes import resident_bytes

MAX_SENTENCE_S = 240


class OneByOne(ABC):
    """A synthesizer of some torch modules. Used on its engine's thread alone."""

    def __init__(self, modules: Sequence[Any], sampling_rate: int) -> None:
        self._modules = list(modules)
        self._context: RunContext | None = None
        self.sampling_rate = sampling_rate
        self.size_bytes = resident_bytes(self._modules)

    def synthesize(self, sentences: Sequence[Say], context: RunContext) -> list[Any | AppError]:
        """float32 numpy arrays [n] within -1 and 1; an error where a sentence cannot be spoken."""
        import torch

        found: list[Any | AppError] = []
        self._context = context
        try:
            for sentence in sentences:
                context.hand_over()
                try:
                    with torch.inference_mode(), seeded(sentence.seed):
                        samples = self._speak(sentence)
                    found.append(_checked(samples))
                except (InvalidInput, InferenceFailed) as error:
                    found.append(error)
        finally:
            self._context = None
        return found

    @abstractmethod
    def _speak(self, sentence: Say) -> Any:
        """Tensor of samples [n], on any device."""

    def _hand_over_before(self, modules: Sequence[Any]) -> None:
        """Let more urgent work have the device before each of the modules runs."""

        def hand_over(*_: Any) -> None:
            if self._context is not None:
                self._context.hand_over()

        for module in modules:
            module.register_forward_pre_hook(hand_over)

    def close(self) -> None:
        self._modules.clear()


def require_symbols(count: int, most: int) -> None:
    """Raises InvalidInput for a sentence of no symbols, or of too many."""
    if count == 0:
        raise InvalidInput(
            "a sentence has nothing that this voice can speak; write it in letters that the "
            "voice's language has",
            param="input",
        )
    if count > most:
        raise InvalidInput(
            f"a sentence has {count} symbols and the voice takes {most}; cut it with full stops",
            param="input",
            details={"symbols": count, "max_symbols": most},
        )


def _checked(samples: Any) -> Any:
    import torch

    if not torch.isfinite(samples).all():
        raise InferenceFailed(
            "the voice gave numbers that are no sound (NaN); try another seed, and if that does "
            "not help, its weights are damaged"
        )
    return samples.float().clamp(-1, 1).cpu().numpy()
