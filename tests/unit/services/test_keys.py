"""Stored keys: what is kept of them, what they let in, and how their changes travel."""

from __future__ import annotations

import hashlib

import pytest
from sqlalchemy import text

from onebox.core.errors import InvalidInput, KeyNotFound, Unauthorized
from onebox.services.access.caller import Allowance
from onebox.services.access.keys.index import CALLER_PREFIX
from onebox.services.access.keys.keys import SHOWN_CHARS, is_any_usable
from tests.unit.services.keyring import NOW, keyring, run

LIMITS = Allowance(models=("tiny-*",), max_concurrent=2, daily={"pictures": 3.0})


@pytest.fixture
def ring(tmp_path):
    with keyring(tmp_path) as made:
        yield made


def create(ring, name="ada", **options):
    return run(lambda: ring.keys.create(name, **options))


def test_a_key_lets_its_caller_in_with_its_scopes_and_limits(ring):
    key, secret = create(ring, scopes=["infer", "manage"], allowance=LIMITS)
    caller = ring.find(secret)
    assert (caller.id, caller.allowance) == (CALLER_PREFIX + key.id, LIMITS)
    assert caller.scopes == {"infer", "manage"}
    assert ring.find(secret + "x") is None


def test_only_the_digest_and_the_beginning_of_a_secret_are_kept(ring, tmp_path):
    key, secret = create(ring)
    assert key.digest == hashlib.sha256(secret.encode()).hexdigest()
    assert (key.prefix, len(key.prefix)) == (secret[:SHOWN_CHARS], SHOWN_CHARS)
    assert len(secret) > SHOWN_CHARS + 30
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert key.prefix.encode() in written
    assert secret.encode() not in written
    assert secret not in repr(key)


def test_keys_are_there_when_another_server_starts(ring):
    _, secret = create(ring, allowance=LIMITS)
    ring.others.load()
    assert ring.others.index.find(secret).allowance == LIMITS


@pytest.mark.parametrize("change", ["revoke", "rotate", "update"])
def test_another_server_sees_a_change_when_it_looks(ring, change):
    key, secret = create(ring)
    run(ring.others.refresh)
    if change == "revoke":
        run(lambda: ring.others.revoke(key.id))
    elif change == "rotate":
        _, newer = run(lambda: ring.others.rotate(key.id, grace_s=0))
    else:
        run(lambda: ring.others.update(key.id, {"max_concurrent": 7}))
    assert ring.find(secret) is not None
    run(ring.keys.refresh)
    if change == "update":
        assert ring.find(secret).allowance.max_concurrent == 7
    else:
        assert ring.find(secret) is None
    if change == "rotate":
        assert ring.find(newer).id == CALLER_PREFIX + key.id


def test_a_change_that_is_read_late_does_not_bring_back_what_was(ring):
    key, secret = create(ring)
    before = ring.keys.index._by_id[key.id]
    run(lambda: ring.keys.revoke(key.id))
    ring.keys.index.put(before)
    assert ring.find(secret) is None


def test_a_key_expires(ring):
    _, secret = create(ring, expires_at=NOW + 10)
    assert ring.find(secret) is not None
    ring.now = NOW + 10
    with pytest.raises(Unauthorized, match="expired"):
        ring.find(secret)


def test_the_secret_before_works_until_its_grace_ends(ring):
    key, old = create(ring)
    _, new = run(lambda: ring.keys.rotate(key.id, grace_s=60))
    assert ring.find(old) == ring.find(new)
    ring.now += 60
    with pytest.raises(Unauthorized, match="replaced"):
        ring.find(old)
    assert ring.find(new).id == CALLER_PREFIX + key.id


def test_a_second_rotation_ends_the_first_secret(ring):
    key, first = create(ring)
    _, second = run(lambda: ring.keys.rotate(key.id, grace_s=60))
    run(lambda: ring.keys.rotate(key.id, grace_s=60))
    assert ring.find(first) is None
    assert ring.find(second) is not None


def test_a_grace_does_not_outlast_the_key(ring):
    key, old = create(ring, expires_at=NOW + 10)
    run(lambda: ring.keys.rotate(key.id, grace_s=600))
    ring.now += 10
    with pytest.raises(Unauthorized):
        ring.find(old)


def test_what_has_ended_is_not_rotated_and_stays_revoked(ring):
    key, secret = create(ring)
    first = run(lambda: ring.keys.revoke(key.id))
    ring.now += 5
    assert run(lambda: ring.keys.revoke(key.id)).revoked_at == first.revoked_at == NOW
    with pytest.raises(InvalidInput, match="revoked"):
        run(lambda: ring.keys.rotate(key.id, grace_s=0))
    run(lambda: ring.keys.update(key.id, {"name": "still gone"}))
    assert ring.find(secret) is None


def test_an_update_changes_what_it_names_alone(ring):
    key, _ = create(ring, allowance=LIMITS, expires_at=NOW + 10)
    changed = run(lambda: ring.keys.update(key.id, {"models": None, "expires_at": None}))
    assert changed.allowance == Allowance(max_concurrent=2, daily={"pictures": 3.0})
    assert (changed.name, changed.expires_at, changed.digest) == ("ada", None, key.digest)


@pytest.mark.parametrize(
    "bad",
    [
        {"name": ""},
        {"name": "x" * 129},
        {"name": "two\nlines"},
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["root"]},
        {"name": "x", "expires_at": NOW},
    ],
)
def test_what_makes_no_sense_is_refused(ring, bad):
    with pytest.raises(InvalidInput):
        create(ring, **bad)


@pytest.mark.parametrize("key_id", ["", "key_x", "job_" + "0" * 26, "key_" + "0" * 26, "key_%"])
def test_a_key_that_is_not_there(ring, key_id):
    for work in (ring.keys.get, ring.keys.revoke):
        with pytest.raises(KeyNotFound):
            run(lambda work=work: work(key_id))


def test_keys_come_in_pages(ring):
    made = [create(ring, str(number))[0].id for number in range(3)]
    first, has_more = run(lambda: ring.keys.page(limit=2, order="asc"))
    assert ([key.id for key in first], has_more) == (made[:2], True)
    rest, has_more = run(lambda: ring.keys.page(after=made[1], limit=2, order="asc"))
    assert ([key.id for key in rest], has_more) == (made[2:], False)
    with pytest.raises(InvalidInput):
        run(lambda: ring.keys.page(after="x", limit=2))


def test_the_last_use_is_shown_at_once_and_written_once_a_minute(ring):
    key, secret = create(ring)
    stored = text("SELECT last_used_at FROM api_keys")
    ring.find(secret)
    assert run(lambda: ring.keys.get(key.id)).last_used_at == NOW
    run(lambda: ring.keys._note_uses(every_s=60))
    for later, noted in ((30, NOW), (61, NOW + 61)):
        ring.now = NOW + later
        ring.find(secret)
        run(lambda: ring.keys._note_uses(every_s=60))
        assert ring.databases[0].write_now(lambda c: c.execute(stored).scalar()) == noted


def test_a_use_that_is_noted_is_no_change_that_others_read_again(ring):
    _, secret = create(ring)
    count = text("SELECT count FROM api_key_changes")
    before = ring.databases[0].write_now(lambda c: c.execute(count).scalar())
    ring.find(secret)
    run(lambda: ring.keys._note_uses(every_s=0))
    assert ring.databases[0].write_now(lambda c: c.execute(count).scalar()) == before == 1


def test_who_a_key_is_now_is_known_by_its_caller_id(ring):
    key, _ = create(ring, allowance=LIMITS)
    index, caller_id = ring.keys.index, CALLER_PREFIX + key.id
    assert index.caller(caller_id).allowance == LIMITS
    assert index.caller("key:0123abcd") is None
    assert index.caller("jwt:ada") is None
    run(lambda: ring.keys.revoke(key.id))
    with pytest.raises(Unauthorized, match="revoked"):
        index.caller(caller_id)


def test_whether_anybody_can_come_in_with_a_stored_key(ring):
    assert not is_any_usable(ring.databases[0])
    key, _ = create(ring)
    assert is_any_usable(ring.databases[0])
    run(lambda: ring.keys.revoke(key.id))
    assert not is_any_usable(ring.databases[0])
