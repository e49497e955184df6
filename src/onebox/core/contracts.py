"""The contracts between the layers: plain values that travel, and what a family, task and encoder
must offer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

import msgspec
from pydantic import BaseModel

from onebox.core.companions import Companion
from onebox.core.media import MediaRef
from onebox.core.on_disk import Match, OnDisk
from onebox.core.results import Artifact, Output
from onebox.core.stages import Stage

InputT = TypeVar("InputT", bound=BaseModel)

DeviceKind = Literal["cpu", "cuda", "rocm", "mps", "xpu"]
DtypeName = Literal["float32", "float16", "bfloat16"]
DTYPE_BYTES: Mapping[DtypeName, int] = {"float32": 4, "float16": 2, "bfloat16": 2}
EntryStatus = Literal["hashing", "ready", "broken"]
Priority = Literal["interactive", "job", "batch"]


class Device(msgspec.Struct, frozen=True):
    """One device with the dtype policy applied.

    Attributes:
        id: as in settings: "cpu", "mps", "cuda:1".
        torch_device: what torch calls it ("cuda:1" for ROCm cards too).
        pool: the memory pool it draws from; the CPU and unified memory share "host".
        dtype: what weights are loaded in unless a checkpoint's `onebox.toml` says otherwise.
        vae_dtype: the same for image decoders, which overflow in half precision on some devices.
        problems: what is wrong with it and how to mend it; empty when all is well.

    """

    id: str
    kind: DeviceKind
    name: str
    torch_device: str
    pool: str
    total_bytes: int
    free_bytes: int
    dtype: DtypeName
    vae_dtype: DtypeName
    compute_capability: tuple[int, int] | None = None
    cores: int | None = None
    problems: tuple[str, ...] = ()


class Entry(msgspec.Struct, frozen=True):
    """A checkpoint as the registry knows it.

    Attributes:
        key: stable in this process from first sight on, before the hash is known.
        sha256: identity of the contents; None while `status` is "hashing".
        kind: what the contents say it is, e.g. "StableDiffusionPipeline".
        facts: what its family found out about it (native size, …).
        overrides: the checkpoint's `onebox.toml`.
        reason: why it is broken, and what to do.
        other_paths: further places that hold the same contents.
        unconverted: it is a pickle that nobody has used yet: what it is comes out on first use.
        loaded_from: where its weights are loaded from, if not from `path`.
        components: parts that its files lack → where they are taken from; known once a request
            or a load is on its way.
        upstream: name of the server that it runs on; None: this one.

    """

    key: str
    name: str
    path: str
    extension: str
    size_bytes: int
    status: EntryStatus
    sha256: str | None = None
    family: str | None = None
    kind: str | None = None
    tasks: tuple[str, ...] = ()
    facts: dict[str, Any] = {}
    overrides: dict[str, Any] = {}
    aliases: tuple[str, ...] = ()
    reason: str | None = None
    created: int = 0
    other_paths: tuple[str, ...] = ()
    components: dict[str, str] = {}
    unconverted: bool = False
    loaded_from: str | None = None
    upstream: str | None = None

    def as_loaded(self) -> Entry:
        """As a worker gets it: its `path` is where the weights are loaded from."""
        if self.loaded_from is None:
            return self
        return msgspec.structs.replace(self, path=self.loaded_from, loaded_from=None)


class Bundle(Protocol):
    """One loaded set of weights.

    Owned by one engine thread; `close` drops every reference to the weights.
    """

    size_bytes: int

    def close(self) -> None: ...


class RunContext(Protocol):
    """What a running task may say to the outside. All calls come from the engine thread."""

    @property
    def device(self) -> Device: ...

    @property
    def entry(self) -> Entry: ...

    @property
    def lean(self) -> bool:
        """Memory ran out on the first try: take less of it this time, whatever that costs."""

    def check(self) -> None:
        """Raise if the request was cancelled or is past its deadline."""

    def hand_over(self) -> None:
        """Raise as `check` does, and let a more urgent engine have the device."""

    def step(self, step: int, steps: int) -> None:
        """Report progress, and hand over."""

    def delta(self, data: dict[str, Any]) -> None:
        """Send a piece of a streamed result."""

    def part(self, output: Output) -> None:
        """Send the next part of one long result as soon as it is encoded.

        Parts of a request are encoded in the CPU pool, in their order, by one StreamEncoder of
        their kind; what it gives goes out as the delta `{"data": bytes}`, the end of it before the
        request's result.
        """

    def preview(self, request: int, picture: int, output: Output) -> None:
        """Send what a picture looks like so far, as the delta `{"picture", "preview": bytes,
        "media_type"}`: in order, before the result.

        `request` is its number in the batch, `picture` that of the picture in it.
        """

    @property
    def companions(self) -> Mapping[str, Entry]:
        """The checkpoints that the requests of the batch asked for beside their own, by slot."""

    def read(self, media: MediaRef) -> bytes:
        """The bytes of a binary input."""


class Family(ABC):
    """How one kind of checkpoint is recognised, sized and loaded. One file in `families/`."""

    name: ClassVar[str]
    engine: ClassVar[str] = "exclusive"
    tasks: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def matches(self, on_disk: OnDisk) -> Match | None:
        """None: not mine. Raises ModelBroken: mine, but it cannot be used, and why."""

    @abstractmethod
    def estimate(self, on_disk: OnDisk, device: Device) -> int:
        """Bytes the weights will take on the device, from headers alone."""

    @abstractmethod
    def load(self, entry: Entry, device: Device) -> Bundle:
        """Load the weights. Called on the engine thread, one load at a time in a worker."""

    def warm_up(self) -> None:
        """Import the heavy classes. Called once in the worker's main thread, before any engine."""
        return


@dataclass(frozen=True, slots=True)
class TaskDefaults:
    """Server-wide defaults that a request and a checkpoint's `onebox.toml` may override.

    Attributes:
        max_audio_s: the longest sound that may be transcribed; a request may only lower it.
        max_video_s: the longest video, in seconds; `max_video_frames` the most frames of one.

    """

    steps: int
    guidance_scale: float
    max_audio_s: float = 4 * 3600.0
    max_video_s: float = 60.0
    max_video_frames: int = 1_200


class Task(ABC, Generic[InputT]):
    """One thing a client can ask. One file in `tasks/`."""

    name: ClassVar[str]
    summary: ClassVar[str]
    needs: ClassVar[str] = ""
    """Which models do it, for the error where none is installed."""
    confidence_is_own: ClassVar[bool] = True
    """Whether the `confidence` of its artifacts is of its own model, to be counted for it."""
    is_counted: ClassVar[bool] = True
    """Whether its requests are usage: bounded by quotas, charged, and kept in the ledger."""
    Input: type[InputT]
    families: ClassVar[frozenset[str]] = frozenset()

    def resolve(self, request: InputT, entry: Entry, defaults: TaskDefaults) -> InputT:
        """Fill in everything left open (seed, size, steps).

        Runs in the gateway, before queueing.
        """
        return request

    def companions(self, request: InputT, entry: Entry) -> tuple[Companion, ...]:
        """The checkpoints that the resolved request needs beside its own."""
        return ()

    def fits(self, request: InputT, entry: Entry, slot: str, companion: Entry) -> None:
        """Refuse a companion that does not go with the checkpoint.

        Raises InvalidInput. Runs in the gateway, before queueing.
        """
        return

    def before(self, request: InputT, entry: Entry) -> Stage | None:
        """What another task must do first; `joined` gets what came of it."""
        return None

    def joined(self, request: InputT, artifacts: Sequence[Artifact]) -> InputT:
        """The request with what the task of `before` brought."""
        raise NotImplementedError("only tasks that say what comes before them")

    def after(self, request: InputT, artifact: Artifact) -> Stage | None:
        """What another task makes of each artifact of the result.

        What comes of it takes the artifact's place, with the `meta` of both.
        """
        return None

    def check(self, request: InputT, entry: Entry) -> None:
        """Refuse what this checkpoint cannot do.

        Raises InvalidInput. Runs in the worker, before queueing; for a job in the gateway too,
        when it is submitted.
        """
        return

    def reserve_bytes(self, request: InputT, entry: Entry, device: Device) -> int:
        """Working memory the run needs beside the weights: an estimate, before any was measured."""
        return 0

    def size_class(self, request: InputT) -> str:
        """What a measured peak of working memory is remembered under, beside checkpoint and task.

        Requests of one class take about the same. The empty class is never measured.
        """
        return ""

    def batch_key(self, request: InputT, entry: Entry) -> Hashable | None:
        """Requests of equal keys may run as one, by `run_batch`. None: this one runs alone."""
        return None

    def is_deterministic(self, request: InputT) -> bool:
        """Whether equal requests must give equal bits. Such a request should have no batch key."""
        return False

    def items(self, request: InputT) -> int:
        """How many of the items of a batch this request is."""
        return 1

    def max_items(self, request: InputT, entry: Entry, device: Device) -> int:
        """The most items that a batch with this request may have."""
        return 1

    @abstractmethod
    def run(self, bundle: Any, request: InputT, context: RunContext) -> list[Output]:
        """Do the work on the engine thread."""

    def run_batch(
        self, bundle: Any, requests: Sequence[InputT], context: RunContext
    ) -> list[list[Output]]:
        """The same for requests of one `batch_key`: the outputs of each, in their order.

        A step of `context` is a step of all of them; it raises when none of them is wanted.
        """
        return [self.run(bundle, request, context) for request in requests]
