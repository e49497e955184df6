from __future__ import annotations

import asyncio

import pytest

from onebox.core.errors import WorkerUnready
from onebox.runtime.worker_pool import WorkerPool
from tests.unit.runtime.fakes import NotingClient


@pytest.fixture
def pool_of(tmp_path):
    def create(*states: str) -> WorkerPool:
        pool = WorkerPool(lambda index: NotingClient(tmp_path, index))
        pool.clients = [NotingClient(tmp_path, i, state) for i, state in enumerate(states)]
        return pool

    return create


def place(pool: WorkerPool, key: str = "a") -> int:
    return asyncio.run(pool.place(key)).index


def keep_busy(pool: WorkerPool, index: int, requests: int) -> None:
    pool.clients[index]._pending = {str(n): asyncio.Queue() for n in range(requests)}


def test_a_checkpoint_goes_where_it_is_loaded_even_if_that_worker_is_busy(pool_of):
    pool = pool_of("ready", "ready")
    pool.clients[1].has_loaded("a")
    keep_busy(pool, 1, 5)
    assert (place(pool, "a"), place(pool, "b")) == (1, 0)


def test_otherwise_it_goes_to_the_least_busy_worker(pool_of):
    pool = pool_of("ready", "ready", "ready")
    for index, requests in enumerate([3, 1, 2]):
        keep_busy(pool, index, requests)
    assert place(pool) == 1


def test_of_two_that_have_it_the_less_busy_one_gets_it(pool_of):
    pool = pool_of("ready", "ready")
    for client in pool.clients:
        client.has_loaded("a")
    keep_busy(pool, 0, 1)
    assert place(pool) == 1


def test_a_worker_that_is_not_up_gets_nothing(pool_of):
    pool = pool_of("failed", "ready")
    keep_busy(pool, 1, 9)
    assert place(pool) == 1


@pytest.mark.parametrize("states", [(), ("failed",)])
def test_without_a_worker_the_client_is_told_to_come_back(pool_of, states):
    with pytest.raises(WorkerUnready) as caught:
        place(pool_of(*states))
    assert caught.value.retry_after_s == 5


def test_the_pool_is_ready_when_any_worker_is_and_says_why_others_are_not(pool_of):
    assert not pool_of("failed").ready()
    pool = pool_of("failed", "ready")
    assert pool.ready()
    assert pool.reasons() == ["it is failed"]
