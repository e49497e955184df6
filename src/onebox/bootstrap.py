"""The one place where objects are built and joined. Nothing is built at import."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from filelock import FileLock

from onebox.core.contracts import TaskDefaults
from onebox.core.default_aliases import DEFAULT_ALIASES
from onebox.core.media import Spool
from onebox.core.plugins import load_plugins
from onebox.core.settings import Settings
from onebox.core.structs import learn_structs
from onebox.registry.hash_store import HashStore
from onebox.registry.registry import Registry
from onebox.runtime.clients import create_client
from onebox.runtime.memory_pool import MemoryPools
from onebox.runtime.pool_limit import PoolLimit
from onebox.runtime.worker_pool import WorkerPool
from onebox.services.access.access import Access
from onebox.services.access.creation import create_access
from onebox.services.access.keys.generated import generated_key
from onebox.services.admission import Admission
from onebox.services.background import Background
from onebox.services.batches.batches import Batches, create_batches
from onebox.services.catalogue import Catalogue
from onebox.services.companions import Companions
from onebox.services.data_dir import lock_data_dir
from onebox.services.database import DATABASE_FILE, Database, sqlite_url
from onebox.services.deferred_requests import DeferredRequests
from onebox.services.dispatch import Dispatch
from onebox.services.drain import Drain
from onebox.services.fallbacks import Fallbacks
from onebox.services.files import FileStore
from onebox.services.footprints import Footprints
from onebox.services.hooks.creation import create_usage_hooks
from onebox.services.inference import Inference
from onebox.services.jobs.creation import create_jobs
from onebox.services.jobs.jobs import Jobs
from onebox.services.live_sessions import LiveSessions
from onebox.services.metrics import Metrics
from onebox.services.models import ModelControl
from onebox.services.pickles.conversion import Conversion, converted_store, create_conversion
from onebox.services.preload import Preloader
from onebox.services.remote_media import RemoteMedia
from onebox.services.residency import Residency
from onebox.services.response_store import ResponseStore, create_response_store
from onebox.services.running import RunningRequests
from onebox.services.secret_files import stored_secret
from onebox.services.sizing import Sizing
from onebox.services.tracing.creation import create_tracing
from onebox.services.uploads import Uploads, create_uploads
from onebox.services.upstreams.client import UpstreamClient
from onebox.services.upstreams.creation import create_upstreams, remote_entries
from onebox.services.usage.creation import UsageServices, create_usage
from onebox.services.webhooks.creation import create_webhooks
from onebox.services.webhooks.delivery import Webhooks

if TYPE_CHECKING:
    from onebox.services.tracing.tracing import Tracing

LINK_SECRET_FILE = "links.key"


@dataclass(frozen=True, slots=True)
class Services:
    """Everything the routes need, built once."""

    settings: Settings
    registry: Registry
    pools: MemoryPools
    pool: WorkerPool
    upstreams: dict[str, UpstreamClient]
    sizing: Sizing
    admission: Admission
    running: RunningRequests
    drain: Drain
    live: LiveSessions
    catalogue: Catalogue
    conversion: Conversion
    inference: Inference
    residency: Residency
    models: ModelControl
    preloader: Preloader
    access: Access
    usage: UsageServices
    files: FileStore
    remote_media: RemoteMedia
    database: Database
    responses: ResponseStore
    uploads: Uploads
    webhooks: Webhooks
    jobs: Jobs
    deferred: DeferredRequests
    batches: Batches
    background: Background
    metrics: Metrics
    tracing: Tracing | None
    generated_key: str | None
    hash_store: HashStore
    footprints: Footprints
    lock: FileLock

    async def start(self) -> None:
        """Bring up workers and registry; workers first, for they take seconds to import torch."""
        await self.pool.start()
        await self.access.start()
        await asyncio.to_thread(self.registry.start)
        await self.preloader.start()
        await self.usage.start()
        await self.webhooks.start()
        await self.jobs.start()
        await self.batches.start()

    async def close(self) -> None:
        await self.batches.close()
        await self.jobs.close()
        await self.preloader.close()
        await self.conversion.close()
        closings = [self.pool.close, *(client.close for client in self.upstreams.values())]
        await asyncio.gather(*(close(self.settings.shutdown_grace) for close in closings))
        await self.background.close()
        await self.usage.close()
        await self.access.close()
        await self.webhooks.close()
        await asyncio.to_thread(self.registry.stop)
        self.remote_media.close()
        self.hash_store.close()
        self.footprints.close()
        await asyncio.to_thread(self.database.close)
        if self.tracing is not None:
            await asyncio.to_thread(self.tracing.close)
        self.lock.release()


def build_services(settings: Settings, *, may_make_key: bool = False) -> Services:
    """Raises ConfigurationError when the data folder is taken or the settings are unsafe.

    `may_make_key`: see `generated_key`.
    """
    load_plugins()
    learn_structs()
    tracing = create_tracing(settings)
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = lock_data_dir(settings.data_dir)
    database = open_database(settings)
    key = generated_key(settings, database, may_make=may_make_key)
    spool = Spool(settings.data_dir / "spool")
    spool.clear()
    hash_store = HashStore(settings.data_dir / "cache.db")
    registry = build_registry(settings, hash_store)
    footprints = Footprints(settings.data_dir / "cache.db")
    sizing = Sizing(registry, footprints)
    pools = MemoryPools(PoolLimit(settings.memory_budget, lambda: pool.clients))
    pool = WorkerPool(
        lambda index: create_client(settings, spool, pools, registry.is_current, index),
        pools,
        replicate_at=settings.replicate_at,
    )
    metrics = Metrics(lambda: pool.clients)
    upstreams = create_upstreams(settings, spool, pools, metrics)
    metrics.server.watch_disk(settings.data_dir)
    access = create_access(settings, database, metrics, key)
    usage = create_usage(settings, database, metrics, access)
    admission = Admission(
        max_waiting=settings.max_queue,
        max_waiting_per_model=settings.max_queue_per_model,
        max_per_caller=settings.max_per_caller,
    )
    running = RunningRequests()
    conversion = create_conversion(settings, registry)
    catalogue = Catalogue(registry, pool.has_loaded, conversion.converted)
    if "photo" in settings.compat:
        metrics.compat.add_backgrounds(metrics.inference, catalogue, lambda: pool.clients)
    defaults = TaskDefaults(
        settings.default_inference_steps,
        settings.default_guidance_scale,
        settings.max_audio_seconds,
        settings.max_video_seconds,
        settings.max_video_frames,
    )
    residency = Residency(pool, sizing, timeout_s=settings.request_timeout)
    inference = Inference(
        catalogue,
        Companions(catalogue),
        Dispatch(pool, spool, admission, sizing, tracing, upstreams),
        metrics,
        running,
        defaults,
        timeout_s=settings.request_timeout,
        log_prompts=settings.log_prompts,
        gatekeeper=usage.gatekeeper,
        ledger=usage.ledger,
        fallbacks=Fallbacks(settings.fallbacks, catalogue, metrics.upstreams.fell_back),
    )
    link_secret = stored_secret(settings.data_dir / LINK_SECRET_FILE, "")
    webhooks = create_webhooks(settings, database, metrics)
    usage.ledger.hooks += create_usage_hooks(settings, webhooks)
    uploads = create_uploads(settings, database)
    batches = create_batches(settings, database, uploads)
    jobs = create_jobs(
        settings,
        database,
        inference,
        catalogue,
        metrics,
        identify=registry.identify,
        wait_ready=pool.wait_ready,
        hooks=(webhooks.job_changed, batches.line_changed),
        changed=batches.jobs_changed,
    )
    deferred = DeferredRequests(jobs.freezer, jobs.files, access.keys.index.caller)
    jobs.add_executor("request", deferred)
    return Services(
        settings=settings,
        registry=registry,
        pools=pools,
        pool=pool,
        upstreams=upstreams,
        sizing=sizing,
        admission=admission,
        running=running,
        drain=Drain(admission, running, pool, upstreams.values()),
        live=LiveSessions(max_per_caller=settings.max_per_caller),
        catalogue=catalogue,
        conversion=conversion,
        inference=inference,
        residency=residency,
        models=ModelControl(
            registry,
            pool,
            pools,
            residency,
            sizing,
            model_dirs=settings.model_dirs,
            defaults=defaults,
        ),
        preloader=_create_preloader(settings, pool, catalogue, residency),
        access=access,
        usage=usage,
        files=FileStore(settings.data_dir / "files", link_secret, ttl_s=settings.file_ttl),
        remote_media=RemoteMedia(enabled=settings.remote_media, hosts=settings.remote_media_hosts),
        database=database,
        responses=create_response_store(settings, database),
        uploads=uploads,
        webhooks=webhooks,
        jobs=jobs,
        deferred=deferred,
        batches=batches,
        background=Background(),
        metrics=metrics,
        tracing=tracing,
        generated_key=key,
        hash_store=hash_store,
        footprints=footprints,
        lock=lock,
    )


def build_registry(settings: Settings, hash_store: HashStore) -> Registry:
    return Registry(
        settings.model_dirs,
        hash_store,
        scan_interval_s=settings.model_scan_interval,
        aliases=settings.model_aliases,
        task_aliases=DEFAULT_ALIASES,
        default_models=settings.default_models,
        converted=converted_store(settings),
        remote=remote_entries(settings),
    )


def open_database(settings: Settings) -> Database:
    url = settings.database_url
    path = settings.data_dir / DATABASE_FILE
    return Database(url.get_secret_value() if url else sqlite_url(path))


def _create_preloader(
    settings: Settings, pool: WorkerPool, catalogue: Catalogue, residency: Residency
) -> Preloader:
    async def load(name: str) -> None:
        entry = await catalogue.named(name)
        async with contextlib.aclosing(residency.load(entry, caller="preload")) as events:
            async for _ in events:
                pass

    return Preloader(settings.preload, load, pool.lives, pool.wait_ready)
