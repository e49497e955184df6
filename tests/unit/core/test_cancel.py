from __future__ import annotations

import pytest

from onebox.core.cancel import CancelToken
from onebox.core.errors import Cancelled, DeadlineExceeded


def test_a_request_may_go_on_until_its_deadline():
    now = [100.0]
    token = CancelToken(2.5, clock=lambda: now[0])
    token.check()
    now[0] = 102.4
    token.check()
    now[0] = 102.5
    with pytest.raises(DeadlineExceeded, match=r"within 2\.5 s") as caught:
        token.check()
    assert caught.value.details == {"timeout_s": 2.5}


def test_without_a_timeout_there_is_no_deadline():
    now = [0.0]
    token = CancelToken(clock=lambda: now[0])
    now[0] = 1e12
    token.check()
    assert token.deadline is None


def test_cancelled_stays_cancelled_and_is_said_before_a_passed_deadline():
    token = CancelToken(0.0, clock=lambda: 1.0)
    token.cancel()
    token.cancel()
    for _ in range(2):
        with pytest.raises(Cancelled):
            token.check()
