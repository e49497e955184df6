"""The frames between gateway and worker: length-prefixed msgpack. Never pickle.

A frame is a 4-byte big-endian length and that many bytes of msgpack, tagged with its class name.
"""

from __future__ import annotations

import struct
from typing import Any, BinaryIO

import msgspec
from pydantic import BaseModel

from onebox.core.contracts import Device, Entry, Priority
from onebox.core.errors import AppError, InferenceFailed, InvalidInput, all_errors
from onebox.core.log_file import LogFilePlan
from onebox.core.logs import Origin
from onebox.core.results import Artifact, Timing
from onebox.runtime.worker_stats import BundleStats as BundleStats
from onebox.runtime.worker_stats import WorkerStats as WorkerStats

LENGTH = struct.Struct(">I")
MAX_FRAME_BYTES = 64 * 1024 * 1024
SPOOL_ABOVE_BYTES = 4 * 1024 * 1024


class Start(msgspec.Struct, frozen=True, tag=True):
    """First frame to a worker: what it is to be.

    Attributes:
        index: which of the chosen devices is this worker's.
        max_sequences: texts that one model writes at the same time.
        prefix_cache_bytes: for keys and values of prompts that may come again, per model.
        leak_limit_bytes: memory that may stay behind after unloads before it asks for a restart.
        log_file: where its log goes besides stderr.
        compiled: folder for what torch compiles, which is used again.
    """

    index: int
    devices: tuple[str, ...]
    threads: int | None
    memory_budget: str | None
    idle_timeout_s: float
    lease_timeout_s: float
    leak_limit_bytes: int
    batch_window_s: float
    max_sequences: int
    prefix_cache_bytes: int
    spool: str
    log_file: LogFilePlan | None = None
    compiled: str | None = None


class Submit(msgspec.Struct, frozen=True, tag=True):
    """Run a task.

    Attributes:
        input: fields of the task's input; models in it are packed as theirs.
        estimate_bytes: what the weights will take if they must be loaded.
        reserve_bytes: working memory that was measured for such a request, if it was.
        companions: further checkpoints that it needs, by slot.
        origin: whose it is, for the log.
    """

    id: str
    task: str
    entry: Entry
    input: dict[str, Any]
    caller: str
    priority: Priority
    timeout_s: float
    estimate_bytes: int
    reserve_bytes: int | None = None
    companions: dict[str, Entry] = {}
    origin: Origin = Origin()


class Cancel(msgspec.Struct, frozen=True, tag=True):
    id: str


class Load(msgspec.Struct, frozen=True, tag=True):
    id: str
    entry: Entry
    caller: str
    timeout_s: float
    estimate_bytes: int
    origin: Origin = Origin()


class Unload(msgspec.Struct, frozen=True, tag=True):
    """Drop a bundle once its leases end, within `wait_s`; `force` ends their requests."""

    id: str
    key: str
    wait_s: float
    force: bool = False


class Retire(msgspec.Struct, frozen=True, tag=True):
    """These checkpoints are gone or changed: drop their bundles after the last lease."""

    keys: tuple[str, ...]


class Stats(msgspec.Struct, frozen=True, tag=True):
    id: str


class Grant(msgspec.Struct, frozen=True, tag=True):
    """The worker's share of its memory pool from now on, and all that the pool has."""

    share_bytes: int
    pool_bytes: int


class GiveUp(msgspec.Struct, frozen=True, tag=True):
    """Another worker needs memory: answer with `GaveUp`.

    `evict`: also unload what is idle; else only what holds nothing.
    """

    size_bytes: int
    evict: bool


class Shutdown(msgspec.Struct, frozen=True, tag=True):
    """Finish what runs within the grace time, fail the rest, exit."""

    grace_s: float


class Hello(msgspec.Struct, frozen=True, tag=True):
    """The worker is up.

    `chosen` are the devices that the settings select, of which it owns `device`.
    """

    pid: int
    device: Device
    chosen: tuple[Device, ...]
    budget_bytes: int
    threads: int


class Unfit(msgspec.Struct, frozen=True, tag=True):
    """The worker cannot start, and why."""

    code: str
    message: str


class Heartbeat(msgspec.Struct, frozen=True, tag=True):
    stats: WorkerStats


class Started(msgspec.Struct, frozen=True, tag=True):
    """The request has the device."""

    id: str


class Loading(msgspec.Struct, frozen=True, tag=True):
    """`size_bytes` is what the weights take, as measured, with fraction 1."""

    id: str
    fraction: float
    size_bytes: int | None = None


class Progress(msgspec.Struct, frozen=True, tag=True):
    id: str
    step: int
    steps: int


class Delta(msgspec.Struct, frozen=True, tag=True):
    id: str
    data: dict[str, Any]


class Result(msgspec.Struct, frozen=True, tag=True):
    """`peak_bytes` is the working memory that the run took, where it could be measured."""

    id: str
    artifacts: tuple[Artifact, ...] = ()
    timing: Timing = Timing()
    stats: WorkerStats | None = None
    peak_bytes: int | None = None


class Failed(msgspec.Struct, frozen=True, tag=True):
    id: str
    code: str
    message: str
    param: str | None = None
    details: dict[str, Any] = {}
    retry_after_s: float | None = None
    should_retry: bool | None = None

    @classmethod
    def from_error(cls, request_id: str, error: AppError) -> Failed:
        return cls(
            request_id,
            error.code,
            error.message,
            error.param,
            error.details,
            error.retry_after_s,
            error.should_retry,
        )

    def to_error(self) -> AppError:
        """The error it was made from, as the same class."""
        error_class = all_errors().get(self.code, InferenceFailed)
        return error_class(
            self.message,
            param=self.param,
            details=self.details,
            retry_after_s=self.retry_after_s,
            should_retry=self.should_retry,
        )


class Claim(msgspec.Struct, frozen=True, tag=True):
    """The worker wants a share of at least `share_bytes` of its memory pool.

    `evict`: other workers are to unload what is idle for it. Answered by `Grant`, whatever it got.
    """

    share_bytes: int
    evict: bool


class GaveUp(msgspec.Struct, frozen=True, tag=True):
    """The worker made its share smaller: it is `share_bytes` now."""

    share_bytes: int


ToWorker = Start | Submit | Cancel | Load | Unload | Retire | Stats | Grant | GiveUp | Shutdown
Event = Loading | Started | Progress | Delta | Result | Failed
FromWorker = Hello | Unfit | Heartbeat | Claim | GaveUp | Event

_encoder = msgspec.msgpack.Encoder(enc_hook=BaseModel.model_dump)
to_worker_decoder: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
from_worker_decoder: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)


def pack(frame: ToWorker | FromWorker) -> bytes:
    """A frame ready to be written.

    Raises InferenceFailed for one over `MAX_FRAME_BYTES`, InvalidInput for a number that no task
    gave bounds to and that msgpack has no room for.
    """
    try:
        body = _encoder.encode(frame)
    except OverflowError:
        raise InvalidInput("a number is too large: whole numbers have 64 bits at most") from None
    if len(body) > MAX_FRAME_BYTES:
        raise InferenceFailed(f"a frame of {len(body)} bytes exceeds {MAX_FRAME_BYTES}")
    return LENGTH.pack(len(body)) + body


def frame_length(prefix: bytes) -> int:
    """The length that a prefix announces. Raises InferenceFailed for one that no frame has."""
    (length,) = LENGTH.unpack(prefix)
    if length > MAX_FRAME_BYTES:
        raise InferenceFailed(f"a frame of {length} bytes exceeds {MAX_FRAME_BYTES}")
    return int(length)


def read_frame(stream: BinaryIO) -> ToWorker | None:
    """The next frame to a worker, or None at the end of the pipe. Blocks."""
    prefix = stream.read(LENGTH.size)
    if len(prefix) < LENGTH.size:
        return None
    length = frame_length(prefix)
    body = stream.read(length)
    return to_worker_decoder.decode(body) if len(body) == length else None
