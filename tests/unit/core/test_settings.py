from __future__ import annotations

import os

import pytest
from pydantic import ValidationError

from onebox.core.default_aliases import DEFAULT_ALIASES
from onebox.core.settings import Settings, load_settings
from onebox.core.settings_forms import PREFIX

NAMES = (
    "SECRET_KEY API_KEYS HOST PORT CORS_ORIGINS MODEL_DIRS MODEL_SCAN_INTERVAL "
    "DEFAULT_INFERENCE_STEPS DEFAULT_GUIDANCE_SCALE LOG_LEVEL DATA_DIR"
)
PLAIN = NAMES.split()


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """A project root of our own, and nothing of this machine's environment."""
    for name in os.environ:
        if name.startswith(PREFIX) or name in PLAIN:
            monkeypatch.delenv(name)
    monkeypatch.setenv("ONEBOX_ROOT", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "text", "field", "expected"),
    [
        ("HOST", "0.0.0.0", "host", "0.0.0.0"),
        ("PORT", "9001", "port", 9001),
        ("CORS_ORIGINS", "https://a, https://b,", "cors_origins", ("https://a", "https://b")),
        ("MODEL_SCAN_INTERVAL", "2.5", "model_scan_interval", 2.5),
        ("DEFAULT_INFERENCE_STEPS", "4", "default_inference_steps", 4),
        ("DEFAULT_GUIDANCE_SCALE", "1", "default_guidance_scale", 1.0),
        ("LOG_LEVEL", "DEBUG", "log_level", "DEBUG"),
    ],
)
@pytest.mark.parametrize("prefix", ["", PREFIX])
def test_well_known_settings_have_a_plain_name_and_one_with_the_prefix(
    monkeypatch, prefix, name, text, field, expected
):
    monkeypatch.setenv(prefix + name, text)
    assert getattr(load_settings(), field) == expected


def test_other_settings_need_the_prefix(monkeypatch):
    monkeypatch.setenv("MAX_QUEUE", "3")
    assert load_settings().max_queue == 256
    monkeypatch.setenv("ONEBOX_MAX_QUEUE", "4")
    assert load_settings().max_queue == 4


def test_the_prefixed_name_wins(monkeypatch):
    monkeypatch.setenv("PORT", "1")
    monkeypatch.setenv("ONEBOX_PORT", "2")
    assert load_settings().port == 2


@pytest.mark.parametrize("in_env", ["PORT", "ONEBOX_PORT"])
@pytest.mark.parametrize("in_file", ["PORT", "ONEBOX_PORT"])
def test_the_environment_beats_the_env_file(monkeypatch, root, in_env, in_file):
    (root / ".env").write_text(f"{in_file}=2\n")
    assert load_settings().port == 2
    monkeypatch.setenv(in_env, "1")
    assert load_settings().port == 1


@pytest.mark.parametrize("in_file", ["PORT", "ONEBOX_PORT"])
def test_the_env_file_beats_the_toml_file(root, in_file):
    (root / "onebox.toml").write_text("port = 3\nmax_queue = 9\n")
    assert load_settings().port == 3
    (root / ".env").write_text(f"{in_file}=2\n")
    assert (load_settings().port, load_settings().max_queue) == (2, 9)


@pytest.mark.parametrize("name", ["PORT", "ONEBOX_PORT"])
def test_what_the_command_line_says_beats_everything(monkeypatch, root, name):
    (root / "onebox.toml").write_text("port = 3\n")
    (root / ".env").write_text("PORT=2\n")
    monkeypatch.setenv(name, "1")
    assert load_settings(port=9).port == 9


def test_lists_in_toml_are_lists(root):
    (root / "onebox.toml").write_text('model_dirs = ["a", "b"]\ndevice = ["cuda:0", "cuda:1"]\n')
    settings = load_settings()
    assert settings.model_dirs == (root / "a", root / "b")
    assert settings.device == ("cuda:0", "cuda:1")


def test_keys_are_a_list_and_do_not_show(monkeypatch):
    monkeypatch.setenv("API_KEYS", "one, two,,")
    settings = load_settings()
    assert [key.get_secret_value() for key in settings.api_keys] == ["one", "two"]
    assert "two" not in repr(settings)


def test_relative_paths_start_at_the_root(monkeypatch, root):
    monkeypatch.setenv("MODEL_DIRS", "models,/srv/models")
    settings = load_settings()
    assert [str(path) for path in settings.model_dirs] == [str(root / "models"), "/srv/models"]
    assert settings.data_dir == root / ".onebox"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("ONEBOX_DEFAULT_TEXT_TO_IMAGE", "sd", {"text-to-image": "sd"}),
        ("ONEBOX_DEFAULT_MODELS", "chat=a, speech=b", {"chat": "a", "speech": "b"}),
        ("ONEBOX_DEFAULT_INFERENCE_STEPS", "9", {}),
    ],
)
def test_default_model_of_a_task(monkeypatch, name, text, expected):
    monkeypatch.setenv(name, text)
    assert load_settings().default_models == expected


def test_default_models_from_both_places_are_joined(monkeypatch):
    monkeypatch.setenv("ONEBOX_DEFAULT_MODELS", "chat=a,text-to-image=b")
    monkeypatch.setenv("ONEBOX_DEFAULT_TEXT_TO_IMAGE", "c")
    assert load_settings().default_models == {"chat": "a", "text-to-image": "c"}


def test_aliases_are_pairs(monkeypatch):
    monkeypatch.setenv("ONEBOX_MODEL_ALIASES", "whisper-1=whisper-base, x = y")
    assert load_settings().model_aliases["whisper-1"] == "whisper-base"
    assert DEFAULT_ALIASES["dall-e-3"] == "text-to-image"


@pytest.mark.parametrize(
    ("task", "names"),
    [
        ("transcription", "whisper-1 gpt-4o-transcribe gpt-4o-mini-transcribe"),
        ("speech", "tts-1 tts-1-hd gpt-4o-mini-tts"),
        ("text-to-image", "dall-e-2 gpt-image-1 gpt-image-1-mini gpt-image-2 chatgpt-image-latest"),
        (
            "embeddings",
            "text-embedding-3-small text-embedding-3-large text-embedding-ada-002",
        ),
    ],
)
def test_the_names_that_openais_clients_send_mean_the_tasks_default(task, names):
    assert {DEFAULT_ALIASES.get(name) for name in names.split()} == {task}


def test_settings_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        load_settings().port = 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PORT", "eighty"),
        ("ONEBOX_PORT", "70000"),
        ("LOG_LEVEL", "LOUD"),
        ("DEFAULT_INFERENCE_STEPS", "0"),
        ("ONEBOX_WORKER", "thread"),
        ("MODEL_SCAN_INTERVAL", "-1"),
    ],
)
def test_a_bad_value_names_its_setting(monkeypatch, name, text):
    monkeypatch.setenv(name, text)
    with pytest.raises(ValidationError) as caught:
        load_settings()
    [problem] = caught.value.errors()
    assert problem["loc"][0].removeprefix(PREFIX) == name.removeprefix(PREFIX)
    assert str(problem["input"]) == text


def test_every_setting_is_explained_for_the_readme():
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
