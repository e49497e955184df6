from __future__ import annotations

import io
import typing

import msgspec
import pytest

from onebox.core.contracts import Device, Entry
from onebox.core.errors import ConfigurationError, InferenceFailed, InvalidInput, all_errors
from onebox.core.media import MediaRef
from onebox.core.results import Artifact, Timing
from onebox.runtime import wire
from onebox.runtime.wire import LENGTH, Failed, from_worker_decoder, pack, read_frame

ENTRY = Entry("k", "sd", "/m/sd", "", 7, "ready", "f" * 64, facts={"native_size": 512})
CPU = Device("cpu", "cpu", "A CPU", "cpu", "host", 32, 24, "float32", "float32")
CARD = msgspec.structs.replace(CPU, id="cuda:0", kind="cuda", compute_capability=(8, 9))
STATS = wire.WorkerStats(
    (wire.BundleStats("k", "sd", "f", "ready", 5, 6, 1, False),), 1, 2, 3, 4, 5, 6
)
ERRORS = sorted({*all_errors().values(), ConfigurationError}, key=lambda cls: cls.code)
TO_WORKER = [
    wire.Start(0, ("cuda:0", "cuda:1"), None, "8GiB", 1.0, 2.0, 3, 0.5, 8, 9, "/spool"),
    wire.Submit("1", "t", ENTRY, {"prompt": "é", "data": b"\xff"}, "key:1", "job", 9.5, 11, 12),
    wire.Cancel("1"),
    wire.Load("1", ENTRY, "key:1", 9.5, 11),
    wire.Unload("1", "k", 2.5, True),
    wire.Grant(5, 6),
    wire.GiveUp(5, evict=True),
    wire.Retire(("k1", "k2")),
    wire.Stats("1"),
    wire.Shutdown(2.5),
]
FROM_WORKER = [
    wire.Hello(1, CARD, (CARD, CPU), 2, 3),
    wire.Unfit("model_broken", "no"),
    wire.Heartbeat(STATS),
    wire.Claim(5, evict=True),
    wire.GaveUp(5),
    wire.Started("1"),
    wire.Loading("1", 1.0, 7),
    wire.Progress("1", 2, 30),
    wire.Delta("1", {"text": "日本"}),
    wire.Result(
        "1", (Artifact("image/png", b"\x89", None, {"seed": 1}),), Timing(1, 2, 3), STATS, 8
    ),
    wire.Failed("1", "queue_full", "full", "n", {"max": 1}, 1.5, False),
]


@pytest.mark.parametrize("frame", TO_WORKER, ids=lambda frame: type(frame).__name__)
def test_a_worker_reads_what_the_gateway_wrote(frame):
    assert read_frame(io.BytesIO(pack(frame))) == frame


def test_a_task_s_input_need_not_be_dumped():
    media = MediaRef(data=b"\xff", media_type="image/png")
    given = {"inputs": ["a", [1, 2]], "image": media, "more": [{"image": media}]}
    frame = wire.Submit("1", "t", ENTRY, given, "key:1", "job", 9.5, 11, 12)
    read = read_frame(io.BytesIO(pack(frame)))
    dumped = media.model_dump()
    assert read.input == {"inputs": ["a", [1, 2]], "image": dumped, "more": [{"image": dumped}]}
    assert MediaRef.model_validate(read.input["image"]) == media


@pytest.mark.parametrize("frame", FROM_WORKER, ids=lambda frame: type(frame).__name__)
def test_the_gateway_reads_what_a_worker_wrote(frame):
    packed = pack(frame)
    assert LENGTH.unpack(packed[: LENGTH.size]) == (len(packed) - LENGTH.size,)
    assert from_worker_decoder.decode(packed[LENGTH.size :]) == frame


def test_no_kind_of_frame_was_forgotten_above():
    assert {type(frame) for frame in TO_WORKER} == set(typing.get_args(wire.ToWorker))
    assert {type(frame) for frame in FROM_WORKER} == set(typing.get_args(wire.FromWorker))


def test_frames_follow_each_other_until_the_pipe_ends():
    pipe = io.BytesIO(b"".join(map(pack, TO_WORKER)))
    assert [read_frame(pipe) for _ in TO_WORKER] == TO_WORKER
    assert read_frame(pipe) is None


@pytest.mark.parametrize("kept", range(len(pack(wire.Cancel("1")))))
def test_a_frame_cut_short_is_the_end_of_the_pipe(kept):
    assert read_frame(io.BytesIO(pack(wire.Cancel("1"))[:kept])) is None


def test_a_frame_over_the_limit_is_refused_before_it_is_sent():
    body = b"\0" * (wire.MAX_FRAME_BYTES + 1)
    with pytest.raises(InferenceFailed, match=str(wire.MAX_FRAME_BYTES)):
        pack(wire.Result("1", (Artifact("image/png", body),)))


def test_a_number_that_has_no_room_is_the_client_s_mistake():
    frame = msgspec.structs.replace(TO_WORKER[1], input={"tokens": [2**70]})
    with pytest.raises(InvalidInput, match="64 bits"):
        pack(frame)


def test_a_frame_that_only_the_other_side_may_send_is_refused():
    with pytest.raises(msgspec.ValidationError):
        read_frame(io.BytesIO(pack(wire.Started("1"))))


@pytest.mark.parametrize("error_class", ERRORS, ids=lambda cls: cls.__name__)
def test_every_error_is_the_same_on_the_other_side(error_class):
    error = error_class(
        "it broke", param="n", details={"max": 3}, retry_after_s=2.5, should_retry=False
    )
    failed = from_worker_decoder.decode(pack(Failed.from_error("1", error))[LENGTH.size :])
    back = failed.to_error()
    assert type(back) is error_class
    assert vars(back) == vars(error)


def test_an_error_of_an_unknown_plugin_is_a_failure_of_ours():
    back = Failed("1", "nobody_knows", "it broke").to_error()
    assert (type(back), back.message) == (InferenceFailed, "it broke")
