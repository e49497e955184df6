"""What one caller may have at a time, where that is not as for all others."""

from __future__ import annotations

import pytest

from onebox.core.errors import ConcurrencyLimited
from onebox.services.admission import Admission
from onebox.services.live_sessions import LiveSessions


def admission(max_per_caller: int | None) -> Admission:
    return Admission(
        max_waiting=10,
        max_waiting_per_model=10,
        max_per_caller=max_per_caller,
        jitter=lambda: 0.0,
    )


@pytest.mark.parametrize(
    ("of_all", "own", "held"), [(None, 2, 2), (1, 3, 3), (5, 1, 1), (2, None, 2)]
)
def test_the_limit_of_a_caller_comes_before_that_of_all(of_all, own, held):
    door = admission(of_all)
    for _ in range(held):
        door.enter(0, "k", "m", "c", own)
    with pytest.raises(ConcurrencyLimited) as caught:
        door.enter(0, "k", "m", "c", own)
    assert caught.value.details == {"requests": held, "max": held}
    door.enter(0, "k", "m", "another", own)


def test_live_sessions_are_counted_the_same_way():
    sessions = LiveSessions(max_per_caller=5)
    with sessions.enter("c", 1):
        with pytest.raises(ConcurrencyLimited), sessions.enter("c", 1):
            pass
        with sessions.enter("another", 1):
            assert len(sessions) == 2
