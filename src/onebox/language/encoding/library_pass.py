"""The forward pass through a library model, for every architecture: texts padded to one length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from onebox.core.weight_sizes import resident_bytes
from onebox.language.encoding.packed import Packed


class LibraryPass:
    """Texts must come sorted by length, for a batch is padded to its longest.

    Attributes:
        size_bytes: of all weights.
    """

    def __init__(self, model: Any) -> None:
        config = model.config
        self._model = model
        self._padding = _padding(config)
        self._segments = getattr(config, "type_vocab_size", 0) or 0
        self.device = model.device
        self.dtype = model.dtype
        self.size_bytes = resident_bytes([model])

    def __call__(self, packed: Packed, between: Callable[[], None]) -> Any:
        """Hidden states [tokens, width]."""
        between()
        inputs = self.padded(packed)
        hidden = self._model(**inputs).last_hidden_state
        return hidden[inputs["attention_mask"].bool()]

    def padded(self, packed: Packed) -> dict[str, Any]:
        """What a library model takes: [texts, longest]."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        def table(values: Any, padding: int) -> Any:
            rows = values.split(packed.lengths)
            return pad_sequence(rows, batch_first=True, padding_value=padding)

        inputs = {
            "input_ids": table(packed.ids, self._padding or 0),
            "attention_mask": table(torch.ones_like(packed.ids), 0),
        }
        if self._segments > 1:
            inputs["token_type_ids"] = table(packed.segments, 0)
        return inputs


class LibraryScores:
    """The same for a model with a head that gives one number."""

    def __init__(self, model: Any) -> None:
        self._pass = LibraryPass(model)
        self._model = model
        # One that looks for the last token needs to know padding from it.
        self._one_by_one = _padding(model.config) is None
        self.device, self.dtype = self._pass.device, self._pass.dtype
        self.size_bytes = self._pass.size_bytes

    def __call__(self, packed: Packed, between: Callable[[], None]) -> Any:
        """Scores [texts, 1]."""
        import torch

        if not self._one_by_one:
            between()
            return self._model(**self._pass.padded(packed)).logits
        found = []
        for ids in packed.ids.split(packed.lengths):
            between()
            found.append(self._model(input_ids=ids[None]).logits)
        return torch.cat(found)


def _padding(config: Any) -> int | None:
    padding = getattr(config, "pad_token_id", None)
    return padding if isinstance(padding, int) and padding >= 0 else None
