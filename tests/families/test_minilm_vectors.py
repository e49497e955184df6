"""The vectors of all-MiniLM-L6-v2 are those that sentence-transformers made of the same texts."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onebox.families.text_encoder import TextEncoder
from onebox.starter.catalogue import MINILM
from onebox.tasks.embeddings import Embeddings
from tests.families.encoders import entry, run
from tests.families.languages import device
from tests.support.starter import minilm_folder

FAMILY = TextEncoder()
STORED = Path(__file__).parents[1] / "data" / "minilm_vectors.json"


@pytest.fixture(scope="module")
def minilm() -> Path:
    """The real weights."""
    return minilm_folder() / MINILM.folder


def vectors(folder: Path, texts: list[str], **overrides: Any) -> Any:
    found = entry(folder, FAMILY, **overrides)
    bundle = FAMILY.load(found, device("bfloat16"))
    answer = run(Embeddings(), bundle, found, inputs=texts, truncate=True)
    return np.array([item["embedding"] for item in answer["data"]], np.float32)


def test_vectors_equal_those_of_sentence_transformers(minilm: Path) -> None:
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    wanted = np.array([np.frombuffer(base64.b64decode(v), "<f4") for v in stored["vectors"]])
    got = vectors(minilm, stored["texts"])
    assert np.abs(got - wanted).max() < 1e-5
    assert np.allclose(np.linalg.norm(got, axis=1), 1.0, atol=1e-5)
    near = (vectors(minilm, stored["texts"], dtype="bfloat16") * wanted).sum(axis=1)
    assert near.min() >= 0.9999
