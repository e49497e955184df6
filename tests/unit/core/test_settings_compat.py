"""The names that other servers have for settings, with their family of routes on."""

from __future__ import annotations

import os

import pytest

from onebox.core.errors import ConfigurationError
from onebox.core.settings import load_settings
from onebox.core.settings_compat import FAMILIES, HOOKS
from onebox.core.settings_forms import PREFIX
from tests.unit.api.familiar import row

NAMES = [name for names in FAMILIES.values() for name in names]
PLAIN = ["HOST", "PORT", "CORS_ORIGINS", "API_KEYS", "MODEL_DIRS", "SECRET_KEY"]
UPSTREAM = """
[[upstream]]
name = "hub"
kind = "%s"
base_url = "https://hub.example"
%s
[upstream.models.big]
model = "big/model"
"""


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """A project root of our own, and nothing of this machine's environment."""
    for name in os.environ:
        if name.startswith(PREFIX) or name in (*NAMES, *PLAIN):
            monkeypatch.delenv(name)
    monkeypatch.setenv("ONEBOX_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture
def set_to(monkeypatch):
    """Sets variables, with the family on; nothing turns it off again."""

    def put(family: str, **values: str):
        monkeypatch.setenv("ONEBOX_COMPAT", family)
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        return load_settings()

    return put


@row("studio", "ALLOWED_ORIGINS")
def test_origins(set_to):
    told = set_to("studio", ALLOWED_ORIGINS="http://a, http://b").cors_origins
    assert told == ("http://a", "http://b")


@row("studio", "REQUEST_TIMEOUT")
def test_the_time_limit(set_to):
    assert set_to("studio", REQUEST_TIMEOUT="60").request_timeout == 60


@row("studio", "HF_API_KEY")
def test_the_key_of_hugging_face(set_to, root):
    (root / "onebox.toml").write_text(UPSTREAM % ("hf", ""))
    assert set_to("studio").upstream[0].api_key_env is None
    assert set_to("studio", HF_API_KEY="hf_secret").upstream[0].api_key_env == "HF_API_KEY"
    (root / "onebox.toml").write_text(UPSTREAM % ("hf", 'api_key_env = "OWN"'))
    assert load_settings().upstream[0].api_key_env == "OWN"
    (root / "onebox.toml").write_text(UPSTREAM % ("openai", ""))
    assert load_settings().upstream[0].api_key_env is None


@row("generate", "API_HOST")
def test_the_address(set_to):
    assert set_to("generate", API_HOST="0.0.0.0").host == "0.0.0.0"


@row("generate", "API_PORT")
def test_the_port(set_to):
    assert set_to("generate", API_PORT="8123").port == 8123


@row("generate", "DEFAULT_MODEL")
def test_the_model_of_prompts(set_to):
    settings = set_to("generate", DEFAULT_MODEL="gpt-4o-mini")
    assert (settings.compat_model, settings.default_models) == ("gpt-4o-mini", {})


@row("generate", "DEFAULT_TEMPERATURE")
def test_the_temperature_of_prompts(set_to):
    assert set_to("generate", DEFAULT_TEMPERATURE="0.7").compat_temperature == 0.7


@row("generate", "DEFAULT_MAX_TOKENS")
def test_the_length_of_answers(set_to):
    assert set_to("generate", DEFAULT_MAX_TOKENS="1000").compat_max_tokens == 1000


@row("photo", "API_KEY")
def test_one_more_key(set_to):
    settings = set_to("photo", API_KEY="extra", API_KEYS="one,two")
    assert [key.get_secret_value() for key in settings.api_keys] == ["one", "two", "extra"]
    assert "extra" not in repr(settings)


@row("photo", "MODEL_PATH")
def test_a_checkpoint_or_a_folder_of_some(set_to, root):
    file, folder = root / "models" / "sd.safetensors", root / "models" / "pipeline"
    folder.mkdir(parents=True)
    file.touch()
    for path, model_dir, model in (
        (file, file.parent, "sd.safetensors"),
        (folder, folder, None),
    ):
        settings = set_to("photo", MODEL_PATH=str(path))
        assert settings.model_dirs == (root / "ai-models", model_dir)
        assert settings.background_model == model
    (folder / "model_index.json").touch()
    settings = set_to("photo", MODEL_PATH="models/pipeline")
    assert settings.model_dirs == (root / "ai-models", folder.parent)
    assert settings.background_model == "pipeline"


def test_a_checkpoint_among_the_others_adds_no_folder(set_to, root):
    (root / "ai-models" / "sd").mkdir(parents=True)
    (root / "ai-models" / "sd" / "model_index.json").touch()
    settings = set_to("photo", MODEL_PATH="ai-models/sd", MODEL_DIRS="ai-models,more,./ai-models")
    assert settings.model_dirs == (root / "ai-models", root / "more")


def test_a_path_that_is_not_there_is_refused(set_to):
    with pytest.raises(ConfigurationError, match=r"MODEL_PATH=/nowhere/sd is not there; name"):
        set_to("photo", MODEL_PATH="/nowhere/sd")


@row("tryon", "BACKEND_URL")
def test_the_backend_has_three_routes(set_to):
    settings = set_to("tryon", BACKEND_URL="http://127.0.0.1:9000/")
    assert settings.auth_verify_url == "http://127.0.0.1:9000/api/v1/auth/verify/"
    assert settings.credit_check_url == "http://127.0.0.1:9000/api/v1/credits/check/"
    assert settings.usage_webhook_url == "http://127.0.0.1:9000/api/v1/inference/webhook/"
    assert settings.familiar_hooks == set(HOOKS)


def test_each_route_of_the_backend_can_be_another_of_our_own(set_to):
    own = {"ONEBOX_CREDIT_CHECK_URL": "http://127.0.0.1:9001/credits"}
    settings = set_to("tryon", BACKEND_URL="http://127.0.0.1:9000", **own)
    assert settings.credit_check_url == "http://127.0.0.1:9001/credits"
    assert settings.auth_verify_url == "http://127.0.0.1:9000/api/v1/auth/verify/"
    assert settings.familiar_hooks == {"auth_verify_url", "usage_webhook_url"}


def test_hooks_of_our_own_are_not_familiar(set_to):
    own = {"ONEBOX_AUTH_VERIFY_URL": "http://127.0.0.1:9000/api/v1/auth/verify/"}
    assert set_to("tryon", **own).familiar_hooks == set()


def test_an_empty_url_hides_no_backend(set_to):
    settings = set_to("tryon", BACKEND_URL="http://h", ONEBOX_CREDIT_CHECK_URL="")
    assert settings.credit_check_url == "http://h/api/v1/credits/check/"


def test_a_backend_that_is_no_url_is_refused_without_what_it_may_hold(set_to):
    with pytest.raises(ConfigurationError) as caught:
        set_to("tryon", BACKEND_URL="ftp://user:secret@shop")
    assert "ONEBOX_COMPAT_BACKEND_URL" in caught.value.message
    assert "secret" not in caught.value.message


@row("tryon", "SERVICE_NAME")
def test_the_name_of_the_service(set_to):
    assert load_settings().service_name is None
    assert set_to("tryon", SERVICE_NAME="try-on").service_name == "try-on"


@pytest.mark.parametrize("on", ["", *FAMILIES])
def test_the_names_of_families_that_are_off_mean_nothing(set_to, on):
    other = {name: "1" for family in FAMILIES if family != on for name in FAMILIES[family]}
    assert set_to(on, **other) == set_to(on)
    plain = {**other, "MODEL_PATH": "/nowhere", "BACKEND_URL": "no url", "API_PORT": "no port"}
    own = set(FAMILIES.get(on, ()))
    assert set_to(on, **{name: v for name, v in plain.items() if name not in own}).port == 8000


@pytest.mark.parametrize("own", ["PORT", "ONEBOX_PORT"])
def test_our_names_win_from_the_same_place(set_to, root, own):
    assert set_to("generate", API_PORT="1", **{own: "2"}).port == 2


@pytest.mark.parametrize("own", ["PORT", "ONEBOX_PORT"])
def test_they_work_in_the_env_file(root, own):
    (root / ".env").write_text("ONEBOX_COMPAT=generate\nAPI_PORT=7\n")
    assert load_settings().port == 7
    (root / ".env").write_text(f"ONEBOX_COMPAT=generate\nAPI_PORT=7\n{own}=8\n")
    assert load_settings().port == 8


def test_the_environment_beats_the_env_file_and_that_the_toml_file(set_to, root):
    (root / ".env").write_text("ONEBOX_PORT=2\n")
    (root / "onebox.toml").write_text('port = 3\nrequest_timeout = 5\ncompat = ["studio"]\n')
    assert set_to("generate,studio", API_PORT="1", REQUEST_TIMEOUT="6").port == 1
    assert load_settings().request_timeout == 6


def test_families_may_stand_in_the_toml_file(root, monkeypatch):
    monkeypatch.setenv("API_PORT", "9")
    (root / "onebox.toml").write_text('compat = ["generate"]\n')
    assert (load_settings().compat, load_settings().port) == (("generate",), 9)


def test_an_empty_one_is_not_set(set_to):
    settings = set_to("photo,generate", API_KEY="", MODEL_PATH="", API_PORT="")
    assert (settings.api_keys, settings.background_model, settings.port) == ((), None, 8000)


@pytest.mark.parametrize("given", ["nothing", "studio,nothing"])
def test_an_unknown_family_is_refused_with_those_that_there_are(set_to, given):
    with pytest.raises(ConfigurationError) as caught:
        set_to(given)
    assert caught.value.message == (
        "ONEBOX_COMPAT=nothing: there is no such family of routes; there are studio, generate, "
        "photo, tryon"
    )


def test_a_wrong_value_is_refused_under_our_name(set_to):
    with pytest.raises(ValueError, match="COMPAT_TEMPERATURE"):
        set_to("generate", DEFAULT_TEMPERATURE="9")


def test_none_is_on_by_default():
    assert load_settings().compat == ()
