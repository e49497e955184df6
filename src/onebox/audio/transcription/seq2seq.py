"""Transcriber of models that read a window and then write its text, by the library's `generate`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from onebox.audio.transcription.contracts import Heard, HeardSegment, HeardToken, Listen
from onebox.audio.transcription.layer_watch import between_layers
from onebox.audio.transcription.loading import SpeechModel, as_input, is_padding_harmless
from onebox.audio.windows import SAMPLING_RATE
from onebox.core.contracts import RunContext
from onebox.core.errors import AppError
from onebox.core.weight_sizes import resident_bytes

# Nobody says more; a model that repeats itself is stopped there.
TOKENS_PER_S = 12
LEAST_TOKENS = 16
MOST_TOKENS = 448
# Names under which configurations have the number of places of the decoder.
PLACES = ("max_target_positions", "max_position_embeddings", "n_positions", "max_text_positions")


class Seq2SeqTranscriber:
    def __init__(self, loaded: SpeechModel) -> None:
        self._loaded: SpeechModel | None = loaded
        self.size_bytes = resident_bytes([loaded.model])
        self._most = _most_tokens(loaded.model.config)
        ends = loaded.model.generation_config.eos_token_id
        self._ends = frozenset(ends if isinstance(ends, list) else [ends])
        encoder = loaded.model.get_encoder()
        self._together = is_padding_harmless(loaded, lambda given: encoder(**given)[0])

    def transcribe(self, windows: Sequence[Listen], context: RunContext) -> list[Heard | AppError]:
        groups = [list(windows)] if self._together else [[window] for window in windows]
        return [heard for group in groups for heard in self._hear(group, context)]

    def close(self) -> None:
        self._loaded = None

    def _hear(self, windows: Sequence[Listen], context: RunContext) -> list[Heard]:
        import torch

        loaded = self._loaded
        assert loaded is not None
        context.hand_over()
        given = as_input(loaded, [window.samples for window in windows])
        draw = _Drawing(windows, loaded.device)
        with torch.inference_mode(), between_layers(loaded.model, context.hand_over):
            written = loaded.model.generate(
                **given,
                max_new_tokens=max(map(self._most_of, windows)),
                do_sample=False,
                num_beams=1,
                logits_processor=[draw],
                stopping_criteria=[draw.note],
            )
        rows = written[:, written.shape[1] - len(draw.logprobs) :].tolist()
        values = torch.stack(draw.logprobs, 1).tolist()
        return [self._heard(*row) for row in zip(windows, rows, values, strict=True)]

    def _most_of(self, window: Listen) -> int:
        """Tokens; its own number, whatever is computed beside it."""
        length_s = len(window.samples) / SAMPLING_RATE
        return min(self._most, LEAST_TOKENS + math.ceil(TOKENS_PER_S * length_s))

    def _heard(self, window: Listen, ids: Sequence[int], logprobs: Sequence[float]) -> Heard:
        assert self._loaded is not None
        tokenizer = self._loaded.tokenizer
        ids = ids[: self._most_of(window)]
        count = next((place for place, one in enumerate(ids) if one in self._ends), len(ids))
        # The end is as much of the answer as its words.
        counted = logprobs[: min(count + 1, len(ids))]
        text = tokenizer.decode(ids[:count], skip_special_tokens=True).strip()
        special = set(tokenizer.all_special_ids)
        own = [pair for pair in zip(ids[:count], logprobs, strict=False) if pair[0] not in special]
        length_s = len(window.samples) / SAMPLING_RATE
        segment = HeardSegment(0.0, length_s, text, tuple(token for token, _ in own))
        told = (HeardToken(tokenizer.decode([token]), token, value) for token, value in own)
        return Heard(
            (segment,) if text else (),
            window.language or "",
            sum(counted) / len(counted) if counted else 0.0,
            0.0,
            tuple(told) if window.logprobs else (),
        )


class _Drawing:
    """A logits processor: the likeliest token of each row, at its own temperature and seed.

    Adding noise that is distributed in the right way to the logits and taking the largest draws
    from the distribution itself, so rows of all temperatures go side by side.

    Attributes:
        logprobs: of the tokens that were taken, a tensor [rows] for each step.
    """

    def __init__(self, windows: Sequence[Listen], device: str) -> None:
        import torch

        self._temperatures = [window.temperature for window in windows]
        self._generators = [
            torch.Generator().manual_seed(window.seed) if window.temperature else None
            for window in windows
        ]
        self._device = device
        self._last: Any = None
        self.logprobs: list[Any] = []

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        self._last = scores.float().log_softmax(-1)
        scores = self._last.clone()
        for row, generator in enumerate(self._generators):
            if generator is not None:
                scores[row] = scores[row] / self._temperatures[row] + self._noise(
                    scores.shape[-1], generator
                )
        return scores

    def note(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        """A stopping criterion that never stops: it is told which tokens were taken."""
        import torch

        taken = input_ids[:, -1:]
        self.logprobs.append(self._last.gather(1, taken)[:, 0].cpu())
        return torch.zeros(len(taken), dtype=torch.bool, device=taken.device)

    def _noise(self, size: int, generator: Any) -> Any:
        import torch

        uniform = torch.rand(size, generator=generator).clamp_(min=1e-20)
        return (-torch.log(-torch.log(uniform))).to(self._device)


def _most_tokens(config: Any) -> int:
    """The end of what its decoder has places for; some begin with a token or two."""
    decoder = getattr(config, "decoder", config)
    told = [getattr(decoder, name, None) for name in PLACES]
    return min([MOST_TOKENS, *(places - 2 for places in told if isinstance(places, int))])
