"""The files of jobs: a folder each, with what was uploaded and what came out."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from onebox.core.errors import StorageFull
from onebox.core.os_support import sync_folder
from onebox.core.results import Artifact
from onebox.services.jobs.job import Job, StoredArtifact

BLOB = "in-"
PARTIAL = ".part"
_BLOB_NAME = re.compile(r"[a-z0-9_.-]{1,64}")
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class ArtifactFiles:
    """Writes files whole or not at all, and has them on the disk when it returns.

    Blocking; safe from any thread. Raises StorageFull when the disk is.

    Args:
        folder: belongs to it; all that jobs do not name is deleted.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder

    def put_blobs(self, job_id: str, blobs: Mapping[str, bytes]) -> None:
        """What was uploaded with a job; before its row is there."""
        for name, data in blobs.items():
            if not _BLOB_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a blob")
            self._write(job_id, f"{BLOB}{name}", data)
        if blobs:
            sync_folder(self._folder / job_id)

    def read_blob(self, job: Job, name: str) -> bytes:
        """Raises FileNotFoundError for one that the job does not have."""
        if name not in job.blobs:
            raise FileNotFoundError(name)
        return (self._folder / job.id / f"{BLOB}{name}").read_bytes()

    def write(self, job: Job, number: int, artifact: Artifact) -> StoredArtifact:
        """One result of the attempt whose fence the job has; `number` is its place in them."""
        assert artifact.data is not None
        name = f"{job.fence}-{number}"
        self._write(job.id, name, artifact.data)
        sync_folder(self._folder / job.id)
        digest = hashlib.sha256(artifact.data).hexdigest()
        return StoredArtifact(
            name, artifact.media_type, len(artifact.data), digest, dict(artifact.meta)
        )

    def path_of(self, job: Job, artifact: StoredArtifact) -> Path:
        return self._folder / job.id / artifact.name

    def remove(self, job_id: str) -> None:
        """All files of a job that is deleted."""
        shutil.rmtree(self._folder / job_id, ignore_errors=True)

    def discard(self, job: Job) -> None:
        """The results of an attempt that does not count, and the folder if nothing is left."""
        folder = self._folder / job.id
        _unlink(folder, (name for name in _names(folder) if name.startswith(f"{job.fence}-")))
        with contextlib.suppress(OSError):
            folder.rmdir()

    def names(self, job_id: str) -> list[str]:
        """The files that lie there now."""
        return _names(self._folder / job_id)

    def keep(self, job: Job, names: Iterable[str]) -> None:
        """Delete those files that the job does not name.

        `names` are from before the job was read: an attempt may have begun since.
        """
        named = {f"{BLOB}{name}" for name in job.blobs}
        named |= {artifact.name for artifact in job.artifacts}
        own = f"{job.fence}-" if job.state == "running" else None
        _unlink(
            self._folder / job.id,
            (name for name in names if name not in named and not (own and name.startswith(own))),
        )

    def job_ids(self) -> list[str]:
        """The jobs that have a folder."""
        return _names(self._folder)

    def _write(self, job_id: str, name: str, data: bytes) -> None:
        folder = self._folder / job_id
        partial = folder / f"{name}{PARTIAL}"
        with _told():
            if not folder.is_dir():
                folder.mkdir(exist_ok=True, mode=0o700)
                sync_folder(self._folder)
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(folder / name)


def _names(folder: Path) -> list[str]:
    # What cannot be looked at is not deleted now.
    with contextlib.suppress(OSError):
        return os.listdir(folder)
    return []


def _unlink(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        # One that someone reads cannot go on some systems; the next start tries again.
        with contextlib.suppress(OSError):
            (folder / name).unlink()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise StorageFull(
            "the disk of the data folder is full; delete jobs, or free space on it"
        ) from error
