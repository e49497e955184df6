"""Pictures in JSON and in forms: files, data URLs and links."""

from __future__ import annotations

import base64
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import pytest
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, BeforeValidator, Field

from onebox.api.given_picture import GivenPicture
from onebox.api.openai.image_inputs import QUICK_CHARS
from onebox.api.picture_bodies import picture_body
from onebox.core.errors import FileNotFound, InvalidInput
from onebox.core.media import MediaRef
from onebox.services.remote_media import RemoteMedia
from tests.unit.api.reading import DATA_URL, FILE, PNG, load, read

LINK = "https://pictures.example/a.png"


class Body(BaseModel):
    image: Annotated[
        list[GivenPicture], BeforeValidator(lambda v: v if isinstance(v, list) else [v])
    ] = Field(max_length=3)
    mask: GivenPicture | None = None
    prompt: str = ""


class Remote:
    """Gives the link itself as the picture's bytes, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    async def fetch(self, url: str, param: str, *, max_bytes: int) -> MediaRef:
        self.asked.append((url, param))
        return MediaRef(media_type="image/png", data=url.encode())


@pytest.mark.parametrize(
    "given",
    [
        {"image": DATA_URL},
        {"image": [DATA_URL]},
        {"image": {"image_url": DATA_URL}},
        {"image": [{"image_url": DATA_URL}]},
        [("image", FILE)],
        [("image[]", FILE)],
        [("image", DATA_URL)],
    ],
)
def test_one_picture_in_all_forms(given: Any) -> None:
    found = load(read(Body, given))
    assert {name: [picture.data for picture in loaded] for name, loaded in found.items()} == {
        "image": [PNG],
        "mask": [],
    }


def test_pictures_keep_their_order_whatever_their_form_is() -> None:
    remote = Remote()
    parts = [("image[]", LINK), ("image[]", FILE), ("image[]", DATA_URL), ("mask", LINK + "?mask")]
    found = load(read(Body, parts), remote)
    assert [picture.data for picture in found["image"]] == [LINK.encode(), PNG, PNG]
    assert [picture.data for picture in found["mask"]] == [f"{LINK}?mask".encode()]
    assert remote.asked == [(LINK, "image"), (f"{LINK}?mask", "mask")]


class Kept:
    """One uploaded file of `me`, of so many bytes as it says."""

    def __init__(self, path: Path, size_bytes: int = len(PNG)) -> None:
        path.write_bytes(PNG)
        self.path, self.size_bytes = path, size_bytes

    async def open(self, file_id: str, caller: str) -> tuple[Any, Path]:
        if (file_id, caller) != ("file_1", "me"):
            raise FileNotFound(f"there is no file {file_id}")
        return SimpleNamespace(id=file_id, size_bytes=self.size_bytes), self.path


@pytest.mark.parametrize(
    "given",
    [
        {"image": [DATA_URL, {"file_id": "file_1"}], "mask": {"file_id": "file_1"}},
        [("image", FILE), ("image", '{"file_id": "file_1"}'), ("mask[file_id]", "file_1")],
    ],
)
def test_pictures_may_be_files_that_were_sent_before(given: Any, tmp_path: Path) -> None:
    found = load(read(Body, given), uploads=Kept(tmp_path / "kept"))
    assert [picture.data for picture in found["image"]] == [PNG, PNG]
    assert [picture.data for picture in found["mask"]] == [PNG]


def test_a_file_that_the_caller_does_not_have_is_not_found(tmp_path: Path) -> None:
    body = read(Body, {"image": {"file_id": "file_2"}})
    with pytest.raises(FileNotFound):
        load(body, uploads=Kept(tmp_path / "kept"))


@pytest.mark.parametrize(("size", "pictures"), [(51, 1), (40, 2)])
def test_files_that_were_sent_before_are_no_larger_than_others(
    size: int, pictures: int, tmp_path: Path
) -> None:
    body = read(Body, {"image": [{"file_id": "file_1"}] * pictures})
    with pytest.raises(InvalidInput) as caught:
        load(body, uploads=Kept(tmp_path / "kept", size * 1024 * 1024))
    assert caught.value.param == "image"


def test_a_large_data_url_is_read_too() -> None:
    raw = PNG + bytes(QUICK_CHARS)
    url = "data:image/png;base64," + base64.b64encode(raw).decode()
    assert load(read(Body, {"image": url}))["image"][0].data == raw


@pytest.mark.parametrize(
    "text",
    [
        LINK,
        "http://127.0.0.1/a.png",
        "file:///etc/passwd",
        "/etc/passwd",
        "data:image/png,plain",
        "data:image/png;base64,!",
        "data:text/html;base64,PGI+",
        "iVBORw0KGgo",
        "",
    ],
)
@pytest.mark.parametrize("name", ["image", "mask"])
def test_what_is_no_picture_is_refused_with_its_field(name: str, text: str) -> None:
    body = read(Body, {"image": DATA_URL, name: text})
    with pytest.raises(InvalidInput) as caught:
        load(body)
    assert caught.value.param == name


@pytest.mark.parametrize(
    "text", ["http://127.0.0.1/a.png", "file:///etc/passwd", "https://10.0.0.1/a", "ftp://a.b/c"]
)
def test_links_to_what_is_private_are_refused_where_links_are_allowed(text: str) -> None:
    remote = RemoteMedia(enabled=True)
    try:
        with pytest.raises(InvalidInput):
            load(read(Body, {"image": text}), remote)
    finally:
        remote.close()


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"image": None},
        {"image": 7},
        {"image": {"file_id": 7}},
        {"image": {"file_id": "x" * 129}},
        {"image": {"file_id": "file_1", "image_url": DATA_URL}},
        {"image": {"text": DATA_URL}},
        {"image": {"file": {"data": "QUJD"}}},
        {"image": {"image_url": {"url": DATA_URL}}},
        {"image": [DATA_URL] * 4},
        [("image[]", FILE)] * 4,
    ],
)
def test_what_names_no_picture_is_refused_before_anything_is_loaded(given: Any) -> None:
    with pytest.raises(RequestValidationError):
        read(Body, given)


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(InvalidInput, match="empty") as caught:
        load(read(Body, [("image", FILE), ("mask", ("m.png", b"", "image/png"))]))
    assert caught.value.param == "mask"


def test_a_file_and_a_data_url_may_have_so_many_bytes() -> None:
    large = bytes(1000)
    url = "data:image/png;base64," + base64.b64encode(large).decode()
    for given in ({"image": url}, [("image", ("a.png", large, "image/png"))]):
        with pytest.raises(InvalidInput, match="300") as caught:
            load(read(Body, given), max_bytes=300)
        assert caught.value.param == "image"


def test_names_and_types_of_files_may_lie() -> None:
    for name in ("../../etc/passwd", "a;touch x", "", "x" * 300, "CON"):
        found = load(read(Body, [("image", (name, PNG, "text/html"))]))
        assert found["image"][0].data == PNG


def test_the_page_shows_both_forms_of_the_body() -> None:
    content = picture_body(Body)["requestBody"]["content"]
    assert list(content) == ["multipart/form-data", "application/json"]
    properties = content["multipart/form-data"]["schema"]["properties"]
    assert properties["image"]["items"]["format"] == "binary"
