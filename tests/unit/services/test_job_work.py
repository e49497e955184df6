"""What a job keeps of a request comes back as it was."""

from __future__ import annotations

from pydantic import BaseModel

from onebox.core.media import MediaRef
from onebox.services.jobs.work import INLINE_BYTES, TaskWork, Weights, packed, unpacked

LARGE = b"x" * (INLINE_BYTES + 1)
SMALL = b"y" * INLINE_BYTES


class Part(BaseModel):
    name: str
    media: MediaRef


class Everything(BaseModel):
    text: str
    number: float
    sizes: tuple[int, int]
    nothing: None = None
    media: MediaRef
    more: list[MediaRef]
    parts: dict[str, Part]


EVERYTHING = Everything(
    text="ä\N{SNOWMAN}",
    number=0.1,
    sizes=(1, 2),
    media=MediaRef(media_type="image/png", data=LARGE),
    more=[MediaRef(data=SMALL), MediaRef(data=LARGE)],
    parts={"a": Part(name="a", media=MediaRef(data=LARGE + b"z"))},
)


def test_an_input_comes_back_as_it_was():
    work = TaskWork("t", Weights("m", "ab"), dict(EVERYTHING), {"lora": Weights("l", "cd")})
    data, blobs = work.pack()
    back = TaskWork.unpack(data, blobs.__getitem__)
    assert (back.task, back.model, back.companions) == (work.task, work.model, work.companions)
    assert Everything.model_validate(back.input) == EVERYTHING


def test_large_parts_are_apart_and_equal_ones_once():
    data, blobs = packed(dict(EVERYTHING))
    assert sorted(blobs.values(), key=len) == [LARGE, LARGE + b"z"]
    assert len(data) < 2 * INLINE_BYTES


def test_equal_requests_are_packed_equally():
    assert packed(dict(EVERYTHING)) == packed(dict(EVERYTHING))


def test_only_the_parts_that_it_names_are_read():
    data, blobs = packed({"a": LARGE, "b": [SMALL, None, True]})
    read: list[str] = []

    def read_blob(name: str) -> bytes:
        read.append(name)
        return blobs[name]

    assert unpacked(data, read_blob) == {"a": LARGE, "b": [SMALL, None, True]}
    assert read == list(blobs)
