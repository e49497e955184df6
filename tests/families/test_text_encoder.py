"""Family `text_encoder` on tiny random models of several kinds, against plain transformers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from onebox.core.errors import InvalidInput, ModelBroken
from onebox.families.causal_lm import CausalLM
from onebox.families.cross_encoder import CrossEncoder
from onebox.families.text_encoder import TextEncoder
from onebox.language.encoding.bert import BertPass
from onebox.language.encoding.library_pass import LibraryPass
from onebox.registry.on_disk import open_on_disk
from onebox.tasks.embeddings import Embeddings
from onebox.tasks.similarity import Similarity
from tests.families import tiny_encoders as tiny
from tests.families.encoders import entry, run
from tests.families.languages import device

FAMILY = TextEncoder()
TEXTS = ("the cat sat on the mat", "a dog", "the very very big dog ran home on the mat", "a dog")
OURS = ("bert", "roberta", "xlm-roberta", "mpnet", "distilbert")


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.encoder(tmp_path_factory.mktemp("encoders") / "bert", "bert")


@pytest.fixture
def copy(bert: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bert, tmp_path / "copy"))


def vectors(folder: Path, texts: Any = TEXTS, dtype: str | None = None, **values: Any) -> Any:
    import torch

    overrides = {"dtype": dtype} if dtype else {}
    found = entry(folder, FAMILY, **overrides)
    bundle = FAMILY.load(found, device("bfloat16"))
    answer = run(Embeddings(), bundle, found, inputs=list(texts), **values)
    assert [item["index"] for item in answer["data"]] == list(range(len(texts)))
    return torch.tensor([item["embedding"] for item in answer["data"]])


def expected(folder: Path, pool: Any, texts: Any = TEXTS) -> Any:
    import torch

    return torch.stack([pool(tiny.hidden(folder, text)) for text in texts])


def mean(hidden: Any) -> Any:
    return hidden.mean(0)


def reason(folder: Path) -> str:
    with pytest.raises(ModelBroken) as refusal:
        FAMILY.matches(open_on_disk(folder))
    return refusal.value.message


@pytest.mark.parametrize("kind", [*OURS, "modernbert", "electra", "albert"])
def test_a_plain_folder_of_any_kind_gives_the_mean_of_its_tokens(tmp_path: Path, kind: str) -> None:
    folder = tiny.encoder(tmp_path / kind, kind)
    close(vectors(folder), expected(folder, mean))


def close(got: Any, wanted: Any, tolerance: float = 1e-5) -> None:
    import torch

    torch.testing.assert_close(got, wanted, atol=tolerance, rtol=1e-5)


@pytest.mark.parametrize("kind", OURS)
def test_models_built_like_bert_are_computed_without_padding(tmp_path: Path, kind: str) -> None:
    folder = tiny.encoder(tmp_path / kind, kind)
    bundle: Any = FAMILY.load(entry(folder, FAMILY), device())
    assert isinstance(bundle.encoder._forward, BertPass)


def test_a_pass_of_ours_that_would_differ_is_not_taken(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = BertPass.__call__
    monkeypatch.setattr(BertPass, "__call__", lambda *call: wrong(*call) + 0.1)
    bundle: Any = FAMILY.load(entry(copy, FAMILY), device())
    assert isinstance(bundle.encoder._forward, LibraryPass)
    monkeypatch.undo()
    monkeypatch.setattr(BertPass, "__call__", lambda *call: wrong(*call) + 0.1)
    close(vectors(copy), expected(copy, mean))


@pytest.mark.parametrize(
    ("modes", "pool"),
    [
        ("cls", lambda h: h[0]),
        ("max", lambda h: h.amax(0)),
        ("mean_sqrt_len_tokens", lambda h: h.sum(0) / len(h) ** 0.5),
        ("lasttoken", lambda h: h[-1]),
        ("weightedmean", lambda h: sum((i + 1) * row for i, row in enumerate(h))
         / (len(h) * (len(h) + 1) / 2)),
    ],
)  # fmt: skip
def test_each_pooling_is_that_of_its_name(copy: Path, modes: str, pool: Any) -> None:
    close(vectors(tiny.add_modules(copy, {"pooling_mode": modes})), expected(copy, pool))


def test_several_poolings_are_joined_in_their_order(copy: Path) -> None:
    import torch

    old = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}
    tiny.add_modules(copy, old)
    close(vectors(copy), expected(copy, lambda h: torch.cat([h[0], h.mean(0)])))
    assert entry(copy, FAMILY).facts["dimensions"] == 2 * tiny.WIDTH


def test_dense_and_normalize_follow_the_pooling(copy: Path) -> None:
    import torch
    from safetensors.torch import load_file

    tiny.add_modules(copy, {"pooling_mode": "mean"}, "Dense", "Normalize")
    tiny.add_dense(copy, "2_Dense", 8, "torch.nn.modules.activation.Tanh")
    dense = load_file(copy / "2_Dense" / "model.safetensors")

    def pool(hidden: Any) -> Any:
        made = torch.tanh(dense["linear.weight"] @ hidden.mean(0) + dense["linear.bias"])
        return torch.nn.functional.normalize(made, dim=0)

    close(vectors(copy), expected(copy, pool))
    facts = entry(copy, FAMILY).facts
    assert (facts["dimensions"], facts["normalized"]) == (8, True)


def test_a_decoder_with_modules_is_an_encoder_and_pools_its_last_token(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    made = AutoModelForCausalLM.from_config(tiny.config("qwen3"))
    folder = tiny.add_modules(tiny.save(made, tmp_path / "q"), {"pooling_mode_lasttoken": True})
    assert CausalLM().matches(open_on_disk(folder)) is None
    close(vectors(folder), expected(folder, lambda h: h[-1]))


def test_of_a_model_that_reads_and_writes_the_reading_half_is_taken(tmp_path: Path) -> None:
    from transformers import T5EncoderModel

    folder = tiny.save(T5EncoderModel(tiny.config("t5")), tmp_path / "t5")
    close(vectors(tiny.add_modules(folder)), expected(folder, mean))


def test_prompts_are_put_before_texts_and_may_not_count(copy: Path) -> None:
    told = {"prompts": {"find": "query : "}, "default_prompt_name": "find"}
    tiny.add_modules(copy, {"include_prompt": False}, prompts=told)
    prompted = [f"query : {text}" for text in TEXTS]
    # [CLS], two words.
    wanted = expected(copy, lambda h: h[3:].mean(0), prompted)
    close(vectors(copy), wanted)
    close(vectors(copy, prompt="find"), wanted)
    close(vectors(copy, prompt="document"), expected(copy, mean))
    with pytest.raises(InvalidInput, match="document, find, query"):
        vectors(copy, prompt="other")


def test_texts_are_put_in_lower_case_where_the_folder_says_so(copy: Path) -> None:
    tiny.add_modules(copy, sentences={"do_lower_case": True, "max_seq_length": 20})
    close(vectors(copy, ["The CAT"]), expected(copy, mean, ["the cat"]))


def test_half_precision_is_taken_only_when_asked_for(copy: Path) -> None:
    import torch

    plain, half = vectors(copy), vectors(copy, dtype="bfloat16")
    near = torch.nn.functional.cosine_similarity(plain, half)
    assert float(near.min()) > 0.99
    assert not torch.equal(plain, half)
    close(plain, expected(copy, mean))


def test_a_vector_does_not_depend_on_its_neighbours(tmp_path: Path) -> None:
    import torch

    for kind in ("bert", "mpnet", "modernbert"):
        folder = tiny.encoder(tmp_path / kind, kind)
        together = vectors(folder)
        alone = torch.cat([vectors(folder, [text]) for text in TEXTS])
        torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)
        assert torch.equal(together[1], together[3])


def test_dimensions_cut_and_bring_back_to_length_one(copy: Path) -> None:
    import torch

    wanted = torch.nn.functional.normalize(expected(copy, mean)[:, :5])
    close(vectors(copy, dimensions=5), wanted)


def test_similarity_is_the_cosine_with_each_sentence(copy: Path) -> None:
    import torch

    found = entry(copy, FAMILY)
    bundle = FAMILY.load(found, device())
    answer = run(Similarity(), bundle, found, source=TEXTS[0], sentences=list(TEXTS))
    rows = expected(copy, mean)
    wanted = torch.nn.functional.cosine_similarity(rows[:1], rows)
    close(torch.tensor(answer["scores"]), wanted)
    assert answer["usage"]["prompt_tokens"] > 0


def test_facts_tell_what_a_text_may_have(copy: Path, tmp_path: Path) -> None:
    facts = entry(tiny.add_modules(copy, sentences={"max_seq_length": 16}), FAMILY).facts
    assert (facts["max_tokens"], facts["pooling"], facts["normalized"]) == (16, "mean", False)
    assert (facts["dimensions"], facts["vocab"]) == (tiny.WIDTH, tiny.VOCAB)
    assert facts["prompts"] == {"query": "", "document": ""}
    # Two positions of this kind are in front of the first one.
    roberta = tiny.encoder(tmp_path / "roberta", "roberta")
    assert entry(roberta, FAMILY).facts["max_tokens"] == tiny.POSITIONS - 2


def test_what_it_cannot_load_is_refused_by_name(copy: Path) -> None:
    tiny.add_modules(copy, None, "CNN")
    assert "sentence_transformers.models.CNN, which is not loaded" in reason(copy)
    tiny.add_modules(copy, {"pooling_mode": "median"})
    assert "'median'" in reason(copy)
    tiny.add_modules(copy, None, "Dense")
    tiny.add_dense(copy, "2_Dense", 8, "mine.Evil")
    assert "activation mine.Evil" in reason(copy)
    tiny.add_dense(copy, "2_Dense", 8, "torch.nn.Tanh")
    (copy / "2_Dense" / "model.safetensors").rename(copy / "2_Dense" / "pytorch_model.bin")
    assert "2_Dense/pytorch_model.bin is a pickle" in reason(copy)


def test_remote_code_is_refused_and_a_list_of_training_data_is_not_read(copy: Path) -> None:
    tiny.add_modules(copy)
    (copy / "data_config.json").write_text('[{"name": "pairs"}]')
    assert FAMILY.matches(open_on_disk(copy)) is not None
    config = json.loads((copy / "config.json").read_text())
    tiny.write(copy / "config.json", {**config, "auto_map": {"AutoModel": "evil.Evil"}})
    assert "remote code" in reason(copy)
    tiny.write(copy / "config.json", config)
    modules = json.loads((copy / "modules.json").read_text())
    modules[0]["type"] = "custom_st.Transformer"
    tiny.write(copy / "modules.json", modules)
    assert "custom_st.Transformer" in reason(copy)


@pytest.mark.parametrize("value", ["{}", "[", "[]", "[{}]", "[" * 100_000, '"x"'])
def test_a_spoilt_list_of_modules_is_broken(copy: Path, value: str) -> None:
    tiny.add_modules(copy)
    (copy / "modules.json").write_text(value)
    assert "modules.json" in reason(copy)


def test_other_models_are_not_its_own(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    for changes in (
        {"architectures": ["BertForTokenClassification"]},
        {"architectures": ["ViTModel"], "model_type": "vit"},
        {"vision_config": {}},
    ):
        tiny.write(copy / "config.json", {**config, **changes})
        assert FAMILY.matches(open_on_disk(copy)) is None
        assert CrossEncoder().matches(open_on_disk(copy)) is None


def test_a_folder_without_some_weights_is_broken(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    weights.pop("encoder.layer.0.output.dense.weight")
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelBroken, match="1 weights are missing"):
        FAMILY.load(entry(copy, FAMILY), device())


def test_a_pooler_may_be_missing(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    wanted = vectors(copy)
    weights = load_file(copy / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith("pooler.")}
    assert len(kept) < len(weights)
    save_file(kept, copy / "model.safetensors", metadata={"format": "pt"})
    close(vectors(copy), wanted)
