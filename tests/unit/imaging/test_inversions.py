"""Textual inversion files by their names and shapes, and prompts cut at their words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from onebox.core.contracts import Entry
from onebox.core.errors import TaskNotSupported
from onebox.core.on_disk import Match
from onebox.families.textual_inversion import TextualInversion
from onebox.imaging.diffusion.inversion_files import word_of
from onebox.imaging.diffusion.inversions import holds, pieces
from onebox.registry.on_disk import open_on_disk
from tests.unit.runtime.clients import CPU


def matched(folder: Path, dtype: Any = np.float16, **shapes: tuple[int, ...]) -> Match | None:
    path = folder / "some.safetensors"
    save_file({name: np.zeros(shape, dtype) for name, shape in shapes.items()}, path)
    return TextualInversion().matches(open_on_disk(path))


@pytest.mark.parametrize(
    ("shapes", "facts"),
    [
        ({"emb_params": (3, 768)}, {"base": "sd1", "tokens": 3}),
        ({"emb_params": (1, 1024)}, {"base": "sd2", "tokens": 1}),
        ({"<cat>": (768,)}, {"base": "sd1", "tokens": 1, "word": "<cat>"}),
        ({"mycat": (4, 768)}, {"base": "sd1", "tokens": 4, "word": "mycat"}),
        ({"clip_l": (2, 768), "clip_g": (2, 1280)}, {"base": "sdxl", "tokens": 2}),
        # A width that no known model has: compared with the model when it is used.
        ({"<shape>": (2, 64)}, {"tokens": 2, "word": "<shape>"}),
        ({"emb_params": (2, 64)}, {"tokens": 2}),
    ],
)
def test_a_file_tells_what_it_is_for(tmp_path, shapes, facts):
    match = matched(tmp_path, **shapes)
    assert match is not None
    assert match.facts == facts


@pytest.mark.parametrize(
    "shapes",
    [
        {"weight": (64,)},
        {"weight": (500, 768)},
        {"a": (1, 768), "b": (1, 768)},
        {"clip_l": (2, 768), "clip_g": (3, 1280)},
        {"clip_g": (2, 1280)},
        {"emb_params": (2, 3, 768)},
    ],
)
def test_other_files_are_not_taken(tmp_path, shapes):
    assert matched(tmp_path, **shapes) is None


def test_whole_numbers_are_no_vectors(tmp_path):
    assert matched(tmp_path, np.int64, emb_params=(2, 768)) is None


def test_it_is_not_loaded_by_itself(tmp_path):
    entry = Entry("k", "x.safetensors", str(tmp_path), ".safetensors", 1, "ready")
    with pytest.raises(TaskNotSupported, match="textual_inversions"):
        TextualInversion().load(entry, CPU)


def test_without_a_word_of_its_own_the_files_name_is_the_word():
    for name in ("embeddings/bad-1.5", "embeddings/bad-1.5.safetensors"):
        entry = Entry("k", name, "/x", ".safetensors", 1, "ready")
        assert word_of(entry) == "bad-1.5"
    named = Entry("k", "a.safetensors", "/x", ".safetensors", 1, "ready", facts={"word": "<cat>"})
    assert word_of(named) == "<cat>"


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("a <cat> on a mat", ["a ", (-1, -2), " on a mat"]),
        ("<CAT>", [(-1, -2)]),
        ("mycat and my cat", [(-3,), " and my cat"]),
        ("mycats, amycat, my-mycat", ["mycats, amycat, my-mycat"]),
        ("mycat,<cat>", [(-3,), ",", (-1, -2)]),
        ("nothing", ["nothing"]),
        ("", []),
    ],
)
def test_a_prompt_is_cut_at_whole_words(text, cut):
    assert pieces(text, {"<cat>": (-1, -2), "mycat": (-3,)}) == cut


def test_the_longer_of_two_words_wins():
    assert pieces("cat sit", {"cat": (-1,), "cat sit": (-2,)}) == [(-2,)]


def test_without_words_a_prompt_is_whole():
    assert pieces("a <cat>", {}) == ["a <cat>"]


def test_a_word_is_found_in_any_case_and_only_whole():
    assert holds("A MyCat.", "mycat")
    assert not holds("mycats", "mycat")
