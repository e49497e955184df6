from __future__ import annotations

import base64
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from jose import jwt

from onebox.core.errors import Unauthorized
from onebox.core.results import Artifact
from onebox.services.files import FileStore

PICTURE = Artifact("image/png", b"\x89PNG")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data" / "files"


@pytest.fixture
def store(folder):
    return FileStore(folder, "secret", ttl_s=60)


@pytest.mark.parametrize(
    ("media_type", "served_as", "suffix"),
    [
        ("image/png", "image/png", ".png"),
        ("image/jpeg", "image/jpeg", ".jpg"),
        ("image/webp", "image/webp", ".webp"),
        ("audio/mpeg", "audio/mpeg", ".mp3"),
        ("audio/ogg", "audio/ogg", ".opus"),
        ("audio/wav", "audio/wav", ".wav"),
        ("image/svg+xml", "application/octet-stream", ".bin"),
        ("text/html", "application/octet-stream", ".bin"),
    ],
)
def test_a_link_leads_to_the_bytes_and_never_to_a_page(store, media_type, served_as, suffix):
    stored = store.open(store.put(Artifact(media_type, b"bytes")))
    assert stored.path.read_bytes() == b"bytes"
    assert (stored.media_type, stored.path.suffix) == (served_as, suffix)


def test_two_files_have_links_of_their_own(store):
    links = [store.put(Artifact("image/png", data)) for data in (b"1", b"2")]
    assert [store.open(link).path.read_bytes() for link in links] == [b"1", b"2"]


def test_a_link_expires(folder):
    link = FileStore(folder, "secret", ttl_s=60, clock=lambda: time.time() - 61).put(PICTURE)
    with pytest.raises(Unauthorized):
        FileStore(folder, "secret", ttl_s=60).open(link)


def test_an_altered_link_is_refused(store):
    head, claims, signature = store.put(PICTURE).split(".")
    other = store.put(PICTURE).split(".")[1]
    for bad in (f"{head}.{other}.{signature}", f"{head}.{claims}.", f"{head}.{claims}.AAAA", ""):
        with pytest.raises(Unauthorized):
            store.open(bad)


@pytest.mark.parametrize("header", ["[" * 5000, '{"alg":"none"}', "\0", '{"alg":"HS256"}'])
def test_a_malformed_link_is_refused(store, header):
    head = base64.urlsafe_b64encode(header.encode()).rstrip(b"=").decode()
    claims = base64.urlsafe_b64encode(json.dumps({"file": "x", "exp": 2**33}).encode()).decode()
    with pytest.raises(Unauthorized):
        store.open(f"{head}.{claims.rstrip('=')}.AAAA")


@pytest.mark.parametrize("secret", ["other", "secret"])
def test_what_another_secret_signed_is_refused_and_so_is_the_plain_secret(store, folder, secret):
    stored = store.open(store.put(PICTURE)).path.name
    forged = jwt.encode({"file": stored, "exp": 2**33}, secret, algorithm="HS256")
    with pytest.raises(Unauthorized):
        store.open(forged)


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "..", "", 7, None, ["x"], "a" * 32 + ".png", "a" * 32]
)
def test_even_a_signed_name_leads_nowhere_else(store, folder, name):
    (folder.parent / "secret").write_text("secret")
    signed = jwt.encode({"file": name, "exp": 2**33}, store._key, algorithm="HS256")
    with pytest.raises(Unauthorized):
        store.open(signed)


def test_old_files_are_deleted_and_their_links_refused(store, folder):
    old = store.put(PICTURE)
    os.utime(store.open(old).path, (0, 0))
    new = store.put(PICTURE)
    with pytest.raises(Unauthorized):
        store.open(old)
    assert [path.name for path in folder.iterdir()] == [store.open(new).path.name]


def test_many_threads_may_store_while_old_files_are_deleted(store, folder):
    for number in range(300):
        old = folder / f"{number:032x}.png"
        old.write_bytes(b"old")
        os.utime(old, (0, 0))
    with ThreadPoolExecutor(8) as pool:
        links = list(pool.map(store.put, [PICTURE] * 32))
    assert len({store.open(link).path for link in links}) == 32
    assert len(list(folder.iterdir())) == 32
