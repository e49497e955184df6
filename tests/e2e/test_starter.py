"""The starter model as a person gets it: pulled, converted, listed."""

from __future__ import annotations

import json
import tomllib

from onebox.starter.catalogue import SMOLLM2
from tests.e2e.test_server import command
from tests.support.starter import smollm2_folder

WANTED = {
    "model.safetensors",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "LICENSE",
    "onebox.toml",
}


def test_the_starter_is_a_whole_model_folder_and_nothing_is_left_beside_it() -> None:
    models = smollm2_folder()
    folder = models / SMOLLM2.folder
    assert {path.name for path in folder.iterdir()} == WANTED
    assert [path.name for path in models.iterdir() if not path.name.startswith(".")] == [
        SMOLLM2.folder
    ]
    assert tomllib.loads((folder / "onebox.toml").read_text()) == {"licence": "Apache-2.0"}
    config = json.loads((folder / "config.json").read_text())
    assert (config["model_type"], config["num_hidden_layers"]) == ("llama", 30)
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == [2]


def test_the_starter_is_listed_with_its_tasks_and_its_licence() -> None:
    models = smollm2_folder()
    done = command("list", MODEL_DIRS=str(models), DATA_DIR=str(models.parent / "data"))
    name, digest, _, status, tasks, licence = done.stdout.strip().split("\t")
    assert (name, status, licence) == (SMOLLM2.folder, "ready", "Apache-2.0")
    assert len(digest) == 12
    assert "chat" in tasks.split(", ")
