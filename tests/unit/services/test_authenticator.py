from __future__ import annotations

import base64
import json
import stat
import time

import pytest
from jose import jwt
from pydantic import SecretStr

from onebox.core.errors import Forbidden, InvalidInput, Unauthorized
from onebox.services.access.authenticator import Authenticator
from onebox.services.access.caller import SCOPES, Caller
from onebox.services.access.tokens.tokens import TokenRules, Tokens
from onebox.services.secret_files import read_secret, stored_secret

SECRET = "a secret of thirty-two characters"
INFER = frozenset({"infer"})


def authenticator(*, secret: str | None = SECRET, **rules) -> Authenticator:
    return Authenticator(
        api_keys=[SecretStr("user-key"), SecretStr("schlüssel")],
        admin_keys=[SecretStr("admin-key")],
        tokens=Tokens(None if secret is None else SecretStr(secret), rules=TokenRules(**rules)),
    )


def token(secret: str = SECRET, algorithm: str = "HS256", **claims) -> str:
    claims = {"sub": "u", "exp": int(time.time()) + 3600, **claims}
    left = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(left, secret, algorithm=algorithm)


def unsigned(header: str) -> str:
    claims = json.dumps({"sub": "u", "exp": 2**33, "scope": "admin"})
    parts = [base64.urlsafe_b64encode(p.encode()).rstrip(b"=").decode() for p in (header, claims)]
    return ".".join([*parts, ""])


@pytest.mark.parametrize(
    ("header", "scopes"),
    [
        ("Bearer user-key", INFER),
        ("bearer  user-key ", INFER),
        ("Bearer schlüssel", INFER),
        ("Bearer admin-key", SCOPES),
    ],
)
def test_a_key_gives_its_scopes_and_an_id_that_is_not_the_key(header, scopes):
    caller = authenticator().authenticate(header)
    assert caller.scopes == scopes
    assert caller.id.startswith("key:")
    assert "key" not in caller.id.removeprefix("key:")


@pytest.mark.parametrize(
    "header",
    [
        *(
            None,
            "",
            "Bearer",
            "Bearer ",
            "Bearer  ",
            "user-key",
            "Basic user-key",
            "Token user-key",
        ),
        *(
            "Bearer user-ke",
            "Bearer user-key2",
            "Bearer USER-KEY",
            "Bearer wrong",
            "Bearer ser-key",
        ),
        *("Bearer user-key,admin-key", "Bearer user-key admin-key", "Bearer user-key\0"),
        *("Bearer ключ", "Bearer \udcff\ud800", "Bearer a.b.c", "Bearer ..", "Bearer ключ.ключ.x"),
        "Bearer " + "x" * 8193,
        "Bearer " + "x" * 10_000_000,
    ],
    ids=lambda header: repr(header)[:24],
)
@pytest.mark.parametrize("secret", [SECRET, None])
def test_anything_else_is_refused(header, secret):
    with pytest.raises(Unauthorized):
        authenticator(secret=secret).authenticate(header)


def test_a_server_without_keys_lets_nobody_in():
    nobody = Authenticator(api_keys=[], admin_keys=[])
    for header in (None, "Bearer", "Bearer x", "Bearer None", f"Bearer {token()}"):
        with pytest.raises(Unauthorized):
            nobody.authenticate(header)


def test_an_empty_key_opens_nothing():
    careless = Authenticator(api_keys=[SecretStr("")], admin_keys=[SecretStr("")])
    for header in ("", "Bearer", "Bearer ", "Bearer  "):
        with pytest.raises(Unauthorized):
            careless.authenticate(header)


def test_an_empty_secret_key_signs_nothing():
    careless = authenticator(secret="")
    forged = token(secret="", scope="admin")
    with pytest.raises(Unauthorized):
        careless.authenticate(f"Bearer {forged}")
    with pytest.raises(InvalidInput):
        careless.sign("u", ["infer"], 60)


@pytest.mark.parametrize(
    ("claim", "scopes"),
    [
        ({}, INFER),
        ({"scope": "infer manage"}, {"infer", "manage"}),
        ({"scope": ["admin", "infer"]}, {"admin", "infer"}),
        ({"scope": "root admin2 ADMIN"}, set()),
        ({"scope": ""}, set()),
        ({"scope": 7}, set()),
        ({"scope": {"admin": True}}, set()),
        ({"scope": [["admin"], 1, "manage"]}, {"manage"}),
    ],
)
def test_a_token_gives_the_known_scopes_of_its_claim(claim, scopes):
    caller = authenticator().authenticate(f"Bearer {token(**claim)}")
    assert (caller.id, caller.scopes) == ("jwt:u", scopes)


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(lambda: token(exp=int(time.time()) - 1), id="expired"),
        pytest.param(lambda: token(exp=None), id="never expires"),
        pytest.param(lambda: token(exp="soon"), id="expiry is no number"),
        pytest.param(lambda: token(nbf=int(time.time()) + 600), id="not yet"),
        pytest.param(lambda: token(secret="another secret"), id="other secret"),
        pytest.param(lambda: token(algorithm="HS512"), id="HS512"),
        pytest.param(lambda: token(algorithm="HS384"), id="HS384"),
        pytest.param(lambda: token()[:-2], id="signature cut"),
        pytest.param(lambda: token().rsplit(".", 1)[0] + ".", id="no signature"),
        pytest.param(lambda: unsigned('{"alg":"none","typ":"JWT"}'), id="alg none"),
        pytest.param(lambda: unsigned('{"alg":"None"}'), id="alg None"),
        pytest.param(lambda: unsigned('{"alg":"HS256"}'), id="alg HS256 unsigned"),
        pytest.param(lambda: unsigned('{"alg":["HS256"]}'), id="alg list"),
        pytest.param(lambda: unsigned("[]"), id="header list"),
        pytest.param(lambda: unsigned("{}"), id="header empty"),
        pytest.param(lambda: unsigned("[" * 5000), id="header nested"),
    ],
)
def test_a_bad_token_is_refused(bad):
    with pytest.raises(Unauthorized):
        authenticator().authenticate(f"Bearer {bad()}")


def test_without_a_secret_key_every_token_is_refused():
    with pytest.raises(Unauthorized):
        authenticator(secret=None).authenticate(f"Bearer {token()}")


@pytest.mark.parametrize(
    ("claims", "good"),
    [
        ({"aud": "onebox", "iss": "us"}, True),
        ({"aud": "other", "iss": "us"}, False),
        ({"aud": "onebox", "iss": "other"}, False),
        ({"iss": "us"}, False),
        ({"aud": "onebox"}, False),
    ],
)
def test_audience_and_issuer_must_be_there_and_right_if_set(claims, good):
    strict = authenticator(audience="onebox", issuer="us")
    if good:
        assert strict.authenticate(f"Bearer {token(**claims)}").id == "jwt:u"
    else:
        with pytest.raises(Unauthorized):
            strict.authenticate(f"Bearer {token(**claims)}")


def test_a_token_of_ours_works_and_expires():
    ours = authenticator(audience="onebox", issuer="us")
    caller = ours.authenticate(f"Bearer {ours.sign('ada', ['infer', 'manage'], 60)}")
    assert caller == Caller("jwt:ada", frozenset({"infer", "manage"}))
    with pytest.raises(Unauthorized):
        ours.authenticate(f"Bearer {ours.sign('ada', ['infer'], -60)}")


def test_unknown_scopes_are_not_signed():
    with pytest.raises(InvalidInput, match="root"):
        authenticator().sign("ada", ["root"], 60)


@pytest.mark.parametrize(
    ("scopes", "needed", "allowed"),
    [
        (INFER, "infer", True),
        (INFER, "manage", False),
        (INFER, "admin", False),
        ({"manage"}, "infer", False),
        ({"admin"}, "manage", True),
        (set(), "infer", False),
    ],
)
def test_a_caller_may_do_what_its_scopes_say(scopes, needed, allowed):
    caller = Caller("x", frozenset(scopes))
    if allowed:
        caller.require(needed)
    else:
        with pytest.raises(Forbidden, match=needed):
            caller.require(needed)


def test_a_stored_secret_is_made_once_and_private(tmp_path):
    assert read_secret(tmp_path / "key") is None
    first = stored_secret(tmp_path / "key", "ob-")
    assert stored_secret(tmp_path / "key", "ob-") == read_secret(tmp_path / "key") == first
    assert first.startswith("ob-")
    assert len(first) > 40
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) & 0o077 == 0
