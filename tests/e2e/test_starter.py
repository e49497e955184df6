"""The starter models as a person gets them: pulled, converted, listed."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from onebox.starter.catalogue import JOE, MINILM, SMOLLM2, U2NETP, WHISPER, Starter
from tests.e2e.test_server import command
from tests.support.starter import (
    minilm_folder,
    smollm2_folder,
    u2netp_folder,
    voice_folder,
    whisper_folder,
)

EVERY = {"model.safetensors", "config.json", "onebox.toml"}
TEXTS = {"tokenizer.json", "tokenizer_config.json"}
SENTENCES = {"modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"}
WANTED = {
    SMOLLM2.key: {*TEXTS, "generation_config.json", "chat_template.jinja", "LICENSE"},
    MINILM.key: {
        *TEXTS,
        *SENTENCES,
        "1_Pooling",
        "README.md",
        "special_tokens_map.json",
        "vocab.txt",
    },
    WHISPER.key: {*TEXTS, "generation_config.json", "preprocessor_config.json", "LICENSE"},
    JOE.key: {*TEXTS, "MODEL_CARD"},
    U2NETP.key: set(),
}
CASES = [
    pytest.param(starter, folder, id=starter.key)
    for starter, folder in (
        (SMOLLM2, smollm2_folder),
        (MINILM, minilm_folder),
        (WHISPER, whisper_folder),
        (U2NETP, u2netp_folder),
        (JOE, voice_folder),
    )
]


@pytest.mark.parametrize(("starter", "pulled"), CASES)
def test_a_starter_is_a_whole_model_folder_and_nothing_is_left_beside_it(
    starter: Starter, pulled: Callable[[], Path]
) -> None:
    models = pulled()
    folder = models / starter.folder
    names = {path.name for path in folder.iterdir()}
    assert names == EVERY | WANTED[starter.key]
    assert [path.name for path in models.iterdir() if not path.name.startswith(".")] == [
        starter.folder
    ]
    told = tomllib.loads((folder / "onebox.toml").read_text())
    assert told["licence"] == (starter.licence or "unclear")
    assert told.get("licence_note", "") == starter.licence_note


def test_the_chat_model_is_converted() -> None:
    folder = smollm2_folder() / SMOLLM2.folder
    config = json.loads((folder / "config.json").read_text())
    assert (config["model_type"], config["num_hidden_layers"]) == ("llama", 30)
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == [2]


@pytest.mark.parametrize(("starter", "pulled"), CASES)
def test_a_starter_is_listed_with_its_tasks_and_its_licence(
    starter: Starter, pulled: Callable[[], Path]
) -> None:
    models = pulled()
    done = command("list", MODEL_DIRS=str(models), DATA_DIR=str(models.parent / "data"))
    name, digest, _, status, tasks, licence = done.stdout.strip().split("\t")
    assert (name, status, licence) == (starter.folder, "ready", starter.licence or "unclear")
    assert len(digest) == 12
    assert starter.task in tasks.split(", ")
    if starter.licence_note:
        assert done.stderr.strip() == f"the licence of {starter.folder}: {starter.licence_note}"
    else:
        assert "licence" not in done.stderr
