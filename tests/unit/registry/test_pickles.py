"""Which pickled weights become safetensors, and what they are called then."""

from __future__ import annotations

import pytest

from onebox.registry.pickles import index_for, is_index, kept, renamed_index, targets


@pytest.mark.parametrize("name", ["a.ckpt", "a.pt", "a.pth", "a.bin", "a.CKPT"])
def test_a_single_file_keeps_its_name(name: str) -> None:
    assert targets({name}, is_folder=False) == {name: "a.safetensors"}


def test_what_is_no_pickle_is_left_alone() -> None:
    assert targets({"a.safetensors"}, is_folder=False) == {}
    assert targets({"config.json", "model.safetensors"}, is_folder=True) == {}


def test_the_libraries_names_become_their_names_for_safetensors() -> None:
    files = {
        "model_index.json",
        "unet/diffusion_pytorch_model.bin",
        "text_encoder/pytorch_model.bin",
        "tokenizer/vocab.json",
    }
    assert targets(files, is_folder=True) == {
        "unet/diffusion_pytorch_model.bin": "unet/diffusion_pytorch_model.safetensors",
        "text_encoder/pytorch_model.bin": "text_encoder/model.safetensors",
    }


def test_shards_keep_their_numbers() -> None:
    files = {
        "pytorch_model-00001-of-00002.bin",
        "pytorch_model-00002-of-00002.bin",
        "pytorch_model.bin.index.json",
    }
    assert targets(files, is_folder=True) == {
        "pytorch_model-00001-of-00002.bin": "model-00001-of-00002.safetensors",
        "pytorch_model-00002-of-00002.bin": "model-00002-of-00002.safetensors",
    }


@pytest.mark.parametrize("there", ["model.safetensors", "model.safetensors.index.json"])
def test_where_safetensors_lie_the_pickle_is_not_used(there: str) -> None:
    assert targets({"config.json", "pytorch_model.bin", there}, is_folder=True) == {}


def test_a_part_with_safetensors_does_not_speak_for_another_part() -> None:
    files = {"unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.bin"}
    assert targets(files, is_folder=True).keys() == {"vae/diffusion_pytorch_model.bin"}


def test_of_variants_the_plain_one_is_taken() -> None:
    files = {"pytorch_model.bin", "pytorch_model.fp16.bin"}
    assert targets(files, is_folder=True) == {"pytorch_model.bin": "model.safetensors"}


def test_a_variant_alone_becomes_the_plain_one() -> None:
    assert targets({"pytorch_model.fp16.bin"}, is_folder=True) == {
        "pytorch_model.fp16.bin": "model.safetensors"
    }


def test_leftovers_of_a_training_are_not_weights() -> None:
    files = {"model.safetensors", "training_args.bin", "optimizer.pt", "rng_state.pth"}
    assert targets(files, is_folder=True) == {}


def test_a_folder_takes_over_all_but_pickles_and_their_indexes() -> None:
    files = {"config.json", "pytorch_model.bin", "pytorch_model.bin.index.json", "a/b.safetensors"}
    assert kept(files) == ["a/b.safetensors", "config.json"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pytorch_model.bin.index.json", True),
        ("unet/diffusion_pytorch_model.bin.index.json", True),
        ("pytorch_model.bin.index.fp16.json", True),
        ("model.safetensors.index.json", False),
        ("config.json", False),
    ],
)
def test_an_index_of_shards_is_known_by_its_name(name: str, expected: bool) -> None:
    assert is_index(name) is expected


def test_an_index_names_the_new_shards() -> None:
    index = {"metadata": {"total_size": 8}, "weight_map": {"x": "pytorch_model-00001-of-00001.bin"}}
    source, target = "t/pytorch_model-00001-of-00001.bin", "t/model-00001-of-00001.safetensors"
    assert targets({source}, is_folder=True) == {source: target}
    assert renamed_index(index, "t", {source: target}) == {
        "metadata": {"total_size": 8},
        "weight_map": {"x": "model-00001-of-00001.safetensors"},
    }
    assert index_for(target) == "t/model.safetensors.index.json"
    assert index_for("t/model.safetensors") is None


@pytest.mark.parametrize("weight_map", [None, {}, {"x": "elsewhere.bin"}, {"x": "../../a.bin"}])
def test_an_index_of_other_files_is_dropped(weight_map: object) -> None:
    assert renamed_index({"weight_map": weight_map}, "t", {"t/a.bin": "t/a.safetensors"}) is None
