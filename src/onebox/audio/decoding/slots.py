"""`Slots`: how many children may live at the same time, and who is next."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable


class Slots:
    """First come, first served. Safe from any thread; nobody waits in here.

    A slot may be parked: its holder does nothing at the moment, and gives it up when another wants
    it.
    """

    def __init__(self, count: int) -> None:
        self._lock = threading.Lock()
        self._free = count
        self._waiting: deque[Callable[[], None]] = deque()
        self._parked: OrderedDict[int, Callable[[], None]] = OrderedDict()
        self._tickets = 0

    def enter(self, granted: Callable[[], None]) -> None:
        """Calls `granted` once there is a slot: at once, or from the thread that leaves one."""
        evict: Callable[[], None] | None = None
        with self._lock:
            if self._free:
                self._free -= 1
            elif self._parked:
                _, evict = self._parked.popitem(last=False)
            else:
                self._waiting.append(granted)
                return
        if evict is not None:
            evict()
        granted()

    def leave(self) -> None:
        """The slot of the caller goes to the next."""
        with self._lock:
            if not self._waiting:
                self._free += 1
                return
            granted = self._waiting.popleft()
        granted()

    def park(self, evict: Callable[[], None]) -> int | None:
        """Keep the slot only until another wants it: then `evict` is called, and it is gone.

        Gives the ticket for `unpark`; None if another was waiting and has it now.
        """
        with self._lock:
            if not self._waiting:
                self._tickets += 1
                self._parked[self._tickets] = evict
                return self._tickets
            granted = self._waiting.popleft()
        evict()
        granted()
        return None

    def unpark(self, ticket: int) -> bool:
        """Whether the slot is still the caller's, to use and to leave."""
        with self._lock:
            return self._parked.pop(ticket, None) is not None
