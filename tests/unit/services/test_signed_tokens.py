"""Tokens of identity providers: who is let in, and what an attacker tries."""

from __future__ import annotations

import asyncio
import hmac
import json
import time

import pytest
from jose import jwt
from pydantic import SecretStr

from onebox.core.errors import Unauthorized
from onebox.services.access.authenticator import Authenticator
from onebox.services.access.caller import Allowance
from onebox.services.access.tokens.signers import BadKeySet, parse_key_set
from onebox.services.access.tokens.sources import Found, Signers
from onebox.services.access.tokens.tokens import TokenRules, Tokens
from tests.unit.services import signing
from tests.unit.services.signing import AUDIENCE, ISSUER, handmade, public_jwk, public_pem, token

BOTH = ("RS256", "ES256")
RULES = TokenRules(audience=AUDIENCE, issuer=ISSUER, leeway_s=30)


class Nowhere:
    every_s = 60.0

    async def read(self):
        raise OSError("down")

    async def close(self):
        pass


def authenticator(*keys: dict, algorithms=BOTH, secret=None, rules=RULES) -> Authenticator:
    signers = Signers(Nowhere(), algorithms)
    if keys:
        signers.take(Found({"keys": list(keys)}))
    tokens = Tokens(secret and SecretStr(secret), rules=rules, signers=signers)
    return Authenticator(api_keys=(), admin_keys=(), tokens=tokens)


def known() -> Authenticator:
    return authenticator(public_jwk("RS256", "r"), public_jwk("ES256", "e"), secret="own secret")


def come_in(door: Authenticator, text: str):
    return door.authenticate(f"Bearer {text}")


@pytest.mark.parametrize(("algorithm", "name"), [("RS256", "r"), ("ES256", "e")])
def test_a_signed_token_lets_its_subject_in(algorithm, name):
    caller = come_in(known(), token(algorithm, name, scope="openid infer manage"))
    assert (caller.id, caller.scopes) == ("oidc:ada", {"infer", "manage"})


def test_subjects_of_others_are_not_those_of_our_own_tokens():
    own = jwt.encode(signing.full({}), "own secret", algorithm="HS256")
    assert come_in(known(), own).id == "jwt:ada"
    assert come_in(known(), token(name="r")).id == "oidc:ada"


def now(seconds: int) -> int:
    return int(time.time()) + seconds


BAD = {
    "expired": lambda: token(name="r", exp=now(-31)),
    "no exp": lambda: token(name="r", exp=None),
    "exp is no number": lambda: token(name="r", exp="soon"),
    "exp is endless": lambda: token(name="r", exp=float("inf")),
    "not yet": lambda: token(name="r", nbf=now(90)),
    "other audience": lambda: token(name="r", aud="other"),
    "no audience": lambda: token(name="r", aud=None),
    "other issuer": lambda: token(name="r", iss="https://evil.example"),
    "no issuer": lambda: token(name="r", iss=None),
    "no subject": lambda: token(name="r", sub=None),
    "empty subject": lambda: token(name="r", sub=""),
    "long subject": lambda: token(name="r", sub="x" * 256),
    "stranger's key": lambda: token(name="stranger", kid="r"),
    "key of the other type": lambda: token("ES256", "e", kid="r"),
    "unknown kid": lambda: token(name="r", kid="x"),
    "kid is no text": lambda: token(name="stranger", kid=["r"]),
    "algorithm that is not allowed": lambda: token("RS512", "r"),
    "curve that is not allowed": lambda: token("ES384", "e"),
    "none": lambda: handmade({"alg": "none", "kid": "r"}, {}),
    "None": lambda: handmade({"alg": "None", "kid": "r"}, {}),
    "no algorithm": lambda: handmade({"kid": "r"}, {}),
    "list of algorithms": lambda: handmade({"alg": ["RS256"], "kid": "r"}, {}),
    "empty signature": lambda: token(name="r").rpartition(".")[0] + ".",
    "changed": lambda: token(name="r")[:-6] + "AAAAAA",
    "critical header": lambda: jwt.encode(
        signing.full({}),
        signing.private_key("RS256", "r"),
        algorithm="RS256",
        headers={"kid": "r", "crit": ["b64"]},
    ),
    "key in the token": lambda: jwt.encode(
        signing.full({}),
        signing.private_key("RS256", "stranger"),
        algorithm="RS256",
        headers={"jwk": public_jwk("RS256", "stranger"), "jku": "https://evil.example"},
    ),
    "huge": lambda: token(name="r", pad="x" * 9000),
    "deep": lambda: handmade({"alg": "RS256", "kid": "r", "x": "[" * 3000}, {}),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_token_is_refused(bad):
    with pytest.raises(Unauthorized):
        come_in(known(), BAD[bad]())


@pytest.mark.parametrize("secret", ["own secret", None])
@pytest.mark.parametrize(
    "as_secret",
    [
        lambda: public_pem("RS256", "r").encode(),
        lambda: public_pem("RS256", "r").strip().encode(),
        lambda: json.dumps(public_jwk("RS256", "r")).encode(),
        lambda: public_jwk("RS256", "r")["n"].encode(),
        lambda: b"",
    ],
    ids=["pem", "stripped pem", "jwk", "modulus", "nothing"],
)
def test_a_public_key_is_never_the_secret_of_an_hmac(as_secret, secret):
    unsigned = handmade({"alg": "HS256", "kid": "r"}, {"scope": "admin"})[:-1]
    seal = hmac.new(as_secret(), unsigned.encode(), "sha256").digest()
    forged = unsigned + handmade("", {}, seal)[-44:].rpartition(".")[2]
    door = authenticator(public_jwk("RS256", "r"), secret=secret)
    with pytest.raises(Unauthorized):
        come_in(door, forged)


def test_clocks_may_differ_by_the_leeway():
    assert come_in(known(), token(name="r", exp=now(-15), nbf=now(15)))


def test_a_token_without_kid_is_taken_where_one_key_alone_may_have_signed_it():
    assert come_in(known(), token(name="r", kid=None)).id == "oidc:ada"
    two = authenticator(public_jwk("RS256", "r"), public_jwk("RS256", "s"))
    with pytest.raises(Unauthorized):
        come_in(two, token(name="r", kid=None))


@pytest.mark.parametrize(
    "member",
    [
        public_jwk("RS256", "tiny", bits=1024),
        {**public_jwk("RS256", "r"), "use": "enc"},
        {**public_jwk("RS256", "r"), "key_ops": ["encrypt"]},
        {**public_jwk("RS256", "r"), "key_ops": 5},
        {**public_jwk("RS256", "r"), "alg": "RS512"},
        {**public_jwk("RS256", "r"), "kty": "EC"},
        {**public_jwk("RS256", "r"), "kty": ["RSA"]},
        {**public_jwk("RS256", "r"), "n": "AQAB"},
        {**public_jwk("RS256", "r"), "e": None},
        {**public_jwk("RS256", "r"), "kid": 7},
        {**public_jwk("ES256", "e"), "crv": "P-384"},
        {**public_jwk("ES256", "e"), "x": "AAAA"},
        {"kty": "oct", "kid": "o", "k": "c2VjcmV0", "alg": "HS256"},
        "key",
    ],
    # Not by their contents, which are new in each process.
    ids=map(str, range(14)),
)
def test_a_bad_key_is_left_out_and_alone_is_no_set(member):
    with pytest.raises(BadKeySet):
        parse_key_set({"keys": [member]}, BOTH)
    good = parse_key_set({"keys": [member, public_jwk("ES256", "good")]}, BOTH)
    assert len(good.find("ES256", "good")) == 1
    assert sum(map(len, good.by_algorithm.values())) == 1


@pytest.mark.parametrize("document", [None, [], {}, {"keys": {}}, {"keys": [{}] * 101}])
def test_what_is_no_key_set_is_refused(document):
    with pytest.raises(BadKeySet):
        parse_key_set(document, BOTH)


def test_what_a_set_holds_of_a_private_key_is_not_kept():
    leaked = {**public_jwk("RS256", "r"), "d": "AQAB", "p": "AQAB"}
    (key,) = parse_key_set({"keys": [leaked]}, BOTH).find("RS256", "r")
    assert key.is_public()


LIMITS = {
    "onebox_models": "tiny-* clip",
    "onebox_requests_per_minute": 60,
    "onebox_tokens_per_minute": "1000",
    "onebox_max_concurrent": 2,
    "onebox_daily": {"pictures": 5},
    "onebox_monthly": {"credits": 1.5},
}


def test_claims_limit_the_caller():
    assert come_in(known(), token(name="r", **LIMITS)).allowance == Allowance(
        ("tiny-*", "clip"), 60, 1000, 2, {"pictures": 5.0}, {"credits": 1.5}
    )


@pytest.mark.parametrize(
    "claim",
    [
        {"onebox_models": 7},
        {"onebox_models": ["a", 7]},
        {"onebox_requests_per_minute": 0},
        {"onebox_requests_per_minute": -1},
        {"onebox_tokens_per_minute": True},
        {"onebox_tokens_per_minute": "many"},
        {"onebox_max_concurrent": 1.5},
        {"onebox_daily": {"unicorns": 1}},
        {"onebox_daily": [1]},
        {"onebox_monthly": {"pictures": -1}},
    ],
    ids=str,
)
def test_a_limit_that_cannot_be_read_lets_nobody_in(claim):
    (name,) = claim
    with pytest.raises(Unauthorized, match=name):
        come_in(known(), token(name="r", **claim))


def test_claims_may_be_called_otherwise_and_lie_deeper():
    rules = TokenRules(
        AUDIENCE,
        ISSUER,
        scope_claim="realm_access.roles",
        limit_claims={"models": "https://onebox.example/models"},
    )
    door = authenticator(public_jwk("RS256", "r"), rules=rules)
    claims = {
        "realm_access": {"roles": ["admin", "other"]},
        "https://onebox.example/models": ["a"],
        "scope": "manage",
    }
    caller = come_in(door, token(name="r", **claims))
    assert (caller.scopes, caller.allowance.models) == ({"admin"}, ("a",))


def test_a_former_secret_still_opens_and_signs_nothing():
    tokens = Tokens(SecretStr("new"), old_secret_keys=[SecretStr("old"), SecretStr("")])
    own = {"sub": "ada", "exp": now(60)}
    for secret in ("new", "old"):
        assert tokens.caller(jwt.encode(own, secret, algorithm="HS256")).id == "jwt:ada"
    with pytest.raises(Unauthorized):
        tokens.caller(jwt.encode(own, "older", algorithm="HS256"))
    with pytest.raises(Unauthorized):
        Tokens(SecretStr("old")).caller(tokens.sign("ada", ["infer"], 60))


def test_a_token_whose_signer_cannot_be_found_stays_refused():
    door = authenticator(public_jwk("RS256", "r"))
    header = f"Bearer {token(name='newcomer')}"
    assert not asyncio.run(door.learn_signer(header))
    assert not asyncio.run(door.learn_signer("Bearer no.token.here"))
    assert not asyncio.run(door.learn_signer("Bearer key"))
