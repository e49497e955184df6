"""The settings of jobs, webhooks, uploaded files and videos: a part of `Settings`."""

from __future__ import annotations

from pydantic import ByteSize, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings

from onebox.core.settings_forms import StrTuple, prefixed

MIN_TAKEOVER_S = 8.0


class JobSettings(BaseSettings):
    """What long work may take, and what is kept of it."""

    job_concurrency: int = Field(
        4,
        ge=1,
        le=256,
        validation_alias=prefixed("JOB_CONCURRENCY"),
        description="Jobs that run at the same time.",
    )
    job_timeout: float = Field(
        24 * 3600.0,
        gt=0,
        validation_alias=prefixed("JOB_TIMEOUT"),
        description="Seconds that one attempt at a job may take at most.",
    )
    max_jobs: int = Field(
        100_000,
        ge=1,
        validation_alias=prefixed("MAX_JOBS"),
        description="Jobs that may wait to run.",
    )
    job_ttl: float = Field(
        7.0,
        ge=0,
        validation_alias=prefixed("JOB_TTL"),
        description="Days that a job and its result are kept after its end; 0 keeps them.",
    )
    job_store: ByteSize = Field(
        ByteSize(20 * 1024**3),
        validation_alias=prefixed("JOB_STORE"),
        description="Space for what jobs were given and have made (`20GiB`); when it is full, new "
        "jobs are refused.",
    )
    job_takeover: float = Field(
        60.0,
        ge=0,
        validation_alias=prefixed("JOB_TAKEOVER"),
        description="Seconds without a sign of life after which other servers on the same "
        "`ONEBOX_DATABASE_URL` take up a server's jobs that need no files of its; 0: never.",
    )
    upload_ttl: float = Field(
        30.0,
        ge=0,
        validation_alias=prefixed("UPLOAD_TTL"),
        description="Days that a file of `/v1/files` is kept; 0 keeps it.",
    )
    upload_store: ByteSize = Field(
        ByteSize(10 * 1024**3),
        validation_alias=prefixed("UPLOAD_STORE"),
        description="Space for files of `/v1/files` (`10GiB`); when it is full, new ones are "
        "refused.",
    )
    webhook_secret: SecretStr | None = Field(
        None,
        validation_alias=prefixed("WEBHOOK_SECRET"),
        description="What webhooks are signed with (`whsec_…`); default: one that is made at the "
        "first start, which `onebox keys webhook` shows.",
    )
    webhook_hosts: StrTuple = Field(
        (),
        validation_alias=prefixed("WEBHOOK_HOSTS"),
        description="Comma-separated hosts (`name` or `name:port`) of webhooks that may be "
        "private, plain http and on any port.",
    )
    max_video_frames: int = Field(
        1_200,
        ge=1,
        validation_alias=prefixed("MAX_VIDEO_FRAMES"),
        description="Most frames of a video.",
    )
    max_video_seconds: float = Field(
        60.0,
        gt=0,
        validation_alias=prefixed("MAX_VIDEO_SECONDS"),
        description="Longest video, in seconds.",
    )

    @field_validator("job_takeover")
    @classmethod
    def _long_enough(cls, seconds: float) -> float:
        if 0 < seconds < MIN_TAKEOVER_S:
            raise ValueError(
                f"must be 0, or at least {MIN_TAKEOVER_S:g}: servers show every 2 seconds that "
                "they live, and a busy one may be late"
            )
        return seconds
