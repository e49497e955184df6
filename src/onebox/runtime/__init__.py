"""The worker side of Onebox and the gateway's handle on it.

Locks, in the order in which they may be taken. None is held while waiting for the device; only the
first is held while a bundle loads or closes:

1. `BundleCache._loads`     one load or eviction at a time in a worker
2. `BundleCache._changed`   the table of bundles
3. `Worker._lock`           the tables of engines and of requests (reentrant)
4. `ExclusiveEngine._changed`, `Gate._condition`   leaves: nothing is taken under them
5. the worker's frame lock  leaf
"""
