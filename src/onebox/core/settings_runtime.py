"""The settings of workers, memory, queues and time limits: the runtime's part of `Settings`."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import ByteSize, Field, field_validator
from pydantic_settings import BaseSettings

from onebox.core.errors import InvalidInput
from onebox.core.memory_amounts import parse_bytes
from onebox.core.settings_forms import StrTuple, prefixed

DEVICE = re.compile(r"\s*(?:auto|cpu|mps|(?:cuda|rocm|xpu)(?::\d+)?)\s*", re.IGNORECASE)


class RuntimeSettings(BaseSettings):
    """What the runtime may use, and for how long."""

    device: StrTuple = Field(
        ("auto",),
        validation_alias=prefixed("DEVICE"),
        description="`auto`, or devices: `cpu`, `mps`, `cuda`, `cuda:1,…`.",
    )
    threads: int | None = Field(
        None,
        ge=1,
        validation_alias=prefixed("THREADS"),
        description="Torch threads per worker; default from the CPUs this process may use.",
    )
    memory_budget: str | None = Field(
        None,
        validation_alias=prefixed("MEMORY_BUDGET"),
        description="Bytes (`8GiB`) or share (`0.8`) of device memory for models; "
        "default: what is free at start less a reserve.",
    )
    idle_timeout: float = Field(
        900.0,
        ge=0,
        validation_alias=prefixed("IDLE_TIMEOUT"),
        description="Seconds after its last use until a model is unloaded; 0 keeps it.",
    )
    max_queue: int = Field(
        256,
        ge=1,
        validation_alias=prefixed("MAX_QUEUE"),
        description="Requests that may wait for one worker.",
    )
    max_queue_per_model: int = Field(
        128,
        ge=1,
        validation_alias=prefixed("MAX_QUEUE_PER_MODEL"),
        description="Requests that may wait for one model.",
    )
    max_per_caller: int | None = Field(
        None,
        ge=1,
        validation_alias=prefixed("MAX_PER_CALLER"),
        description="Requests of one caller that may wait or run; default: any number.",
    )
    replicate_at: int = Field(
        8,
        ge=1,
        validation_alias=prefixed("REPLICATE_AT"),
        description="Requests for a model at its worker from which a free worker loads it too.",
    )
    batch_window: float = Field(
        0.005,
        ge=0,
        le=1,
        validation_alias=prefixed("BATCH_WINDOW"),
        description="Seconds at most that a request waits for others to share its run; "
        "none when the model is idle.",
    )
    max_sequences: int = Field(
        64,
        ge=1,
        le=4096,
        validation_alias=prefixed("MAX_SEQUENCES"),
        description="Texts that one model writes at the same time; others wait.",
    )
    prefix_cache: ByteSize = Field(
        ByteSize(512 * 1024**2),
        validation_alias=prefixed("PREFIX_CACHE"),
        description="Memory per chat model for prompts that may come again (`512MiB`); 0: none.",
    )
    preload: StrTuple = Field(
        (),
        validation_alias=prefixed("PRELOAD"),
        description="Comma-separated models to load at start; `/ready` waits for them.",
    )
    request_timeout: float = Field(
        3600.0,
        gt=0,
        validation_alias=prefixed("REQUEST_TIMEOUT"),
        description="Seconds a request may take at most, waiting included.",
    )
    lease_timeout: float = Field(
        60.0,
        gt=0,
        validation_alias=prefixed("LEASE_TIMEOUT"),
        description="Seconds to wait for memory that running requests hold.",
    )
    hang_timeout: float = Field(
        60.0,
        ge=10,
        validation_alias=prefixed("HANG_TIMEOUT"),
        description="Seconds of silence, or past a request's limit, until a worker is killed.",
    )
    leak_limit: ByteSize = Field(
        ByteSize(1024**3),
        validation_alias=prefixed("LEAK_LIMIT"),
        description="Memory that unloaded models may leave behind until an idle worker restarts "
        "(`1GiB`).",
    )
    shutdown_grace: float = Field(
        20.0,
        ge=0,
        validation_alias=prefixed("SHUTDOWN_GRACE"),
        description="Seconds that running requests get to finish at shutdown.",
    )
    drain_delay: float = Field(
        0.0,
        ge=0,
        validation_alias=prefixed("DRAIN_DELAY"),
        description="Seconds at shutdown in which `/ready` says no but new work still comes in, "
        "for load balancers.",
    )
    worker: Literal["process", "inline"] = Field(
        "process",
        validation_alias=prefixed("WORKER"),
        description="`process`, or `inline` for debugging (torch in the gateway).",
    )

    @field_validator("device")
    @classmethod
    def _may_be_devices(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """Which of them there are is for the hardware to say."""
        for name in names:
            if not DEVICE.fullmatch(name):
                raise ValueError(
                    f"{name!r} is no name of a device: auto, cpu, mps, cuda, rocm or xpu, "
                    "or one of several such as cuda:1"
                )
        return names

    @field_validator("memory_budget")
    @classmethod
    def _is_amount(cls, text: str | None) -> str | None:
        if text is not None:
            try:
                parse_bytes(text)
            except InvalidInput as error:
                raise ValueError(error.message.rstrip(".")) from None
        return text
