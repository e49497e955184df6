from __future__ import annotations

import pytest

from onebox.core.errors import Cancelled, InferenceFailed, ModelBroken, OutOfMemory
from onebox.engines.work import LoadFailed
from tests.unit.runtime.fakes import BUDGET, Clock, Weights, create_cache, entry, want

A, B = entry("a"), entry("b")


@pytest.fixture
def weights():
    return Weights()


@pytest.fixture
def cache(weights):
    return create_cache(weights, Clock())


def use(cache, item, **options):
    with cache.lease(want(item, **options)) as bundle:
        assert not bundle.closed


def nothing():
    pass


def left():
    raise Cancelled("the client left")


def resident(cache):
    return sorted(bundle.name for bundle in cache.stats())


def test_progress_of_a_load_is_told(cache):
    told: list[tuple[float, int | None]] = []

    def tell(fraction, size_bytes=None):
        told.append((fraction, size_bytes))

    use(cache, A, estimate=30, loading=tell)
    assert (told[0], told[-1]) == ((0.0, None), (1.0, 40))
    told.clear()
    use(cache, A, loading=tell)
    assert told == []


@pytest.mark.parametrize(
    ("cause", "told"),
    [
        (ModelBroken("a header is cut off"), ModelBroken),
        (RuntimeError("/secret/path"), InferenceFailed),
        (MemoryError(), OutOfMemory),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA"), OutOfMemory),
    ],
)
def test_a_failed_load_is_explained_and_leaves_nothing_behind(cache, weights, cause, told):
    weights.broken["a"] = cause
    with pytest.raises(LoadFailed) as caught:
        use(cache, A)
    assert type(caught.value.error) is told
    assert "/secret/path" not in caught.value.error.message
    assert resident(cache) == []
    assert weights.freed >= 1
    weights.broken.clear()
    use(cache, B, estimate=BUDGET)
    assert resident(cache) == ["b"]


def test_the_error_of_a_failed_load_holds_none_of_its_weights(cache, weights):
    weights.broken["a"] = ModelBroken("a header is cut off")
    with pytest.raises(LoadFailed) as caught:
        use(cache, A)
    told = caught.value.error
    assert (told.__traceback__, told.__context__, caught.value.__context__) == (None, None, None)


def test_a_load_that_ran_out_of_memory_evicts_what_is_idle_and_tries_again(cache, weights):
    use(cache, A)
    use(cache, entry("pinned", pin=True), estimate=10)
    freed = weights.freed

    def runs_out_once(name):
        if name == "b" and resident(cache) == ["a", "b", "pinned"]:
            raise MemoryError

    weights.sizes["pinned"] = 10
    weights.before = runs_out_once
    use(cache, B, estimate=10)
    assert resident(cache) == ["b", "pinned"]
    assert weights.freed > freed


def test_a_load_that_failed_of_something_else_is_not_tried_again(cache, weights):
    tried: list[str] = []
    weights.before = tried.append
    weights.broken["a"] = RuntimeError("no")
    with pytest.raises(LoadFailed):
        use(cache, A)
    assert tried == ["a"]


@pytest.mark.parametrize("at", [0.0, 1.0])
def test_a_client_that_cannot_be_told_of_the_load_blocks_no_other(cache, at):
    def gone(fraction, size_bytes=None):
        if fraction == at:
            raise BrokenPipeError

    with pytest.raises((BrokenPipeError, LoadFailed)):
        use(cache, A, loading=gone)
    use(cache, A, check=left if at == 1.0 else nothing)
    assert [(bundle.name, bundle.leases) for bundle in cache.stats()] == [("a", 0)]
