"""The one place where objects are built and joined. Nothing is built at import."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from dataclasses import dataclass

from filelock import FileLock
from pydantic import SecretStr

from onebox.core.contracts import TaskDefaults
from onebox.core.errors import ConfigurationError
from onebox.core.media import Spool
from onebox.core.plugins import load_plugins
from onebox.core.settings import DEFAULT_ALIASES, Settings
from onebox.registry.hash_store import HashStore
from onebox.registry.registry import Registry
from onebox.runtime.clients import create_client
from onebox.runtime.memory_pool import MemoryPools
from onebox.runtime.pool_limit import PoolLimit
from onebox.runtime.worker_pool import WorkerPool
from onebox.services.admission import Admission
from onebox.services.authenticator import Authenticator, stored_secret
from onebox.services.background import Background
from onebox.services.batches.batches import Batches, create_batches
from onebox.services.catalogue import Catalogue
from onebox.services.companions import Companions
from onebox.services.data_dir import lock_data_dir
from onebox.services.database import Database, sqlite_url
from onebox.services.deferred_requests import DeferredRequests
from onebox.services.dispatch import Dispatch
from onebox.services.files import FileStore
from onebox.services.footprints import Footprints
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
from onebox.services.response_store import ResponseStore
from onebox.services.running import RunningRequests
from onebox.services.sizing import Sizing
from onebox.services.uploads import Uploads, create_uploads
from onebox.services.webhooks.creation import create_webhooks
from onebox.services.webhooks.delivery import Webhooks

ADMIN_KEY_FILE = "admin.key"
LINK_SECRET_FILE = "links.key"


@dataclass(frozen=True, slots=True)
class Services:
    """Everything the routes need, built once."""

    settings: Settings
    registry: Registry
    pools: MemoryPools
    pool: WorkerPool
    sizing: Sizing
    admission: Admission
    running: RunningRequests
    live: LiveSessions
    catalogue: Catalogue
    conversion: Conversion
    inference: Inference
    residency: Residency
    models: ModelControl
    preloader: Preloader
    authenticator: Authenticator
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
    generated_key: str | None
    hash_store: HashStore
    footprints: Footprints
    lock: FileLock

    async def start(self) -> None:
        """Bring up workers and registry; workers first, for they take seconds to import torch."""
        await self.pool.start()
        await asyncio.to_thread(self.registry.start)
        await self.preloader.start()
        await self.webhooks.start()
        await self.jobs.start()
        await self.batches.start()

    async def close(self) -> None:
        await self.batches.close()
        await self.jobs.close()
        await self.preloader.close()
        await self.conversion.close()
        await self.pool.close(self.settings.shutdown_grace)
        await self.background.close()
        await self.webhooks.close()
        await asyncio.to_thread(self.registry.stop)
        self.remote_media.close()
        self.hash_store.close()
        self.footprints.close()
        await asyncio.to_thread(self.database.close)
        self.lock.release()


def build_services(settings: Settings) -> Services:
    """Raises ConfigurationError when the data folder is taken or the settings are unsafe."""
    load_plugins()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    lock = lock_data_dir(settings.data_dir)
    key = _generated_key(settings)
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
    admission = Admission(
        max_waiting=settings.max_queue,
        max_waiting_per_model=settings.max_queue_per_model,
        max_per_caller=settings.max_per_caller,
    )
    running = RunningRequests()
    conversion = create_conversion(settings, registry)
    catalogue = Catalogue(registry, pool.has_loaded, conversion.converted)
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
        Dispatch(pool, spool, admission, sizing),
        metrics,
        running,
        defaults,
        timeout_s=settings.request_timeout,
        log_prompts=settings.log_prompts,
    )
    link_secret, _ = stored_secret(settings.data_dir / LINK_SECRET_FILE, "")
    database = _open_database(settings)
    webhooks = create_webhooks(settings, database, metrics)
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
    deferred = DeferredRequests(jobs.freezer, jobs.files)
    jobs.add_executor("request", deferred)
    return Services(
        settings=settings,
        registry=registry,
        pools=pools,
        pool=pool,
        sizing=sizing,
        admission=admission,
        running=running,
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
        authenticator=create_authenticator(settings, key),
        files=FileStore(settings.data_dir / "files", link_secret, ttl_s=settings.file_ttl),
        remote_media=RemoteMedia(enabled=settings.remote_media, hosts=settings.remote_media_hosts),
        database=database,
        responses=_create_response_store(settings, database),
        uploads=uploads,
        webhooks=webhooks,
        jobs=jobs,
        deferred=deferred,
        batches=batches,
        background=Background(),
        metrics=metrics,
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
    )


def create_authenticator(settings: Settings, generated_key: str | None = None) -> Authenticator:
    generated = (SecretStr(generated_key),) if generated_key else ()
    return Authenticator(
        api_keys=settings.api_keys,
        admin_keys=(*settings.admin_keys, *generated),
        secret_key=settings.secret_key,
        audience=settings.jwt_audience,
        issuer=settings.jwt_issuer,
    )


def _open_database(settings: Settings) -> Database:
    url = settings.database_url
    return Database(url.get_secret_value() if url else sqlite_url(settings.data_dir / "onebox.db"))


def _create_response_store(settings: Settings, database: Database) -> ResponseStore:
    store = ResponseStore(
        database, ttl_days=settings.response_ttl, max_bytes=int(settings.response_store)
    )
    store.recover()
    return store


def _create_preloader(
    settings: Settings, pool: WorkerPool, catalogue: Catalogue, residency: Residency
) -> Preloader:
    async def load(name: str) -> None:
        entry = await catalogue.named(name)
        async with contextlib.aclosing(residency.load(entry, caller="preload")) as events:
            async for _ in events:
                pass

    return Preloader(settings.preload, load, pool.lives, pool.wait_ready)


def _generated_key(settings: Settings) -> str | None:
    """The admin key that a server without configured keys makes for itself, or None."""
    if settings.api_keys or settings.admin_keys or settings.secret_key:
        return None
    path = settings.data_dir / ADMIN_KEY_FILE
    if not path.is_file() and not is_loopback(settings.host):
        raise ConfigurationError(
            f"HOST={settings.host} is reachable from other machines and no key is configured; "
            "set API_KEYS, ONEBOX_ADMIN_KEYS or SECRET_KEY, or start once on 127.0.0.1 for a key"
        )
    key, _ = stored_secret(path, "ob-")
    return key


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
