from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from onebox.runtime.share import Share
from onebox.runtime.wire import Claim, Grant

BOUND_S = 60


class Gateway:
    """Answers a claim at once with the next of `grants`, or not at all."""

    def __init__(self, *grants: Grant) -> None:
        self.share = Share(self.take, budget_bytes=120, wait_s=0)
        self.grants = list(grants)
        self.claims: list[Claim] = []

    def take(self, claim: Claim) -> None:
        self.claims.append(claim)
        if self.grants:
            self.share.on_grant(self.grants.pop(0))


@pytest.fixture
def gateway():
    gateway = Gateway()
    gateway.share.on_grant(Grant(50, 100))
    return gateway


def test_before_the_first_grant_there_is_nothing():
    share = Gateway().share
    assert (share.share_bytes, share.pool_bytes, share.granted) == (0, 0, False)
    share.on_grant(Grant(0, 100))
    assert share.granted


def test_what_can_ever_fit_is_what_the_pool_has_or_had(gateway):
    assert gateway.share.most_bytes == 120
    gateway.share.on_grant(Grant(50, 150))
    assert gateway.share.most_bytes == 150


@pytest.mark.parametrize(("granted", "enough"), [(80, True), (79, False), (90, True)])
def test_a_claim_waits_for_its_grant(gateway, granted, enough):
    gateway.grants = [Grant(granted, 100)]
    assert gateway.share.claim(80, evict=True) is enough
    assert gateway.claims == [Claim(80, True)]
    assert gateway.share.share_bytes == granted


def test_a_claim_that_nobody_answers_ends(gateway):
    assert gateway.share.claim(80, evict=False) is False
    assert gateway.share.share_bytes == 50


def test_nothing_is_claimed_that_is_there_or_cannot_be(gateway):
    assert gateway.share.claim(50, evict=False)
    gateway.share.on_grant(Grant(100, 100))
    assert gateway.share.claim(110, evict=True) is False
    assert gateway.claims == []


def test_one_claim_at_a_time():
    sent, second = threading.Semaphore(0), threading.Event()
    share = Share(lambda claim: sent.release(), wait_s=BOUND_S)
    share.on_grant(Grant(0, 100))

    def claim_second():
        second.set()
        return share.claim(20, evict=False)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(share.claim, 10, evict=False)
        assert sent.acquire(timeout=BOUND_S)
        other = pool.submit(claim_second)
        assert second.wait(BOUND_S)
        assert not sent.acquire(blocking=False)
        share.on_grant(Grant(10, 100))
        assert first.result(BOUND_S)
        assert sent.acquire(timeout=BOUND_S)
        share.on_grant(Grant(20, 100))
        assert other.result(BOUND_S)


@pytest.mark.parametrize(
    ("size", "held", "given"), [(20, 0, 20), (20, 40, 10), (20, 50, 0), (20, 70, 0), (99, 0, 50)]
)
def test_only_what_holds_nothing_is_given_up(gateway, size, held, given):
    assert gateway.share.give_up(size, held) == given
    assert gateway.share.share_bytes == 50 - given


def test_what_was_claimed_is_not_given_up_before_it_is_used(gateway):
    gateway.grants = [Grant(80, 100)]
    gateway.share.claim(70, evict=False)
    assert gateway.share.keeps
    assert gateway.share.give_up(50, 0) == 10
    gateway.share.let_go()
    assert not gateway.share.keeps
    assert gateway.share.give_up(50, 0) == 50


def test_what_a_claim_got_too_little_of_may_be_given_up(gateway):
    gateway.grants = [Grant(60, 100)]
    gateway.share.claim(70, evict=False)
    assert gateway.share.give_up(50, 0) == 50
