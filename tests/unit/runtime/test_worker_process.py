"""The protocol of a worker's pipes, fed with bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from onebox.core.errors import WorkerLost
from onebox.runtime.wire import (
    LENGTH,
    MAX_FRAME_BYTES,
    Cancel,
    Delta,
    FromWorker,
    Loading,
    Progress,
    Started,
    pack,
)
from onebox.runtime.worker_process import STDIN, WorkerProcess
from tests.unit.runtime.clients import run

STDOUT = 1
FRAMES = [Loading("1", 0.5), Started("1"), Progress("1", 1, 2), Delta("1", {"text": "é" * 300})]
STREAM = b"".join(map(pack, FRAMES))


class Stdin(asyncio.WriteTransport):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closing = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return self.closing


class Transport(asyncio.SubprocessTransport):
    """A process that ends when it is killed."""

    def __init__(self) -> None:
        super().__init__()
        self.stdin = Stdin()
        self.returncode: int | None = None
        self.kills = 0

    def get_pipe_transport(self, fd: int) -> Stdin:
        assert fd == STDIN
        return self.stdin

    def get_returncode(self) -> int | None:
        return self.returncode

    def kill(self) -> None:
        self.kills += 1
        self.returncode = -9


class Pipes:
    """A worker process without a process; it notes the frames that came out of the bytes."""

    def __init__(self, faults: Mapping[FromWorker, Exception] | None = None) -> None:
        self.frames: list[FromWorker] = []
        self.faults = faults or {}
        self.transport = Transport()
        self.process = WorkerProcess(self._on_frame)
        self.process.connection_made(self.transport)

    def feed(self, *chunks: bytes) -> None:
        for chunk in chunks:
            self.process.pipe_data_received(STDOUT, chunk)

    def _on_frame(self, frame: FromWorker) -> None:
        self.frames.append(frame)
        for faulty, error in self.faults.items():
            if frame == faulty:
                raise error


@pytest.fixture
def pipes() -> Pipes:
    return Pipes()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64, len(STREAM)])
def test_frames_come_out_whole_however_the_bytes_arrive(pipes, size):
    pipes.feed(*(STREAM[start : start + size] for start in range(0, len(STREAM), size)))
    assert pipes.frames == FRAMES
    assert pipes.transport.kills == 0


def test_a_frame_comes_out_as_soon_as_it_is_there(pipes):
    first, second = pack(FRAMES[0]), pack(FRAMES[1])
    pipes.feed(first + second[:-1])
    assert pipes.frames == FRAMES[:1]
    pipes.feed(second[-1:])
    assert pipes.frames == FRAMES[:2]


@pytest.mark.parametrize(
    "garbage",
    [
        LENGTH.pack(MAX_FRAME_BYTES + 1),
        LENGTH.pack(3) + b"\xc1\xc1\xc1",
        pack(Cancel("1")),
        b"Traceback (most recent call last):\n",
    ],
    ids=["too long", "no msgpack", "not a worker's frame", "a stray print"],
)
def test_a_worker_that_sends_garbage_is_killed(pipes, garbage):
    pipes.feed(pack(FRAMES[0]))
    pipes.feed(garbage)
    assert pipes.transport.kills == 1
    assert pipes.frames == FRAMES[:1]


@pytest.mark.parametrize("error", [ValueError("a bug"), WorkerLost("gone")])
def test_a_bug_on_the_way_of_one_frame_keeps_no_other_from_its_request(error):
    pipes = Pipes({FRAMES[1]: error})
    pipes.feed(STREAM)
    assert pipes.frames == FRAMES
    assert pipes.transport.kills == 0


def test_frames_are_written_whole_and_those_of_one_turn_of_the_loop_at_once(pipes):
    async def scene():
        for turn in ("12", "3"):
            for name in turn:
                pipes.process.send(Cancel(name))
            await asyncio.sleep(0)

    run(scene())
    one, two, three = (pack(Cancel(name)) for name in "123")
    assert pipes.transport.stdin.written == [one + two, three]


def test_frames_for_a_pipe_that_closes_in_the_same_turn_are_dropped(pipes):
    async def scene():
        pipes.process.send(Cancel("1"))
        pipes.transport.stdin.closing = True
        await asyncio.sleep(0)

    run(scene())
    assert pipes.transport.stdin.written == []


def test_nothing_can_be_sent_before_it_is_there():
    with pytest.raises(WorkerLost):
        WorkerProcess(lambda frame: None).send(Cancel("1"))


def test_nothing_can_be_sent_into_a_closing_pipe(pipes):
    pipes.transport.stdin.closing = True
    with pytest.raises(WorkerLost) as caught:
        pipes.process.send(Cancel("1"))
    assert caught.value.retry_after_s


def test_a_worker_without_its_pipes_is_killed_once(pipes):
    pipes.process.pipe_connection_lost(STDIN, BrokenPipeError())
    pipes.process.pipe_connection_lost(STDOUT, None)
    assert pipes.transport.kills == 1


def test_its_end_is_told_to_who_waits(pipes):
    async def scene():
        waiting = asyncio.ensure_future(pipes.process.wait())
        await asyncio.sleep(0)
        assert pipes.process.running
        pipes.transport.returncode = 3
        pipes.process.connection_lost(None)
        await waiting

    run(scene())
    assert not pipes.process.running
    assert pipes.process.returncode == 3
    with pytest.raises(WorkerLost):
        pipes.process.send(Cancel("1"))
