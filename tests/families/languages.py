"""What tests of language families share: a device, an entry, and a few greedy tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onebox.core.contracts import Device, Entry, Family
from onebox.core.decoding import TokenSequence
from onebox.families.causal_lm import CausalLM, LanguageBundle
from onebox.language.sampling import Sampling
from onebox.registry.on_disk import open_on_disk

GIB = 1024**3
FAMILY = CausalLM()


def device(dtype: Any = "float32", kind: Any = "cpu") -> Device:
    return Device(kind, kind, kind.upper(), kind, "host", GIB, GIB, dtype, dtype)


def entry(path: Path, family: Family = FAMILY, **overrides: Any) -> Entry:
    match = family.matches(open_on_disk(path))
    assert match is not None
    return Entry(
        key=f"{path} {overrides}",
        name="tiny",
        path=str(path),
        extension=path.suffix if path.is_file() else "",
        size_bytes=1,
        status="ready",
        sha256="ab" * 32,
        family=family.name,
        facts=dict(match.facts),
        overrides=overrides,
    )


def load(
    path: Path, dtype: Any = "float32", family: Family = FAMILY, **overrides: Any
) -> LanguageBundle:
    bundle = family.load(entry(path, family, **overrides), device(dtype))
    assert isinstance(bundle, LanguageBundle)
    return bundle


def greedy(
    bundle: LanguageBundle, prompt: Sequence[int], count: int, images: Any = None
) -> list[int]:
    """The next `count` tokens, each the most likely."""
    sampling = Sampling(
        temperature=0.0,
        top_p=1.0,
        top_k=0,
        min_p=0.0,
        frequency_penalty=0.0,
        presence_penalty=0.0,
        repetition_penalty=1.0,
        logit_bias={},
        seed=1,
        top_logprobs=None,
    )
    sequence = TokenSequence(
        prompt=prompt, max_tokens=count, sampling=sampling, images=images, deterministic=True
    )
    while len(sequence.output) < count:
        for one, token in bundle.decoder.step([sequence]):
            one.output.append(token.id)
    return sequence.output
