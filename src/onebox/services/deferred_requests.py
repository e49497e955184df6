"""`DeferredRequests`: requests to routes as jobs, which are sent to the same routes again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import copy_context
from functools import partial
from typing import Any

import msgspec

from onebox.core.errors import AppError, InferenceFailed, InvalidInput, all_errors
from onebox.core.logs import Origin, current_origin, work_for
from onebox.core.media import MediaRef
from onebox.core.results import Artifact
from onebox.services import deferral
from onebox.services.access.caller import Caller
from onebox.services.deferral import Recording, Replay
from onebox.services.in_process import Answer, App, Asked, send
from onebox.services.jobs.artifacts import ArtifactFiles
from onebox.services.jobs.freezer import Freezer, previews_of
from onebox.services.jobs.job import Job, NewJob
from onebox.services.jobs.live import Live
from onebox.services.jobs.work import Blobs, TaskWork, packed, unpacked

# Of the scope of a request that is only recorded: gets the recording.
RECORDER = "onebox.recorder"
# Headers of an answer that are kept beside its body.
KEPT = "x-onebox-"
# The one that the error has by its code.
UNKNOWN_STATUS = 0
SCOPES = frozenset({"infer"})


class Fetched(msgspec.Struct, frozen=True):
    """What was behind a link."""

    url: str
    media_type: str
    data: bytes


class Refusal(msgspec.Struct, frozen=True):
    """Why a request is not carried out.

    `status` is that of the answer; None: it is no request at all.
    """

    code: str
    message: str
    param: str | None = None
    status: int | None = None

    def error(self) -> AppError:
        kind = all_errors().get(self.code, InvalidInput)
        return kind(self.message, param=self.param)


class RequestWork(msgspec.Struct, frozen=True):
    """A request with all that its route decided.

    Attributes:
        decided: by task, with the fields that were filled in as input.
        refused: instead of all that, why it is not carried out.
        origin: the request that it was, for the log.
    """

    asked: Asked | None = None
    decided: dict[str, TaskWork] = {}
    fetched: list[Fetched] = []
    refused: Refusal | None = None
    origin: Origin = Origin()

    def pack(self) -> tuple[bytes, Blobs]:
        """What `unpack` takes: `Job.work`, and the blobs by name."""
        return packed(msgspec.structs.asdict(self))

    @classmethod
    def unpack(cls, work: bytes, read_blob: Callable[[str], bytes]) -> RequestWork:
        """`read_blob` gives the blob of a name."""
        return msgspec.convert(unpacked(work, read_blob), cls)


class DeferredRequests:
    """Makes jobs of requests, and carries them out. Lives on the gateway's event loop.

    Args:
        find_caller: who an id stands for now, with what they may take; None for ids without a
            stored key. Raises Unauthorized when the key has ended.
    """

    def __init__(
        self,
        freezer: Freezer,
        files: ArtifactFiles,
        find_caller: Callable[[str], Caller | None] = lambda _: None,
    ) -> None:
        self._freezer = freezer
        self._files = files
        self._find_caller = find_caller
        self._app: App | None = None

    def attach(self, app: App) -> None:
        """Where requests are sent."""
        self._app = app

    async def new_job(
        self, asked: Asked, recording: Recording, caller: str, *, has_previews: bool = True
    ) -> NewJob:
        """The request as a job that may still be changed before it is submitted.

        Waits for the hashes of its checkpoints. Raises ModelNotFound, ModelBusy.
        """
        decided = dict[str, TaskWork]()
        for prepared, filled in recording.prepared:
            frozen = await self._freezer.freeze(prepared)
            shown = previews_of(prepared) if has_previews else {}
            decided[frozen.task] = msgspec.structs.replace(frozen, input={**filled, **shown})
        fetched = [
            Fetched(url, media.media_type, media.data or b"")
            for url, media in recording.fetched.items()
        ]
        request = RequestWork(asked, decided, fetched, origin=current_origin())
        work, blobs = await asyncio.to_thread(request.pack)
        last, _ = recording.prepared[-1]
        weights, options = decided[last.task.name].model, last.options
        return NewJob(
            caller=caller,
            kind="request",
            task=last.task.name,
            model=weights.name,
            model_sha256=weights.sha256 or None,
            work=work,
            blobs=blobs,
            priority="batch" if options.priority == "batch" else "job",
            timeout_s=options.timeout_s,
            public={"path": asked.path},
        )

    async def record(self, asked: Asked, caller: Caller, request_id: str) -> NewJob | Refusal:
        """The same for a request that comes over no connection; its route checks it now.

        Raises Unauthorized when the caller's key has ended.
        """
        found = list[Recording]()
        known = self._find_caller(caller.id) or caller
        answer = await self._send(asked, known, request_id, None, {RECORDER: found.append})
        if not found:
            return _refusal(answer)
        # Nobody looks at a line of a batch.
        return await self.new_job(asked, found[0], caller.id, has_previews=False)

    def refused(self, refusal: Refusal, caller: str) -> NewJob:
        """A job that fails when its turn comes, so that it is told of where others are."""
        work, blobs = RequestWork(refused=refusal).pack()
        return NewJob(
            caller=caller,
            kind="request",
            task="",
            model="",
            work=work,
            blobs=blobs,
            priority="batch",
        )

    async def run(self, job: Job, live: Live) -> Sequence[Artifact]:
        """One attempt: what the route answers, with its media type.

        Raises the error that it answered with.
        """
        read_blob = partial(self._files.read_blob, job)
        work = await asyncio.to_thread(RequestWork.unpack, job.work, read_blob)
        if work.refused is not None:
            raise work.refused.error()
        assert work.asked is not None
        work_for(work.origin)
        replay = Replay(
            work.decided,
            {it.url: MediaRef(media_type=it.media_type, data=it.data) for it in work.fetched},
            freeze=self._freezer.freeze,
            restore=lambda task_work, number: self._freezer.restore(
                task_work, job, live, number=number
            ),
        )
        # What was accepted is done, whatever the key may do by now.
        caller = Caller(job.caller, SCOPES)
        answer = await self._send(work.asked, caller, job.id, replay, {})
        if answer.status >= 400 or not answer.whole:
            raise _error_of(answer, replay.failure)
        media_type = answer.headers.get("content-type", "application/octet-stream")
        kept = {
            name.removeprefix(KEPT).replace("-", "_"): text
            for name, text in answer.headers.items()
            if name.startswith(KEPT)
        }
        return [Artifact(media_type, answer.body, None, {"status": answer.status, **kept})]

    async def _send(
        self,
        asked: Asked,
        caller: Caller,
        request_id: str,
        replay: Replay | None,
        further: dict[str, Any],
    ) -> Answer:
        assert self._app is not None, "attach an app first"
        context = copy_context()
        context.run(deferral.begin, replay)
        return await send(
            self._app,
            asked,
            caller,
            request_id,
            context=context,
            further=further,
        )


def _error_of(answer: Answer, failure: AppError | None) -> AppError:
    """What an answer tells, or ended in on the way."""
    if answer.status < 400:
        return failure or InferenceFailed("the answer broke off")
    return _refusal(answer).error()


def _refusal(answer: Answer) -> Refusal:
    try:
        told = msgspec.json.decode(answer.body)["error"]
        return Refusal(told["code"], told["message"], told["param"], answer.status)
    except (msgspec.DecodeError, LookupError, TypeError):
        message = f"the request was answered with status {answer.status} instead of being run"
        return Refusal(InferenceFailed.code, message, None, answer.status)
