"""A worker's part of its memory pool: what the gateway granted, asking for more, giving back."""

from __future__ import annotations

import threading
from collections.abc import Callable

from onebox.runtime.wire import Claim, Grant

GRANT_WAIT_S = 1.0


class Share:
    """The bytes that this worker may fill with bundles and working memory. Safe from any thread.

    Attributes:
        share_bytes: this worker's part; 0 until the first Grant.
        pool_bytes: all that the pool has now; 0 until the first Grant.

    Args:
        send: passes a claim on to the gateway; must not block for long.
        budget_bytes: what the pool had when the worker started. Other programs may have taken
            some of it since; what fits in it can fit again.
        wait_s: how long a claim waits for its Grant. Who still needs memory claims again.
    """

    def __init__(
        self,
        send: Callable[[Claim], None],
        *,
        budget_bytes: int = 0,
        wait_s: float = GRANT_WAIT_S,
    ) -> None:
        self.share_bytes = 0
        self.pool_bytes = 0
        self._send = send
        self._budget_bytes = budget_bytes
        self._wait_s = wait_s
        self._claims = threading.Lock()
        self._changed = threading.Condition()
        self._grants = 0
        self._wanted_bytes: int | None = None
        self._kept_bytes = 0

    @property
    def granted(self) -> bool:
        """Whether there was a first Grant."""
        return self._grants > 0

    @property
    def most_bytes(self) -> int:
        """What is more than this can never fit."""
        return max(self.pool_bytes, self._budget_bytes)

    @property
    def keeps(self) -> bool:
        """Whether `give_up` leaves to a claimer what it got."""
        return self._kept_bytes > 0

    def on_grant(self, grant: Grant) -> None:
        """Must be called in the order in which the frames came, before any later `give_up`."""
        with self._changed:
            self.share_bytes, self.pool_bytes = grant.share_bytes, grant.pool_bytes
            self._grants += 1
            if self._wanted_bytes is not None and grant.share_bytes >= self._wanted_bytes:
                # At once: the next frame may ask for it back before the claimer has woken up.
                self._kept_bytes = self._wanted_bytes
            self._changed.notify_all()

    def claim(self, share_bytes: int, *, evict: bool) -> bool:
        """Ask for a share of `share_bytes`, and wait for the next Grant. One claim at a time.

        Returns whether the share is that large now; then `give_up` leaves it so until `let_go`.
        Asks nothing when this worker has the whole pool already.
        """
        with self._claims:
            with self._changed:
                if share_bytes <= self.share_bytes:
                    self._kept_bytes = share_bytes
                    return True
                if self.share_bytes >= self.pool_bytes:
                    return False
                self._wanted_bytes, seen = share_bytes, self._grants
            self._send(Claim(share_bytes, evict))
            with self._changed:
                self._changed.wait_for(lambda: self._grants != seen, self._wait_s)
                self._wanted_bytes = None
                return self.share_bytes >= share_bytes

    def let_go(self) -> None:
        """What was claimed is in use now, or not needed any more."""
        with self._changed:
            self._kept_bytes = 0

    def give_up(self, size_bytes: int, held_bytes: int) -> int:
        """Make the share smaller by up to `size_bytes`, but not than `held_bytes` in use.

        Returns what it gave.
        """
        with self._changed:
            slack = self.share_bytes - max(held_bytes, self._kept_bytes)
            given = max(0, min(size_bytes, slack))
            self.share_bytes -= given
            return given
