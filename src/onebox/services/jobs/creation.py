"""`create_jobs`: joins what jobs are made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from onebox.core.contracts import Entry
from onebox.core.settings import Settings
from onebox.services.catalogue import Catalogue
from onebox.services.database import Database
from onebox.services.inference import Inference
from onebox.services.jobs.artifacts import ArtifactFiles
from onebox.services.jobs.attempts import Attempts, Executor
from onebox.services.jobs.events import Updates
from onebox.services.jobs.freezer import Freezer
from onebox.services.jobs.job import Kind
from onebox.services.jobs.jobs import Jobs
from onebox.services.jobs.live import Live
from onebox.services.jobs.neighbours import Neighbours
from onebox.services.jobs.retention import Retention
from onebox.services.jobs.rows import Hook
from onebox.services.jobs.runner import Runner
from onebox.services.jobs.store import JobStore
from onebox.services.jobs.task_executor import TaskExecutor
from onebox.services.metrics import Metrics
from onebox.services.owner import owner_of

FOLDER = "jobs"


def create_jobs(
    settings: Settings,
    database: Database,
    inference: Inference,
    catalogue: Catalogue,
    metrics: Metrics,
    *,
    identify: Callable[[Entry], Entry],
    wait_ready: Callable[[], Awaitable[None]],
    hooks: Sequence[Hook] = (),
    changed: Callable[[], None] = lambda: None,
) -> Jobs:
    """Jobs in the database and the data folder. They do not run before `Jobs.start`.

    Args:
        identify: an entry with its SHA-256, hashed in the calling thread if need be.
        wait_ready: until a worker is up; raises WorkerUnready.
        hooks: called in each transaction that changes a job's state, in a thread of the database.
        changed: called on the event loop after such transactions.
    """
    files = ArtifactFiles(settings.data_dir / FOLDER)
    owner = owner_of(settings)
    store = JobStore(
        database,
        files,
        owner=owner,
        ttl_days=settings.job_ttl,
        max_bytes=int(settings.job_store),
        max_queued=settings.max_jobs,
        hooks=hooks,
    )
    freezer = Freezer(catalogue, identify, timeout_s=settings.job_timeout)
    executors: dict[Kind, Executor] = {"task": TaskExecutor(inference, freezer, files)}

    def live(job_id: str) -> Live | None:
        return runner.live(job_id)

    updates = Updates(store, live, changed)
    attempts = Attempts(store, files, updates, executors, ended=metrics.jobs.ended)
    runner = Runner(attempts, updates, concurrency=settings.job_concurrency, wait_ready=wait_ready)
    neighbours = None
    if owner is not None:
        neighbours = Neighbours(owner, store, runner, updates, lost_s=settings.job_takeover)
    metrics.jobs.count(runner.counts)
    return Jobs(
        store,
        Retention(store, database, files, is_shared=owner is not None),
        files,
        freezer,
        inference,
        updates,
        runner,
        executors,
        ended=metrics.jobs.ended,
        neighbours=neighbours,
    )
