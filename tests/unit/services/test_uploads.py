"""Files that clients bring: whole on the disk, for their owner alone, until they expire."""

from __future__ import annotations

import asyncio
import io
import threading

import pytest
from sqlalchemy import text

from onebox.core.errors import FileNotFound, InvalidInput, StorageFull
from onebox.services.database import Database, sqlite_url
from onebox.services.uploads import DAY_S, EXPIRE_EVERY_S, Uploads
from tests.support.clock import Clock

COUNT = text("SELECT count(*) FROM uploaded_files")


@pytest.fixture
def clock():
    return Clock(1e9)


@pytest.fixture
def database(tmp_path):
    opened = Database(sqlite_url(tmp_path / "onebox.db"))
    yield opened
    opened.close()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "uploads"


@pytest.fixture
def uploads(database, folder, clock):
    return Uploads(database, folder, ttl_days=30, max_bytes=100, clock=clock)


def create(uploads, data=b"abc", *, filename="a.jsonl", purpose="batch", caller="one", **given):
    return asyncio.run(
        uploads.create(io.BytesIO(data), filename=filename, purpose=purpose, caller=caller, **given)
    )


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def listed(uploads, caller="one", **given):
    found, has_more = asyncio.run(uploads.page(caller, **{"limit": 100, **given}))
    return [upload.id for upload in found], has_more


def test_a_file_is_found_again_with_its_bytes(uploads, folder):
    created = create(uploads)
    assert asyncio.run(uploads.get(created.id, "one")) == created
    upload, path = asyncio.run(uploads.open(created.id, "one"))
    assert (upload, path.read_bytes()) == (created, b"abc")
    assert (created.filename, created.purpose, created.size_bytes) == ("a.jsonl", "batch", 3)
    assert names(folder) == [created.id]


def test_all_of_a_source_that_was_read_before_is_stored(uploads):
    source = io.BytesIO(b"abc")
    source.read()
    created = asyncio.run(uploads.create(source, filename="a", purpose="batch", caller="one"))
    assert asyncio.run(uploads.open(created.id, "one"))[1].read_bytes() == b"abc"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\secret\\a.txt", "a.txt"),
        ("/", "file"),
        ("", "file"),
        ("..", ".."),
        ("a\x00\r\n\u202eb", "ab"),
        ("x" * 300, "x" * 255),
    ],
)
def test_a_name_is_for_showing_and_names_nothing_on_the_disk(uploads, folder, given, kept):
    created = create(uploads, filename=given)
    assert created.filename == kept
    assert names(folder) == [created.id]


def test_nobody_else_sees_it(uploads):
    created = create(uploads)
    for attempt in (uploads.get, uploads.open, uploads.delete):
        with pytest.raises(FileNotFound):
            asyncio.run(attempt(created.id, "two"))
    assert listed(uploads, "two") == ([], False)
    assert listed(uploads) == ([created.id], False)


@pytest.mark.parametrize("file_id", ["", "..", "../onebox.db", "file_x", "file_" + "u" * 26, "%2e"])
def test_what_is_no_id_leads_nowhere(uploads, file_id):
    for attempt in (uploads.get, uploads.open, uploads.delete):
        with pytest.raises(FileNotFound):
            asyncio.run(attempt(file_id, "one"))


def test_pages_go_on_after_a_file_even_when_it_is_gone(uploads):
    first, second, third = (create(uploads).id for _ in range(3))
    assert listed(uploads, limit=2) == ([third, second], True)
    assert listed(uploads, limit=2, order="asc") == ([first, second], True)
    asyncio.run(uploads.delete(second, "one"))
    assert listed(uploads, after=second) == ([first], False)
    assert listed(uploads, after=second, order="asc") == ([third], False)
    with pytest.raises(InvalidInput):
        listed(uploads, after="x")


def test_a_page_of_one_purpose(uploads):
    create(uploads)
    other = create(uploads, purpose="vision")
    assert listed(uploads, purpose="vision") == ([other.id], False)


def test_a_deleted_file_is_gone_with_its_bytes(uploads, folder):
    created = create(uploads)
    asyncio.run(uploads.delete(created.id, "one"))
    assert names(folder) == []
    with pytest.raises(FileNotFound):
        asyncio.run(uploads.delete(created.id, "one"))


def test_a_file_expires(uploads, folder, clock):
    by_default, soon = create(uploads), create(uploads, lifetime_s=60)
    assert by_default.expires_at == clock.now + 30 * DAY_S
    clock.now += 60
    assert listed(uploads) == ([by_default.id], False)
    with pytest.raises(FileNotFound):
        asyncio.run(uploads.get(soon.id, "one"))
    clock.now += EXPIRE_EVERY_S
    later = create(uploads)
    assert names(folder) == sorted([by_default.id, later.id])


def test_without_a_time_to_live_a_file_stays(database, folder, clock):
    uploads = Uploads(database, folder, ttl_days=0, max_bytes=100, clock=clock)
    assert create(uploads).expires_at is None


def test_what_would_not_fit_is_refused_with_the_numbers(uploads, folder):
    kept = create(uploads, b"x" * 60)
    with pytest.raises(StorageFull, match="DELETE") as caught:
        create(uploads, b"x" * 41)
    assert caught.value.details == {"used": 60, "max": 100}
    assert names(folder) == [kept.id]
    create(uploads, b"x" * 40)
    create(uploads, b"what the server made itself", may_refuse=False)


class Slow(io.BytesIO):
    """A source that is read when the test says so."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.asked, self.goes_on = threading.Event(), threading.Event()

    def read(self, size: int | None = -1) -> bytes:
        self.asked.set()
        self.goes_on.wait(60)
        return super().read(size)


def test_files_that_are_still_coming_take_room_too(uploads):
    async def use() -> None:
        slow = Slow(b"x" * 60)
        first = asyncio.ensure_future(
            uploads.create(slow, filename="a", purpose="batch", caller="one")
        )
        await asyncio.to_thread(slow.asked.wait)
        with pytest.raises(StorageFull):
            await uploads.create(io.BytesIO(b"x" * 60), filename="a", purpose="batch", caller="one")
        slow.goes_on.set()
        await first

    asyncio.run(use())


def test_a_client_that_leaves_does_not_leave_half_a_file(uploads, folder):
    async def use() -> None:
        slow = Slow(b"abc")
        work = asyncio.ensure_future(
            uploads.create(slow, filename="a", purpose="batch", caller="one")
        )
        await asyncio.to_thread(slow.asked.wait)
        work.cancel()
        slow.goes_on.set()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(use())
    (kept,), _ = listed(uploads)
    assert names(folder) == [kept]


class Broken(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        raise OSError("the disk is full")


def test_a_file_that_cannot_be_written_leaves_nothing(uploads, folder):
    with pytest.raises(OSError, match="full"):
        asyncio.run(uploads.create(Broken(b"x"), filename="a", purpose="batch", caller="one"))
    assert (names(folder), listed(uploads)) == ([], ([], False))


def test_further_writes_share_the_transaction_of_the_row(uploads, database, folder):
    seen = []
    created = create(
        uploads, also=lambda c, upload: seen.append((c.execute(COUNT).scalar(), upload))
    )
    assert seen == [(1, created)]

    def refuse(*_: object) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        create(uploads, also=refuse)
    assert names(folder) == [created.id]
    assert asyncio.run(database.read(lambda c: c.execute(COUNT).scalar())) == 1


def test_what_a_crash_left_behind_is_swept_away_at_the_next_start(uploads, folder):
    kept = create(uploads)
    (folder / "file_00000000000000000000000000.part").write_bytes(b"half")
    (folder / "file_00000000000000000000000000").write_bytes(b"whole, without a row")
    uploads.recover()
    assert names(folder) == [kept.id]


def test_a_row_whose_file_is_gone_is_not_found(uploads, folder):
    created = create(uploads)
    (folder / created.id).unlink()
    with pytest.raises(FileNotFound):
        asyncio.run(uploads.open(created.id, "one"))
