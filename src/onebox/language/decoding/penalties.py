"""What changes single logits of a sequence: `logit_bias`, and penalties on tokens that it has."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Any

from onebox.core.decoding import TokenSequence
from onebox.language.sampling import Sampling

MAX_REMEMBERED = 1024  # sequences


class Penalties:
    """Applies bias and penalties, and remembers from step to step what was counted.

    What it remembers can be counted again from a sequence at any time, so it forgets those that it
    has not seen for longest. It holds their lists of tokens only, never the sequences.
    """

    def __init__(self) -> None:
        self._counted: dict[int, Counted] = {}

    def apply(self, scores: Any, sequences: Sequence[TokenSequence]) -> None:
        """Change float32 `scores` [rows, vocabulary] in place."""
        width = scores.shape[1]
        biased = [
            (row, _biases(one.sampling, width))
            for row, one in enumerate(sequences)
            if one.sampling.logit_bias
        ]
        if biased:
            _add(scores, biased)
        penalised = [
            (row, one.sampling, self._counts(one, width))
            for row, one in enumerate(sequences)
            if has_penalties(one.sampling)
        ]
        if penalised:
            _penalise(scores, penalised)
            self._forget()

    def _counts(self, sequence: TokenSequence, width: int) -> Counted:
        # The list is held as long as its address is the key, so no other can have that address.
        key = id(sequence.output)
        counted = self._counted.pop(key, None)
        if counted is None or counted.read > len(sequence.output):
            # Only the repetition penalty looks at the prompt.
            prompt = sequence.prompt if sequence.sampling.repetition_penalty != 1 else ()
            counted = Counted(prompt, sequence.output, width)
        counted.read_on()
        self._counted[key] = counted
        return counted

    def _forget(self) -> None:
        while len(self._counted) > MAX_REMEMBERED:
            self._counted.pop(next(iter(self._counted)))


class Counted:
    """The different tokens of a sequence, and how often each is in its output.

    Ids that the logits have no place for, as some vocabularies have, are left out.
    """

    def __init__(self, prompt: Iterable[int], output: list[int], width: int) -> None:
        self.ids = array("q", dict.fromkeys(one for one in prompt if 0 <= one < width))
        self.times = array("f", bytes(4 * len(self.ids)))
        self.read = 0
        self._output = output
        self._places = {token_id: place for place, token_id in enumerate(self.ids)}

    def read_on(self) -> None:
        """Count what the output has more than when it was last read."""
        for token_id in self._output[self.read :]:
            place = self._places.setdefault(token_id, len(self.ids))
            if place == len(self.ids):
                self.ids.append(token_id)
                self.times.append(0.0)
            self.times[place] += 1
        self.read = len(self._output)


def has_penalties(sampling: Sampling) -> bool:
    is_repetitive = sampling.repetition_penalty != 1
    return is_repetitive or sampling.frequency_penalty != 0 or sampling.presence_penalty != 0


def _biases(sampling: Sampling, width: int) -> dict[int, float]:
    """Those of tokens that there are: bias on any other changes nothing."""
    return {one: bias for one, bias in sampling.logit_bias.items() if 0 <= one < width}


def _add(scores: Any, biased: Sequence[tuple[int, dict[int, float]]]) -> None:
    import torch

    width = scores.shape[1]
    places = [row * width + token_id for row, biases in biased for token_id in biases]
    values = [bias for _, biases in biased for bias in biases.values()]
    flat = scores.view(-1)
    flat[torch.tensor(places, device=scores.device, dtype=torch.int64)] += torch.tensor(
        values, device=scores.device
    )


def _penalise(scores: Any, penalised: Sequence[tuple[int, Sampling, Counted]]) -> None:
    """Repetition divides what is above 0 and multiplies what is below, for every token there was;
    frequency and presence take away by what the output has.
    """
    import numpy as np
    import torch

    width = scores.shape[1]
    sizes = [len(counted.ids) for _, _, counted in penalised]
    places = np.concatenate([np.array(c.ids, np.int64) + row * width for row, _, c in penalised])
    times = np.concatenate([np.array(c.times, np.float32) for _, _, c in penalised])
    kinds = [
        (one.repetition_penalty, one.frequency_penalty, one.presence_penalty)
        for _, one, _ in penalised
    ]
    device = scores.device
    repetition, frequency, presence = torch.from_numpy(
        np.repeat(np.array(kinds, np.float32).T, sizes, axis=1)
    ).to(device)
    place, count = torch.from_numpy(places).to(device), torch.from_numpy(times).to(device)
    flat = scores.view(-1)
    old = flat[place]
    new = torch.where(old < 0, old * repetition, old / repetition)
    flat[place] = new - frequency * count - presence * (count > 0)
