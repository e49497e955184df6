"""Textual inversions on a tiny Stable Diffusion: words that stand for vectors, for one run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from onebox.core.errors import Cancelled, InvalidInput
from onebox.imaging.diffusion.bundles import PipelineBundle
from onebox.imaging.diffusion.inversions import Inversion, inverted, placeholders_of
from tests.families.adapter_files import ContextWith, save
from tests.families.pictures import TASK, assert_alike, draw, resolve

WIDTH = 32


def taught(bundle: PipelineBundle, folder: Path, *files: Path, **request: Any) -> np.ndarray:
    """The picture of a request with these files."""
    named = [{"model": path.name} for path in files]
    asked = resolve(folder, **{"seed": 5, "textual_inversions": named, **request})
    (output,) = TASK.run(bundle, asked, ContextWith(folder, *files))
    return np.asarray(output.value)


def vectors_of(bundle: PipelineBundle, text: str) -> torch.Tensor:
    """What the embedding has for each token of a text."""
    ids = bundle.pipeline.tokenizer(text, add_special_tokens=False).input_ids
    return bundle.pipeline.text_encoder.get_input_embeddings().weight[ids].detach()


@pytest.fixture
def cat(tmp_path: Path) -> Path:
    vectors = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(2))
    return save(tmp_path / "cat.safetensors", {"<cat>": vectors})


@pytest.fixture(autouse=True)
def nothing_stays(bundle: PipelineBundle, tiny_sd: Path) -> Iterator[None]:
    """Whatever a test does, the pipeline draws bit for bit as before it."""
    before = draw(bundle, tiny_sd, seed=5, prompt="a <cat>")[0]
    yield
    assert np.array_equal(draw(bundle, tiny_sd, seed=5, prompt="a <cat>")[0], before)


@pytest.mark.parametrize("prompt", ["a {} on a mat", "{}", "a (big {}:1.3) mat", "({})"])
def test_a_word_for_the_vectors_of_a_text_draws_what_the_text_draws(
    bundle, tiny_sd, tmp_path, prompt
):
    same = save(tmp_path / "same.safetensors", {"<thing>": vectors_of(bundle, "dog")})
    drawn = taught(bundle, tiny_sd, same, prompt=prompt.format("<thing>"))
    (wanted,) = draw(bundle, tiny_sd, seed=5, prompt=prompt.format("dog"))
    assert_alike(drawn, wanted)


def test_a_word_in_the_negative_prompt_counts(bundle, tiny_sd, tmp_path):
    same = save(tmp_path / "bad.safetensors", {"emb_params": vectors_of(bundle, "dog")})
    drawn = taught(bundle, tiny_sd, same, prompt="a cat", negative_prompt="bad, blue")
    (wanted,) = draw(bundle, tiny_sd, seed=5, prompt="a cat", negative_prompt="dog, blue")
    assert_alike(drawn, wanted)


def test_vectors_change_the_picture_and_alternating_requests_are_as_if_alone(bundle, tiny_sd, cat):
    (clean,) = draw(bundle, tiny_sd, seed=5, prompt="a <cat>")
    styled = taught(bundle, tiny_sd, cat, prompt="a <cat>")
    for _ in range(2):
        assert np.array_equal(draw(bundle, tiny_sd, seed=5, prompt="a <cat>")[0], clean)
        assert np.array_equal(taught(bundle, tiny_sd, cat, prompt="a <cat>"), styled)
    assert not np.array_equal(clean, styled)


def test_another_word_can_be_chosen(bundle, tiny_sd, cat):
    named = [{"model": cat.name, "token": "felix"}]
    drawn = taught(bundle, tiny_sd, cat, prompt="a felix", textual_inversions=named)
    assert np.array_equal(drawn, taught(bundle, tiny_sd, cat, prompt="a <cat>"))


def test_several_words_each_have_their_own_vectors(bundle, tiny_sd, tmp_path):
    files = [
        save(tmp_path / f"{word}.safetensors", {"emb_params": vectors_of(bundle, text)})
        for word, text in (("one", "dog"), ("two", "house"))
    ]
    drawn = taught(bundle, tiny_sd, *files, prompt="a two by a one")
    (wanted,) = draw(bundle, tiny_sd, seed=5, prompt="a house by a dog")
    assert_alike(drawn, wanted)


def test_one_of_another_width_is_refused(bundle, tiny_sd, tmp_path):
    odd = save(tmp_path / "odd.safetensors", {"<odd>": torch.zeros(1, 7)})
    with pytest.raises(InvalidInput, match=r"odd\.safetensors .* vectors of 7, .* of 32") as info:
        taught(bundle, tiny_sd, odd, prompt="an <odd>")
    assert info.value.param == "textual_inversions"


def test_a_cancelled_run_forgets_the_word(bundle, tiny_sd, cat):
    named = [{"model": cat.name}]
    asked = resolve(tiny_sd, seed=5, prompt="a <cat>", textual_inversions=named)
    with pytest.raises(Cancelled):
        TASK.run(bundle, asked, ContextWith(tiny_sd, cat, stop_at=1))
    assert placeholders_of(bundle.pipeline.text_encoder) == {}


def test_the_end_of_a_text_is_where_it_was(bundle):
    """CLIP takes its largest id for the end, where models of two encoders read."""
    encoder, tokenizer = bundle.pipeline.text_encoder, bundle.pipeline.tokenizer
    ids = torch.tensor([tokenizer("a dog").input_ids])
    wanted = encoder(ids)
    known = Inversion("x", "<dog>", {"text_encoder": vectors_of(bundle, "dog")})
    with inverted(bundle.pipeline, [known]):
        (places,) = placeholders_of(encoder).values()
        start = ids.shape[1] - 1 - len(places)
        ids[0, start:-1] = torch.tensor(places)
        found = encoder(ids)
    assert torch.allclose(found.pooler_output, wanted.pooler_output, atol=1e-6)
