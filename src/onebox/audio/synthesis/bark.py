"""Bark: tokens of meaning, then of sound, then samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onebox.audio.synthesis.contracts import Say
from onebox.audio.synthesis.one_by_one import OneByOne, require_symbols
from onebox.audio.synthesis.tempo import at_speed

# Its text window: what is longer would be cut off without a word.
_MAX_TOKENS = 256


class BarkSynthesizer(OneByOne):
    """Args:
    model: a BarkModel in float32.
    speakers: voice → the prompts that make its speaker, or None for a voice of its own choice.
    """

    def __init__(
        self, model: Any, tokenizer: Any, sampling_rate: int, speakers: Mapping[str, Any]
    ) -> None:
        super().__init__([model], sampling_rate)
        self._model = model
        self._tokenizer = tokenizer
        self._speakers = dict(speakers)
        self._hand_over_before([model.semantic, model.coarse_acoustics, model.fine_acoustics])

    def close(self) -> None:
        super().close()
        self._model = self._tokenizer = None
        self._speakers.clear()

    def _speak(self, sentence: Say) -> Any:
        import torch

        device = self._model.device
        ids = self._tokenizer(sentence.text, add_special_tokens=False)["input_ids"]
        require_symbols(len(ids), _MAX_TOKENS)
        padding = _MAX_TOKENS - len(ids)
        prompt = self._speakers[sentence.voice]
        samples = self._model.generate(
            input_ids=torch.tensor([ids + [self._tokenizer.pad_token_id] * padding], device=device),
            attention_mask=torch.tensor([[1] * len(ids) + [0] * padding], device=device),
            history_prompt=prompt and {name: part.to(device) for name, part in prompt.items()},
        ).view(-1)
        if sentence.speed == 1:
            return samples
        return torch.from_numpy(at_speed(samples.cpu().numpy(), sentence.speed, self.sampling_rate))
