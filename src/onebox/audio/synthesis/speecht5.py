"""SpeechT5 with its vocoder and its speakers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onebox.audio.synthesis.contracts import Say
from onebox.audio.synthesis.one_by_one import OneByOne, require_symbols
from onebox.audio.synthesis.tempo import at_speed


class SpeechT5Synthesizer(OneByOne):
    """Args:
    model: a SpeechT5ForTextToSpeech in float32.
    vocoder: the SpeechT5HifiGan that makes samples of its spectrograms.
    speakers: voice → its embedding, tensor [n].
    """

    def __init__(
        self, model: Any, vocoder: Any, tokenizer: Any, speakers: Mapping[str, Any]
    ) -> None:
        super().__init__([model, vocoder], vocoder.config.sampling_rate)
        self._model = model
        self._vocoder = vocoder
        self._tokenizer = tokenizer
        self._speakers = dict(speakers)
        # A round of the first makes some frames; the others turn them all into samples.
        self._hand_over_before([model.speecht5.decoder.wrapped_decoder, *vocoder.resblocks])

    def close(self) -> None:
        super().close()
        self._model = self._vocoder = self._tokenizer = None
        self._speakers.clear()

    def _speak(self, sentence: Say) -> Any:
        import torch

        model = self._model
        ids = self._tokenizer(sentence.text)["input_ids"]
        require_symbols(max(0, len(ids) - 1), model.config.max_text_positions - 1)
        speaker = self._speakers[sentence.voice].to(model.device)
        # A place for every frame: it would make 20 for each symbol, if it did not stop by itself.
        frames = (model.config.max_speech_positions - 1) * model.config.reduction_factor
        samples = model.generate_speech(
            torch.tensor([ids], device=model.device),
            speaker_embeddings=speaker.view(1, -1),
            vocoder=self._vocoder,
            maxlenratio=min(20.0, frames / len(ids)),
        )
        if sentence.speed == 1:
            return samples
        heard = samples.view(-1).cpu().numpy()
        return torch.from_numpy(at_speed(heard, sentence.speed, self.sampling_rate))
