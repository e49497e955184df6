"""What a job keeps of a request: plain values as msgpack, and their binary parts as blobs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any

import msgspec
from pydantic import BaseModel

from onebox.core.logs import Origin

# Smaller ones stay among the values: a file of their own would cost more than they do.
INLINE_BYTES = 4096
BLOB = 1
PLAIN = (str, int, float, NoneType)

Blobs = dict[str, bytes]


class Weights(msgspec.Struct, frozen=True):
    """A checkpoint by its contents; the name is for messages, and while its hash is unknown."""

    name: str
    sha256: str


class TaskWork(msgspec.Struct, frozen=True):
    """A prepared request to a task: nothing in it is open.

    Attributes:
        input: fields of the task's resolved input; models in it as their fields.
        companions: the further checkpoints, by slot.
        origin: the request that it came with, for the log.
    """

    task: str
    model: Weights
    input: dict[str, Any]
    companions: dict[str, Weights] = {}
    origin: Origin = Origin()

    def pack(self) -> tuple[bytes, Blobs]:
        """What `unpack` takes: `Job.work`, and the blobs by name. For any thread."""
        return packed(msgspec.structs.asdict(self))

    def is_plain(self) -> bool:
        """Whether packing it takes no time: there are no files in it, and no long lists."""
        return all(isinstance(value, PLAIN) for value in self.input.values())

    @classmethod
    def unpack(cls, work: bytes, read_blob: Callable[[str], bytes]) -> TaskWork:
        """`read_blob` gives the blob of a name."""
        return msgspec.convert(unpacked(work, read_blob), cls)


def packed(values: Mapping[str, Any]) -> tuple[bytes, Blobs]:
    """Values, bytes, models and structs as msgpack, and their larger binary parts by name."""
    blobs: Blobs = {}
    return _encoder.encode(_lifted(values, blobs)), blobs


def unpacked(work: bytes, read_blob: Callable[[str], bytes]) -> dict[str, Any]:
    """The values again; a model is the mapping of its fields."""

    def blob(code: int, name: memoryview) -> bytes:
        if code != BLOB:
            raise ValueError(f"unknown extension {code} in the work of a job")
        return read_blob(bytes(name).decode("ascii"))

    values: dict[str, Any] = msgspec.msgpack.decode(work, ext_hook=blob)
    return values


def _lifted(value: Any, blobs: Blobs) -> Any:
    """The value with names in place of its larger binary parts, which are put into `blobs`."""
    match value:
        case bytes() if len(value) > INLINE_BYTES:
            name = hashlib.sha256(value).hexdigest()
            blobs[name] = value
            return msgspec.msgpack.Ext(BLOB, name.encode("ascii"))
        case BaseModel():
            return _lifted(dict(value), blobs)
        case msgspec.Struct():
            return _lifted(msgspec.structs.asdict(value), blobs)
        case Mapping():
            return {key: _lifted(item, blobs) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_lifted(item, blobs) for item in value]
    return value


_encoder = msgspec.msgpack.Encoder()
