"""Family `cross_encoder` on tiny random models, against plain transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from onebox.core.errors import ModelBroken
from onebox.families.cross_encoder import CrossEncoder
from onebox.registry.on_disk import open_on_disk
from onebox.tasks.rerank import Rerank
from tests.families import tiny_encoders as tiny
from tests.families.encoders import entry, run
from tests.families.languages import device

FAMILY = CrossEncoder()
QUERY = "the big dog"
DOCUMENTS = ["the cat sat on the mat", "a dog", "very very big : the dog ran home", "a dog"]


def model(folder: Path, kind: str = "bert", labels: int = 1) -> Path:
    from transformers import AutoModelForSequenceClassification

    config = tiny.config(kind, num_labels=labels)
    return tiny.save(AutoModelForSequenceClassification.from_config(config), folder)


def rerank(folder: Path, **values: Any) -> dict[int, float]:
    """Scores by index, best first."""
    found = entry(folder, FAMILY)
    bundle = FAMILY.load(found, device())
    answer = run(Rerank(), bundle, found, query=QUERY, documents=DOCUMENTS, **values)
    return {item["index"]: item["relevance_score"] for item in answer["results"]}


@pytest.mark.parametrize(
    "kind", ["bert", "roberta", "mpnet", "distilbert", "modernbert", "electra"]
)
def test_scores_are_the_library_s_through_a_sigmoid(tmp_path: Path, kind: str) -> None:
    import torch

    folder = model(tmp_path / kind, kind)
    wanted = torch.sigmoid(torch.tensor(tiny.scores(folder, QUERY, DOCUMENTS))).tolist()
    got = rerank(folder)
    assert [got[index] for index in range(len(DOCUMENTS))] == pytest.approx(wanted, abs=1e-5)
    assert list(got.values()) == sorted(got.values(), reverse=True)
    # Of equal ones the first comes first.
    assert list(got).index(1) < list(got).index(3)


def test_top_n_gives_only_the_best(tmp_path: Path) -> None:
    folder = model(tmp_path / "bert")
    every = rerank(folder)
    assert list(rerank(folder, top_n=2).items()) == list(every.items())[:2]


@pytest.mark.parametrize("place", ["config.json", "config_sentence_transformers.json"])
def test_the_folder_says_what_makes_a_score_of_the_number(tmp_path: Path, place: str) -> None:
    folder = model(tmp_path / "bert")
    name = "torch.nn.modules.linear.Identity"
    if place == "config.json":
        config = json.loads((folder / place).read_text())
        tiny.write(folder / place, {**config, "sentence_transformers": {"activation_fn": name}})
    else:
        tiny.write(folder / place, {"activation_fn": name})
    got = rerank(folder)
    wanted = tiny.scores(folder, QUERY, DOCUMENTS)
    assert [got[index] for index in range(len(DOCUMENTS))] == pytest.approx(wanted, abs=1e-4)


def test_a_model_of_several_labels_ranks_nothing(tmp_path: Path) -> None:
    assert FAMILY.matches(open_on_disk(model(tmp_path / "bert", labels=3))) is None


def test_an_unknown_activation_is_refused_by_name(tmp_path: Path) -> None:
    folder = model(tmp_path / "bert")
    tiny.write(folder / "config_sentence_transformers.json", {"activation_fn": "evil.Evil"})
    with pytest.raises(ModelBroken, match=r"activation evil\.Evil"):
        FAMILY.matches(open_on_disk(folder))


def test_pairs_that_are_too_long_are_cut_as_the_library_cuts_them(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = model(tmp_path / "bert")
    query, documents = "the big cat " * 9, ["a dog ran " * 20, "the mat " * 5]
    found = entry(folder, FAMILY)
    bundle = FAMILY.load(found, device())
    answer = run(Rerank(), bundle, found, query=query, documents=documents, truncate=True)
    got = {item["index"]: item["relevance_score"] for item in answer["results"]}
    tokens = AutoTokenizer.from_pretrained(folder)
    library = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    for index, document in enumerate(documents):
        inputs = tokens(
            query, document, truncation=True, max_length=tiny.POSITIONS, return_tensors="pt"
        )
        with torch.inference_mode():
            wanted = float(torch.sigmoid(library(**inputs).logits)[0, 0])
        assert got[index] == pytest.approx(wanted, abs=1e-5)
