"""The configuration trees that come with the server: models of full size, made without memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from onebox.imaging.checkpoints import configs
from onebox.imaging.checkpoints.keys import Layout, layout_of, under
from onebox.imaging.checkpoints.loading import converted_names
from onebox.imaging.checkpoints.stamps import stamp_of, stamps_of_file
from onebox.imaging.checkpoints.text_weights import clip_weights, t5_weights
from onebox.imaging.checkpoints.vocabularies import clip_tokenizer, shipped_tokenizer
from tests.support.single_files import PREFIXES, WRITERS, writer_of

TREES = sorted(path.name for path in configs.ROOT.iterdir() if path.is_dir())


def base_of(tree: str) -> str:
    like = configs.KIN.get(tree, tree)
    return next(base for base, trees in configs.OF_BASE.items() if like in trees)


def models(tree: str) -> Mapping[str, Any]:
    """Component → model of its configuration, whose tensors have no data."""
    import diffusers
    import torch
    import transformers

    folder = configs.place_of(tree)
    found = {}
    for name, value in json.loads((folder / "model_index.json").read_text()).items():
        file = folder / name / "config.json"
        if not file.is_file():
            continue
        config = json.loads(file.read_text())
        with torch.device("meta"):
            if value[0] == "diffusers":
                found[name] = getattr(diffusers, value[1]).from_config(config)
            else:
                model_class: Any = getattr(transformers, value[1])
                found[name] = model_class(model_class.config_class(**config))
    return found


def file_of(tree: str, parts: Mapping[str, Any]) -> dict[str, Any]:
    """Name → tensor without data, of the one file that such a model would be."""
    base = base_of(tree)
    found = {}
    for name, model in parts.items():
        config = model.config if isinstance(model.config, dict) else model.config.to_dict()
        written = WRITERS[writer_of(base, name)](dict(model.state_dict()), config)
        found |= {PREFIXES[base][name] + key: value for key, value in written.items()}
    return found


def read_back(layout: Layout, name: str, model: Any, tensors: Mapping[str, Any]) -> dict[str, Any]:
    own = under(tensors, layout.parts[name])
    if name.startswith("text_encoder"):
        if "shared.weight" in own:
            return t5_weights(own)
        projected = type(model).__name__.endswith("WithProjection")
        return clip_weights(own, model.config.to_dict(), projected=projected)
    return converted_names(type(model).__name__, own, dict(model.config))


@pytest.mark.parametrize("tree", TREES)
def test_a_file_of_full_size_is_known_and_read_back_tensor_for_tensor(tree: str) -> None:
    parts = models(tree)
    tensors = file_of(tree, parts)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}

    layout = layout_of(shapes)

    assert layout is not None
    assert layout.base == base_of(tree)
    assert layout.parts.keys() == parts.keys()
    stamps = stamps_of_file(layout, shapes)
    assert configs.tree_of(layout, stamps) == configs.KIN.get(tree, tree)
    for name, model in parts.items():
        wanted = {key: tuple(value.shape) for key, value in model.state_dict().items()}
        assert stamp_of(name, wanted) == stamps[name]
        got = read_back(layout, name, model, tensors)
        given = {short(key): tuple(value.shape) for key, value in got.items()}
        assert {short(key): shape for key, shape in wanted.items()}.items() <= given.items()


def short(name: str) -> str:
    """Some text encoders of transformers have a level more than others."""
    return name.removeprefix("text_model.")


@pytest.mark.parametrize("tree", TREES)
def test_a_tree_names_a_pipeline_with_its_scheduler_and_tokenizers(tree: str) -> None:
    import diffusers

    folder = configs.place_of(tree)
    index = json.loads((folder / "model_index.json").read_text())
    scheduler = getattr(diffusers, index["scheduler"][1])
    assert scheduler.from_pretrained(folder, subfolder="scheduler").config.num_train_timesteps
    assert hasattr(diffusers, index["_class_name"])
    for name, (_, class_name) in index_of(index, "text_encoder").items():
        tokenizer = index[name.replace("text_encoder", "tokenizer")][1]
        kinds = {"T5EncoderModel": "T5Tokenizer", None: None}
        assert tokenizer == kinds.get(class_name, "CLIPTokenizer")


def index_of(index: Mapping[str, Any], start: str) -> dict[str, Any]:
    return {name: value for name, value in index.items() if name.startswith(start)}


def test_the_vocabulary_of_clip_numbers_tokens_as_the_published_one_does() -> None:
    tokenizer = clip_tokenizer("<|endoftext|>")
    ids = tokenizer("a photo of an astronaut riding a horse on mars").input_ids
    assert ids == [49406, 320, 1125, 539, 550, 18376, 6765, 320, 4558, 525, 7496, 49407]
    assert len(tokenizer) == 49408
    assert tokenizer.model_max_length == 77


def test_texts_are_filled_up_as_each_text_encoder_was_trained() -> None:
    def padding(base: str, component: str) -> int:
        tokenizer = shipped_tokenizer(base, component, "CLIPTokenizer")
        ids: list[int] = tokenizer("cat", padding="max_length").input_ids
        return ids[-1]

    assert padding("sd1", "tokenizer") == padding("sdxl", "tokenizer") == 49407
    assert padding("flux", "tokenizer") == padding("sd3", "tokenizer") == 49407
    assert padding("sd2", "tokenizer") == padding("sdxl", "tokenizer_2") == 0
    assert padding("sdxl-refiner", "tokenizer_2") == padding("sd3", "tokenizer_2") == 0


def test_the_vocabulary_of_t5_numbers_pieces_as_the_published_one_does() -> None:
    tokenizer = shipped_tokenizer("flux", "tokenizer_2", "T5Tokenizer")
    ids = tokenizer("A cat holding a sign that says hello world").input_ids
    assert ids == [71, 1712, 3609, 3, 9, 1320, 24, 845, 21820, 296, 1]
    assert len(tokenizer) == 32100
    assert tokenizer.model_max_length == 512


def test_every_kind_of_a_file_has_a_pipeline_and_a_tree() -> None:
    for base, _ in configs.PIPELINES:
        assert all(Path(configs.place_of(tree)).is_dir() for tree in configs.OF_BASE[base])
    for name in configs.KIN:
        assert configs.place_of(name).is_dir()
        assert name in configs.KIN_PIPELINES
