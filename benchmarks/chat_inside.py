"""The same model in this process, without a server: what chat through HTTP is measured against."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from onebox.core.contracts import Device, Entry
from onebox.core.decoding import Token, TokenSequence
from onebox.core.os_support import usable_cpus
from onebox.families.causal_lm import CausalLM
from onebox.hardware.backend import TorchBackend
from onebox.hardware.detector import choose, detect
from onebox.hardware.threads import torch_threads
from onebox.language.sampling import Sampling
from onebox.registry.on_disk import open_on_disk

GREEDY = Sampling(
    temperature=0.0,
    top_p=1.0,
    top_k=0,
    min_p=0.0,
    frequency_penalty=0.0,
    presence_penalty=0.0,
    repetition_penalty=1.0,
    logit_bias={},
    seed=0,
    top_logprobs=None,
)


@dataclass(frozen=True, slots=True)
class Alone:
    """One answer written without company.

    Attributes:
        first_s: until its first token.
        steps_s: what each further token took.
    """

    first_s: float
    steps_s: Sequence[float]


class Library:
    """transformers' own model and `generate`, with the threads that Onebox takes."""

    def __init__(self, model: Path, device: Device) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(torch_threads(None, usable_cpus()))
        auto_class: Any = AutoModelForCausalLM
        self._model = auto_class.from_pretrained(
            model, dtype=getattr(torch, device.dtype), local_files_only=True
        ).eval()

    def batch_tokens_per_s(self, prompts: Sequence[Sequence[int]], tokens: int) -> float:
        """All prompts, which are of one length, in one static batch, prompt and answer together."""
        import torch

        ids = torch.tensor(prompts)
        started = time.perf_counter()
        with torch.inference_mode():
            made = self._model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                min_new_tokens=tokens,
                max_new_tokens=tokens,
                do_sample=False,
            )
        seconds = time.perf_counter() - started
        assert made.shape == (len(prompts), len(prompts[0]) + tokens)
        return len(prompts) * tokens / seconds

    def prompt_and_step_s(self, prompt: Sequence[int]) -> float:
        """A bare pass over the prompt and one step after it."""
        import torch

        started = time.perf_counter()
        with torch.inference_mode():
            given = self._model(torch.tensor([prompt]), use_cache=True, logits_to_keep=1)
            token = given.logits[:, -1:].argmax(-1)
            self._model(token, past_key_values=given.past_key_values, logits_to_keep=1)
        return time.perf_counter() - started


class Decoder:
    """Onebox's own decoder on the same checkpoint, stepped by hand."""

    def __init__(self, model: Path, device: Device) -> None:
        family = CausalLM()
        on_disk = open_on_disk(model)
        match = family.matches(on_disk)
        assert match is not None
        entry = Entry(
            key="benchmark",
            name=model.name,
            path=str(model),
            extension=model.suffix if model.is_file() else "",
            size_bytes=family.estimate(on_disk, device),
            status="ready",
            family=family.name,
            facts=dict(match.facts),
        )
        bundle: Any = family.load(entry, device)
        self._decoder = bundle.decoder

    def alone(self, prompt: Sequence[int], tokens: int) -> Alone:
        sequence = TokenSequence(prompt=prompt, max_tokens=tokens, sampling=GREEDY)
        times = [time.perf_counter()]
        while len(sequence.output) < tokens:
            for _, token in self._decoder.step([sequence]):
                assert isinstance(token, Token), token
                sequence.output.append(token.id)
                times.append(time.perf_counter())
        self._decoder.drop(sequence)
        passed = [later - earlier for earlier, later in pairwise(times)]
        return Alone(passed[0], passed[1:])


def benchmark_device(name: str = "cpu") -> Device:
    (device,) = choose(detect(TorchBackend()), [name])
    return device
