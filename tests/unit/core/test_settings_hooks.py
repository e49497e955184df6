"""Settings of hooks that a server does not start with, and what is said of them."""

from __future__ import annotations

import pytest

from onebox.core.errors import ConfigurationError
from onebox.core.settings import load_settings

URLS = {
    "auth_verify_url": "ONEBOX_AUTH_VERIFY_URL",
    "credit_check_url": "ONEBOX_CREDIT_CHECK_URL",
    "usage_webhook_url": "ONEBOX_USAGE_WEBHOOK_URL",
}


def test_hooks_are_off(tmp_path):
    settings = load_settings(root=tmp_path)
    assert [getattr(settings, name) for name in URLS] == [None, None, None]
    assert (settings.auth_verify_fail, settings.credit_check_fail) == ("closed", "closed")
    assert settings.auth_verify_scopes == ("infer",)


def test_an_empty_variable_leaves_a_hook_off(tmp_path, monkeypatch):
    for name in URLS.values():
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("ONEBOX_HOOK_KEY", "")
    settings = load_settings(root=tmp_path)
    assert [getattr(settings, name) for name in (*URLS, "hook_key")] == [None] * 4


@pytest.mark.parametrize(
    "url",
    [
        "http://backend:8000/api/v1/auth/verify/",
        "https://backend.example.com/verify?tenant=1",
        "http://127.0.0.1:9/",
        "http://[::1]:9/verify",
    ],
)
@pytest.mark.parametrize("field", URLS)
def test_any_address_may_be_the_operators(tmp_path, field, url):
    assert getattr(load_settings(root=tmp_path, **{field: url}), field) == url


@pytest.mark.parametrize(
    "url",
    [
        "backend.example.com/verify?k=secret",
        "ftp://backend/secret",
        "https:///secret",
        "https://me:secret@backend/",
        "https://backend/#secret",
        "https://backend/a secret",
        "https://backend:99999/secret",
        "https://[::1/secret",
        "https://bäckend/secret",
        "https://backend/\\secret",
        "https://backend/" + "secret" * 400,
    ],
)
@pytest.mark.parametrize(("field", "name"), URLS.items())
def test_what_is_no_address_is_refused_by_its_name_and_without_its_secrets(
    tmp_path, field, name, url
):
    with pytest.raises(ConfigurationError, match=rf"^{name}.*https://backend") as caught:
        load_settings(root=tmp_path, **{field: url})
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("key", ["two words", "a\nb", "schlüssel"])
def test_a_key_that_no_header_can_carry_is_refused_unquoted(tmp_path, key):
    with pytest.raises(ConfigurationError, match=r"^ONEBOX_HOOK_KEY") as caught:
        load_settings(root=tmp_path, hook_key=key)
    assert key not in caught.value.message


def test_a_scope_that_there_is_not_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match=r"^ONEBOX_AUTH_VERIFY_SCOPES=root.*infer"):
        load_settings(root=tmp_path, auth_verify_scopes="infer,root")
