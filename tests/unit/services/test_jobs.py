"""Jobs from their submission to their end, over a real table and real files."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from onebox.core.errors import InvalidInput, ModelNotFound
from onebox.core.media import MediaRef
from onebox.core.plugins import TASKS
from onebox.runtime.wire import Cancel, Progress, Started
from onebox.services.jobs.job import JobNotFound
from onebox.services.jobs.jobs import Submission
from onebox.services.jobs.query import JobQuery
from tests.unit.services.kitchen import FakeTask
from tests.unit.services.office import ADMIN, ALICE, BOB, SHA, Office
from tests.unit.services.workshop import until


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Office:
    monkeypatch.setitem(TASKS._items, "fake", FakeTask())
    (tmp_path / "spool").mkdir()
    return Office(tmp_path)


def test_what_was_asked_is_carried_out_and_kept(office: Office):
    upload = b"u" * 10_000

    async def act(office: Office) -> None:
        job = await office.submit(text="hi", media=MediaRef(data=upload))
        assert (job.state, job.model_sha256, job.priority) == ("queued", SHA, "job")
        done = await office.ended(job)
        assert (done.state, done.attempt) == ("completed", 1)
        (artifact,) = done.artifacts
        complete = await office.jobs.input_of(done)
        assert (complete.text, complete.steps, complete.media.data) == ("hi", 20, upload)
        assert office.jobs.artifact_path(done, artifact).read_bytes() == b"picture"
        assert (artifact.media_type, artifact.meta) == ("image/png", {"seed": 7})
        (frame,) = office.kitchen.submits()
        # What was left open was decided when it was submitted.
        assert (frame.input["text"], frame.input["steps"]) == ("hi", 20)
        assert frame.input["media"].data == upload
        assert (frame.caller, frame.priority) == (ALICE.id, "job")
        # Its limit is that of jobs, and not that of requests.
        assert frame.timeout_s == pytest.approx(24 * 3600, abs=60)

    office.scene(act)
    assert office.kitchen.nothing_is_left()
    assert office.changes


def test_jobs_are_refused_neither_for_what_else_waits_nor_for_their_number(tmp_path, office):
    office.kitchen.admission._max_waiting = 0
    office.kitchen.admission._max_per_caller = 0

    async def act(office: Office) -> str:
        return (await office.ended(await office.submit())).state

    assert office.scene(act) == "completed"


@pytest.mark.parametrize("step", ["resolve", "check"])
def test_what_is_wrong_is_refused_at_once(office: Office, step: str):
    def refuse(*args):
        raise InvalidInput("text: not this one", param="text")

    class Strict(FakeTask):
        pass

    setattr(Strict, step, refuse)

    async def act(office: Office) -> tuple[list, bool]:
        TASKS._items["fake"] = Strict()
        with pytest.raises(InvalidInput):
            await office.submit()
        return await office.jobs.page(ADMIN, JobQuery())

    assert office.scene(act) == ([], False)


def test_a_job_is_for_the_contents_it_was_submitted_for_whatever_their_name(office: Office):
    (entry,) = office.shelf.entries

    async def act(office: Office) -> tuple[str, str]:
        renamed = await office.submit()
        office.shelf.entries = [msgspec.structs.replace(entry, name="another name")]
        first = await office.ended(renamed)
        office.answer = office.fail("worker_unready")
        gone = await office.submit()
        await until(lambda: len(office.kitchen.submits()) == 2)
        office.shelf.entries = [msgspec.structs.replace(entry, sha256="cd" * 32)]
        second = await office.ended(gone)
        return first.state, (second.error or {})["code"]

    assert office.scene(act) == ("completed", ModelNotFound.code)


def test_a_hash_that_is_still_being_made_is_waited_for(office: Office):
    (entry,) = office.shelf.entries
    office.shelf.entries = [msgspec.structs.replace(entry, sha256=None)]

    async def act(office: Office) -> tuple[str | None, str]:
        job = await office.submit()
        return job.model_sha256, (await office.ended(job)).state

    assert office.scene(act) == (SHA, "completed")


def test_each_sees_their_own_and_an_admin_sees_all(office: Office):
    async def act(office: Office) -> None:
        own = await office.submit(ALICE)
        other = await office.submit(BOB)
        assert (await office.jobs.get(own.id, ALICE)).id == own.id
        assert (await office.jobs.get(own.id, ADMIN)).id == own.id
        for what in (office.jobs.get, office.jobs.cancel, office.jobs.delete):
            with pytest.raises(JobNotFound) as theirs:
                await what(other.id, ALICE)
            nobodys = other.id[:-4] + "0000"
            with pytest.raises(JobNotFound) as unknown:
                await what(nobodys, ALICE)
            # Nothing tells that there is one.
            assert theirs.value.message.replace(other.id, nobodys) == unknown.value.message
            assert theirs.value.details == unknown.value.details
        assert [job.id for job in (await office.jobs.page(ALICE, JobQuery()))[0]] == [own.id]
        assert len((await office.jobs.page(ADMIN, JobQuery()))[0]) == 2

    office.scene(act)


def test_cancelling_stops_the_work(office: Office):
    client = office.kitchen.client

    def run_on(frame) -> None:
        client.answer(Started(frame.id), Progress(frame.id, 1, 100))

    async def act(office: Office) -> None:
        office.answer = run_on
        job = await office.submit()
        await until(lambda: (live := office.jobs.live(job.id)) is not None and live.step == 1)
        (frame,) = office.kitchen.submits()
        send = client._send

        def heard(sent) -> None:
            send(sent)
            if isinstance(sent, Cancel):
                office.answer = office.fail("cancelled")
                office.answer(frame)

        client._send = heard
        cancelled = await office.jobs.cancel(job.id, ALICE)
        assert (cancelled.state, office.jobs.live(job.id)) == ("cancelled", None)
        assert Cancel(frame.id) in client.sent
        again = await office.jobs.cancel(job.id, ALICE)
        assert again.state == "cancelled"

    office.scene(act)
    assert office.kitchen.nothing_is_left()
    assert 'onebox_jobs_ended_total{state="cancelled",task="fake"} 1.0' in (
        office.kitchen.metrics.render().decode()
    )


def test_a_job_that_is_deleted_leaves_nothing(office: Office):
    async def act(office: Office) -> None:
        job = await office.submit(media=MediaRef(data=b"u" * 10_000))
        await office.ended(job)
        await office.jobs.delete(job.id, ALICE)
        with pytest.raises(JobNotFound):
            await office.jobs.get(job.id, ALICE)

    office.scene(act)
    assert list((office.folder / "jobs").iterdir()) == []


def test_what_was_running_when_the_server_stopped_begins_anew(office: Office):
    async def first(office: Office) -> str:
        office.answer = lambda frame: None
        job = await office.submit()
        await until(lambda: bool(office.kitchen.submits()))
        return job.id

    job_id = office.scene(first)
    office.answer = office.give

    async def second(office: Office):
        return await office.ended(await office.jobs.get(job_id, ALICE))

    job = office.scene(second)
    assert (job.state, job.attempt, job.lost) == ("completed", 1, 0)


def test_a_key_that_was_sent_before_gives_the_earlier_job(office: Office):
    async def act(office: Office) -> None:
        submission = Submission(idempotency_key="k", fingerprint="f")
        first = await office.submit(submission=submission)
        assert (await office.submit(submission=submission)).id == first.id
        done = await office.ended(first)
        late = await office.submit(submission=submission)
        assert (late.id, late.state) == (done.id, "completed")
        assert len(office.kitchen.submits()) == 1

    office.scene(act)
