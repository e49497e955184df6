from __future__ import annotations

import errno
import hashlib
import os
import stat

import pytest

from onebox.core.errors import StorageFull
from onebox.core.results import Artifact
from onebox.services.jobs import artifacts as module
from onebox.services.jobs.artifacts import ArtifactFiles
from onebox.services.jobs.ids import new_id
from onebox.services.jobs.rows import draft
from tests.unit.services.job_kit import new


@pytest.fixture
def files(tmp_path):
    return ArtifactFiles(tmp_path / "jobs")


@pytest.fixture
def job():
    return draft(new(blobs={"image": b"upload", "mask.0": b""}), 1.0, 0).job


def test_what_was_uploaded_is_read_again(files, job):
    files.put_blobs(job.id, {"image": b"upload", "mask.0": b""})
    assert files.read_blob(job, "image") == b"upload"
    assert files.read_blob(job, "mask.0") == b""


@pytest.mark.parametrize("name", ["audio", "../image", "", "in-image"])
def test_only_what_the_job_names_is_read(files, job, name):
    files.put_blobs(job.id, {"image": b"upload"})
    with pytest.raises(FileNotFoundError):
        files.read_blob(job, name)


@pytest.mark.parametrize("name", ["", "a/b", "../x", "A", "ü", "x" * 65, "a\0", "a\n"])
def test_names_of_blobs_are_plain(files, job, name):
    with pytest.raises(ValueError, match="is no name of a blob"):
        files.put_blobs(job.id, {name: b""})


def test_a_result_is_described(files, job):
    stored = files.write(job, 3, Artifact("image/png", b"pixels", meta={"seed": 7}))
    assert files.path_of(job, stored).read_bytes() == b"pixels"
    assert (stored.media_type, stored.size_bytes, stored.meta) == ("image/png", 6, {"seed": 7})
    assert stored.sha256 == hashlib.sha256(b"pixels").hexdigest()


def test_a_result_is_written_whole_or_not_at_all(files, job, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(module.os, "fsync", fail)
    with pytest.raises(OSError, match="no"):
        files.write(job, 0, Artifact("image/png", b"pixels"))
    assert [name for name in files.names(job.id) if not name.endswith(".part")] == []


def test_file_and_names_are_on_the_disk_before_it_returns(files, job, monkeypatch):
    done = []
    replace, fsync = os.replace, os.fsync
    monkeypatch.setattr(module.os, "fsync", lambda d: (done.append("file"), fsync(d)))
    monkeypatch.setattr(module, "sync_folder", lambda folder: done.append(folder.name))
    monkeypatch.setattr(
        module.Path, "replace", lambda old, to: (done.append("name"), replace(old, to))
    )
    files.put_blobs(job.id, {"a": b"1", "b": b"2"})
    assert done == ["jobs", "file", "name", "file", "name", job.id]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told(files, job, monkeypatch, number):
    def fail(descriptor):
        raise OSError(number, "no space")

    monkeypatch.setattr(module.os, "fsync", fail)
    with pytest.raises(StorageFull, match="the disk of the data folder is full"):
        files.put_blobs(job.id, {"image": b"x"})


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_only_its_owner_may_read_them(files, job, tmp_path):
    files.put_blobs(job.id, {"image": b"x"})
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "jobs").rglob("*")
    }
    assert modes == {job.id: 0o700, "in-image": 0o600}


def test_what_was_never_there_can_be_removed(files, job):
    files.remove(new_id("job"))
    files.discard(job)
    assert files.names(job.id) == []
