"""VITS and MMS voices."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from onebox.audio.synthesis.contracts import Say
from onebox.audio.synthesis.hifigan import simplify
from onebox.audio.synthesis.one_by_one import MAX_SENTENCE_S, OneByOne, require_symbols
from onebox.core.errors import InvalidInput

# With the blanks between them. The text encoder's memory grows with the square of it.
MAX_IDS = 2048
# The waveform of a longer sentence is computed in parts of about so long, with the same result.
_PART_S = 8.0


class VitsSynthesizer(OneByOne):
    """Computes what VitsModel.forward does, but in bounded memory, and at any speed.

    Args:
        model: a VitsModel in float32.
        tokenizer: text → ids, blanks included.
        voices: ids of its voices, in the order of its speaker table.
        symbols: what the tokenizer knows, in lower case or not.
    """

    def __init__(self, model: Any, tokenizer: Any, voices: Sequence[str], symbols: str) -> None:
        _fold_weight_norms(model)
        simplify(model.decoder)
        model.posterior_encoder = None  # for training alone
        super().__init__([model], model.config.sampling_rate)
        self._model = model
        self._tokenizer = tokenizer
        self._symbols = frozenset(symbols.lower())
        self._speakers = {voice: index for index, voice in enumerate(voices)}
        self._frame_samples = math.prod(model.config.upsample_rates)
        self._reach = _reach(model.config)
        self._hand_over_before([*model.flow.flows, *model.decoder.resblocks])

    def close(self) -> None:
        super().close()
        self._model = self._tokenizer = None

    def _speak(self, sentence: Say) -> Any:
        import torch

        model = self._model
        if self._symbols.isdisjoint(sentence.text.lower()):
            require_symbols(0, MAX_IDS)  # its blanks alone would be some noise
        ids = self._tokenizer(sentence.text, split_special_tokens=True)["input_ids"]
        require_symbols(len(ids), MAX_IDS)
        device = model.device
        speaker = None
        if model.config.num_speakers > 1:
            row = torch.tensor([self._speakers[sentence.voice]], device=device)
            speaker = model.embed_speaker(row).unsqueeze(-1)
        means, spreads, lengths = self._planned(
            torch.tensor([ids], device=device), speaker, sentence.speed
        )
        frames = int(lengths.sum())
        self._require_frames(frames)
        means = means.repeat_interleave(lengths, 2, output_size=frames)
        spreads = spreads.repeat_interleave(lengths, 2, output_size=frames)
        mask = torch.ones(1, 1, frames, device=device)
        latents = means + torch.randn_like(means) * spreads.exp() * model.noise_scale
        latents = model.flow(latents, mask, speaker, reverse=True)
        return torch.cat([part.view(-1) for part in self._waveform(latents, speaker)])

    def _planned(self, ids: Any, speaker: Any, speed: float) -> tuple[Any, Any, Any]:
        """Means and logarithms of deviations [1, channels, ids], and frames of each id [ids]."""
        import torch

        model = self._model
        mask = torch.ones(*ids.shape, 1, device=ids.device)
        read = model.text_encoder(
            input_ids=ids, padding_mask=mask, attention_mask=torch.ones_like(ids), return_dict=True
        )
        hidden, mask = read.last_hidden_state.transpose(1, 2), mask.transpose(1, 2)
        if model.config.use_stochastic_duration_prediction:
            logs = model.duration_predictor(
                hidden, mask, speaker, reverse=True, noise_scale=model.noise_scale_duration
            )
        else:
            logs = model.duration_predictor(hidden, mask, speaker)
        frames = (logs.exp() / model.speaking_rate).ceil().view(-1)
        lengths = _at_speed(frames, speed)
        return read.prior_means.transpose(1, 2), read.prior_log_variances.transpose(1, 2), lengths

    def _require_frames(self, frames: int) -> None:
        seconds = frames * self._frame_samples / self.sampling_rate
        if frames == 0:
            require_symbols(0, MAX_IDS)
        if seconds > MAX_SENTENCE_S:
            raise InvalidInput(
                f"a sentence would take {seconds:.0f} s and {MAX_SENTENCE_S} s are the most; cut "
                "it with full stops, or speak faster",
                param="input",
            )

    def _waveform(self, latents: Any, speaker: Any) -> Iterator[Any]:
        """In parts: what reaches over from the neighbours is computed again, and cut away."""
        frames = latents.shape[2]
        size = max(1, int(_PART_S * self.sampling_rate / self._frame_samples))
        for start in range(0, frames, size):
            end = frames if frames - start < 2 * size else start + size
            first, last = max(0, start - self._reach), min(frames, end + self._reach)
            samples = self._model.decoder(latents[:, :, first:last], speaker)
            skipped = (start - first) * self._frame_samples
            yield samples[:, :, skipped : skipped + (end - start) * self._frame_samples]
            if end == frames:
                return


def _at_speed(frames: Any, speed: float) -> Any:
    """Frames of each id [n] at another speed.

    Where an id begins is rounded, not how long it lasts: rounded up, as the model does, even the
    blanks between symbols would keep a frame each, and nothing could be spoken twice as fast.
    """
    # Of numbers that are none comes no length; `_require_frames` says so.
    ends = frames.nan_to_num(0, 0, 0).clamp(0, 1e5).cpu().cumsum(0).div(speed).round().long()
    return ends.diff(prepend=ends.new_zeros(1)).to(frames.device)


def _fold_weight_norms(model: Any) -> None:
    """Plain weights instead of ones that are made anew from length and direction at every use."""
    from torch.nn.utils import parametrize

    for module in model.modules():
        if parametrize.is_parametrized(module):
            parametrize.remove_parametrizations(module, "weight")
    model.requires_grad_(False)


def _reach(config: Any) -> int:
    """How many frames to each side the waveform of a frame depends on."""
    reach, rate = 3.0, 1
    for upsample, kernel in zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True):
        reach += kernel / (rate * upsample)
        rate *= upsample
        widest = max(
            sum((size - 1) / 2 * (dilation + 1) for dilation in dilations)
            for size, dilations in zip(
                config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True
            )
        )
        reach += widest / rate
    return math.ceil(reach + 3 / rate)
