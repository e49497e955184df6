"""How a bundle that is in use takes more memory, or less."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from onebox.runtime.budget import Claimed
from onebox.runtime.share import Share
from onebox.runtime.slot import Slot
from onebox.runtime.slots import Slots


def resize(
    slots: Slots,
    share: Share,
    evict: Callable[[Sequence[Slot]], bool],
    key: str,
    extra_bytes: int,
) -> bool:
    """From now on a leased bundle takes so many bytes beside its weights.

    Evicts what is idle, here and at other workers, but waits for no lease to end. False: there is
    no room, and nothing changed.

    Args:
        evict: closes what is leaving; False when it cannot now, and then they stay.
    """
    claimed: Claimed = "nothing"
    try:
        while True:
            plan, leaving = slots.resize(key, extra_bytes, claimed)
            if leaving:
                if not evict(leaving):
                    return False
            elif plan.verdict == "claim":
                share.claim(plan.claim_bytes, evict=claimed != "nothing")
                claimed = "slack" if claimed == "nothing" else "idle"
            else:
                return plan.verdict == "fits"
    finally:
        share.let_go()
