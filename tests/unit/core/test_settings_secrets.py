from __future__ import annotations

from onebox.core.settings import load_settings
from onebox.core.settings_secrets import without_secrets

PLAIN = {"PATH": "/bin", "HF_HOME": "/models", "ONEBOX_PLUGINS": "ours", "ONEBOX_COMPAT": "photo"}
SECRET = {
    "API_KEYS": "key-one,key-two",
    "ONEBOX_ADMIN_KEYS": "admin-key",
    "SECRET_KEY": "signs-tokens",
    "ONEBOX_DATABASE_URL": "postgresql://us:password@host/name",
    "ONEBOX_WEBHOOK_SECRET": "whsec_c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0",
    "API_KEY": "familiar-key",
    "PROVIDER_KEY": "of-an-upstream",
}
UPSTREAM = """
[[upstream]]
kind = "openai"
name = "far"
base_url = "https://far.example/v1"
api_key_env = "PROVIDER_KEY"

[upstream.models]
big = {model = "big", tasks = ["chat"]}
"""


def test_processes_of_models_get_no_secret(monkeypatch, tmp_path):
    (tmp_path / "onebox.toml").write_text(UPSTREAM)
    monkeypatch.setenv("ONEBOX_ROOT", str(tmp_path))
    for name, value in (PLAIN | SECRET).items():
        monkeypatch.setenv(name, value)
    kept = without_secrets(PLAIN | SECRET, load_settings())
    assert kept == PLAIN


def test_nothing_is_withheld_without_a_secret(monkeypatch, tmp_path):
    monkeypatch.setenv("ONEBOX_ROOT", str(tmp_path))
    assert without_secrets(PLAIN | {"OTHER_API_KEY": "of somebody"}, load_settings()) == {
        **PLAIN,
        "OTHER_API_KEY": "of somebody",
    }
