from __future__ import annotations

import base64

import pytest
from pydantic import BaseModel, ValidationError

from onebox.core.media import MediaRef, Spool

DATA = b"\x00\xffpicture"
ENCODED = base64.b64encode(DATA).decode()


class Input(BaseModel):
    image: MediaRef


@pytest.mark.parametrize(
    ("head", "media_type"),
    [
        ("data:image/png;base64,", "image/png"),
        ("data:;base64,", "application/octet-stream"),
        ("data:image/svg+xml;charset=utf-8;base64,", "image/svg+xml"),
        ("DATA:audio/x-wav;BASE64,", "audio/x-wav"),
    ],
)
def test_a_data_url_is_bytes_with_their_type(head, media_type):
    media = Input.model_validate({"image": head + ENCODED}).image
    assert (media.data, media.media_type, media.file_id) == (DATA, media_type, None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ENCODED,
        "data:image/png," + ENCODED,
        "data:image/png;base64," + "%%%%",
        "data:image/png;base64,abc",
        "data:image/png;base64,QUJD\nQUJD",
        "https://example.com/cat.png",
        "file:///etc/passwd",
        "/etc/passwd",
    ],
)
def test_any_other_text_is_refused(text):
    with pytest.raises(ValidationError, match="data URL"):
        Input.model_validate({"image": text})


def test_raw_bytes_and_a_stored_file_are_taken_too():
    assert MediaRef.model_validate(DATA).data == DATA
    assert MediaRef.model_validate({"file_id": "a" * 32}).file_id == "a" * 32


@pytest.mark.parametrize("value", [{}, {"data": ENCODED, "file_id": "a" * 32}])
def test_data_or_file_never_both_nor_neither(value):
    with pytest.raises(ValidationError, match="either"):
        MediaRef.model_validate(value)


@pytest.mark.parametrize("file_id", ["", "A" * 32, "a" * 31, "../" + "a" * 29, "/etc/passwd"])
def test_a_file_id_is_32_hex_digits(file_id):
    with pytest.raises(ValidationError):
        MediaRef(file_id=file_id)


def test_it_survives_the_way_to_a_worker():
    sent = Input(image=MediaRef(media_type="image/png", data=DATA)).model_dump()
    assert Input.model_validate(sent).image == MediaRef(media_type="image/png", data=DATA)


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path / "data" / "spool")


def test_the_spool_gives_back_what_it_was_given(spool):
    spool_id = spool.put(DATA)
    assert spool.read(spool_id) == spool.read(spool_id) == DATA
    assert spool.take(spool_id) == DATA
    with pytest.raises(FileNotFoundError):
        spool.read(spool_id)


def test_discarding_twice_is_fine(spool):
    spool_id = spool.put(DATA)
    spool.discard(spool_id)
    spool.discard(spool_id)


@pytest.mark.parametrize(
    "spool_id",
    ["", ".", "..", "../secret", "/etc/passwd", "a" * 31, "A" * 32, "a" * 32 + "/..", "f" * 32],
)
def test_the_spool_reads_nothing_but_its_own_files(spool, tmp_path, spool_id):
    (tmp_path / "data" / "secret").write_text("secret")
    with pytest.raises(FileNotFoundError):
        spool.read(spool_id)
    with pytest.raises(FileNotFoundError):
        spool.take(spool_id)
    assert (tmp_path / "data" / "secret").is_file()


def test_clear_removes_what_a_dead_process_left(spool, tmp_path):
    spool.put(DATA)
    (tmp_path / "data" / "spool" / "half.part").write_bytes(b"x")
    spool.clear()
    assert list((tmp_path / "data" / "spool").iterdir()) == []
