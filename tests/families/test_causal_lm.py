"""Family `causal_lm` on tiny random models of several kinds, and on a GGUF file made of one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from onebox.core.errors import ModelBroken
from onebox.families.causal_lm import GGUF_ARCHITECTURES, GGUF_TYPES
from onebox.language.checkpoints.model_facts import CLASS_DEFAULTS
from onebox.registry.on_disk import open_on_disk
from tests.families import tiny_language_models as tiny
from tests.families.gguf_model import as_gguf
from tests.families.languages import FAMILY, device, entry, greedy, load
from tests.support import gguf


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.language_model(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture
def copy(llama: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(llama, tmp_path / "copy"))


def change(folder: Path, name: str, **values: Any) -> Path:
    """Set keys of a JSON file in a model's folder; None takes one out."""
    path = folder / name
    content = json.loads(path.read_text()) if path.exists() else {}
    content |= values
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    return folder


def reason(folder: Path) -> str:
    with pytest.raises(ModelBroken) as refusal:
        FAMILY.matches(open_on_disk(folder))
    return refusal.value.message


def test_it_knows_a_folder_and_its_facts(llama: Path) -> None:
    match = FAMILY.matches(open_on_disk(llama))
    assert match is not None
    assert match.kind == "LlamaForCausalLM"
    assert match.facts == {
        "context_length": 256,
        "layers": 2,
        "kv_heads": 2,
        "head_dim": 16,
        "vocab": 320,
        "vision": False,
        "chat": True,
        "defaults": {},
    }


def test_defaults_of_the_checkpoint_are_facts_and_its_template_may_be_missing(copy: Path) -> None:
    change(copy, "generation_config.json", temperature=0.6, top_p=0.9, top_k=-4)
    (copy / "chat_template.jinja").unlink()
    change(copy, "tokenizer_config.json", chat_template=None)
    match = FAMILY.matches(open_on_disk(copy))
    assert match is not None
    assert match.facts["defaults"] == {"temperature": 0.6, "top_p": 0.9}
    assert match.facts["chat"] is False


@pytest.mark.parametrize(
    "values",
    [
        {"architectures": ["BertForSequenceClassification"]},
        {"architectures": []},
        {"architectures": None},
        {"model_type": None},
        {"vision_config": {"image_size": 32}},
        {"is_encoder_decoder": True},
    ],
)
def test_another_model_is_not_its_own(copy: Path, values: dict[str, Any]) -> None:
    assert FAMILY.matches(open_on_disk(change(copy, "config.json", **values))) is None


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("config.json", {"auto_map": {"AutoModelForCausalLM": "evil.Evil"}}, "remote code"),
        ("config.json", {"text_config": {"auto_map": {"AutoModel": "evil.Evil"}}}, "remote code"),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["e.E", None]}}, "remote code"),
        ("config.json", {"_attn_implementation": "org/kernel"}, "attention kernel from a hub"),
        ("config.json", {"quantization_config": {"quant_method": "gptq"}}, "quantised (gptq)"),
        ("config.json", {"num_hidden_layers": -1}, "num_hidden_layers is -1"),
    ],
)
def test_what_it_will_not_load_is_refused(
    copy: Path, name: str, values: dict[str, Any], expected: str
) -> None:
    assert expected in reason(change(copy, name, **values))


def test_a_tokenizer_without_measure_is_not_read(copy: Path) -> None:
    with (copy / "tokenizer.json").open("r+b") as file:
        file.truncate(2**30)
    assert "tokenizer.json is larger than" in reason(copy)


def test_a_folder_without_its_tokenizer_is_broken(copy: Path) -> None:
    (copy / "tokenizer.json").unlink()
    assert "tokenizer.json is missing" in reason(copy)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ("pytorch_model.bin", "pytorch_model.bin is a pickle"),
        ("model.gguf", "move the .gguf file out"),
        ("other.safetensors", "model.safetensors is missing"),
    ],
)
def test_a_folder_without_its_weights_is_broken(copy: Path, other: str, expected: str) -> None:
    (copy / "model.safetensors").rename(copy / other)
    assert expected in reason(copy)


def test_weights_may_come_in_parts_but_none_may_be_missing(llama: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = Path(shutil.copytree(llama, tmp_path / "parts"))
    (folder / "model.safetensors").unlink()
    model = AutoModelForCausalLM.from_pretrained(llama)
    model.save_pretrained(folder, max_shard_size="100KB")
    parts = sorted(folder.glob("model-*.safetensors"))
    assert len(parts) > 1
    assert FAMILY.estimate(open_on_disk(folder), device()) == FAMILY.estimate(
        open_on_disk(llama), device()
    )
    assert greedy(load(folder), [1, 2, 3], 4) == greedy(load(llama), [1, 2, 3], 4)
    parts[0].unlink()
    assert f"names {parts[0].name}, which is missing" in reason(folder)


def test_weights_that_the_file_does_not_have_are_not_made_up(copy: Path) -> None:
    change(copy, "config.json", num_hidden_layers=3)
    with pytest.raises(ModelBroken, match=r"9 weights are missing, such as model\.layers\.2"):
        load(copy)


def test_a_type_that_the_library_does_not_know_is_broken(copy: Path) -> None:
    change(copy, "config.json", model_type="from_the_future")
    with pytest.raises(ModelBroken, match="from_the_future"):
        load(copy)


@pytest.mark.parametrize("kind", tiny.KINDS)
def test_every_kind_writes_what_the_library_writes(kind: str, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    folder = tiny.language_model(tmp_path / kind, kind)
    prompt = list(b"The quick brown fox")
    model = AutoModelForCausalLM.from_pretrained(folder)
    expected = model.generate(
        torch.tensor([prompt]), max_new_tokens=8, do_sample=False, eos_token_id=None
    )
    assert greedy(load(folder), prompt, 8) == expected[0, len(prompt) :].tolist()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_estimate_is_what_is_measured(llama: Path, dtype: str) -> None:
    estimate = FAMILY.estimate(open_on_disk(llama), device(dtype))
    assert estimate == pytest.approx(load(llama, dtype).size_bytes, rel=0.02)


def test_int8_weights_take_less_than_half(llama: Path) -> None:
    assert load(llama, quantization="int8").size_bytes < load(llama).size_bytes / 2


@pytest.mark.parametrize("kind", ["gpt2", "gemma2", "mamba"])
def test_int8_works_for_models_computed_by_the_library(kind: str, tmp_path: Path) -> None:
    folder = tiny.language_model(tmp_path / kind, kind)
    assert len(greedy(load(folder, quantization="int8"), [1, 2, 3], 4)) == 4


@pytest.mark.parametrize(
    ("quantization", "where", "expected"),
    [
        ("4bit", "cpu", "needs CUDA"),
        ("8bit", "mps", "needs CUDA"),
        ("int8", "cuda", "is for the CPU"),
        ("8bit", "cuda", "pip install onebox"),
    ],
)
def test_a_quantisation_that_cannot_be_had_is_refused(
    llama: Path, quantization: str, where: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelBroken, match=expected):
        FAMILY.load(entry(llama, quantization=quantization), device(kind=where))


def test_the_fingerprint_tells_precision_and_contents_apart(llama: Path) -> None:
    from onebox.language.checkpoints.loading import fingerprint

    def of(dtype: str = "float32", **overrides: Any) -> str:
        return fingerprint(entry(llama, **overrides), device(dtype))

    assert of() == of()
    assert of().startswith("fp_")
    assert len(of()) == 15
    assert of(dtype="bfloat16") == of("bfloat16")
    different = {of(), of("bfloat16"), of(quantization="int8")}
    assert len(different) == 3


def test_a_closed_bundle_holds_nothing(llama: Path) -> None:
    bundle = load(llama)
    bundle.close()
    assert (bundle.decoder, bundle.tokenizer) == (None, None)


def test_a_gguf_file_writes_what_its_folder_writes(llama: Path, tmp_path: Path) -> None:
    path = as_gguf(llama, tmp_path / "tiny.gguf")
    one, other = entry(path), entry(llama)
    assert one.facts == other.facts
    on_disk = open_on_disk(path)
    bundle = load(path)
    assert FAMILY.estimate(on_disk, device()) == pytest.approx(bundle.size_bytes, rel=0.02)
    assert greedy(bundle, list(b"Hello"), 8) == greedy(load(llama), list(b"Hello"), 8)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"general.architecture": "clip"}, "architecture 'clip' are not loaded"),
        ({"general.architecture": 3}, "architecture '3' are not loaded"),
        ({"split.count": 3}, "one of 3 parts"),
        ({"llama.block_count": 0}, "num_hidden_layers is 0"),
        ({"tokenizer.ggml.tokens": "none"}, "no tokenizer"),
    ],
)
def test_other_gguf_files_are_refused(
    tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(gguf.language_model(**changes))
    assert expected in reason(path)


def test_the_tables_agree_with_the_libraries() -> None:
    from gguf.quants import _type_traits
    from transformers import AutoConfig
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    mine = {name.replace("-", "_").replace("moe", "_moe") for name in GGUF_ARCHITECTURES}
    others = {"general", "tokenizer", "t5", "umt5"}
    assert mine == set(GGUF_SUPPORTED_ARCHITECTURES) - others
    assert {kind.name for kind in _type_traits} <= GGUF_TYPES
    for kind, values in CLASS_DEFAULTS.items():
        config = AutoConfig.for_model(kind)
        assert {name: getattr(config, name) for name in values} == values
