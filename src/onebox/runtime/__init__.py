"""The worker side of Onebox and the gateway's handle on it.

Locks, in the order in which they may be taken. None is held while waiting for the device; only the
first is held while a bundle loads or closes:

1. `BundleCache._loads`   one load or close at a time in a worker; also guards what it measures
2. `Slots._changed`       the table of bundles
3. `Share._changed`       the worker's part of its memory pool
4. `Worker._lock`         the tables of engines and of requests (reentrant)
5. `Gate._condition`      whose turn it is
6. `QueueEngine._changed` the works that wait in one engine
7. `Request._lock`, the worker's frame lock   leaves

`Share._claims` is taken with nothing else held, and kept while a claim waits for its grant. What a
`Want` is given to call may be called under `BundleCache._loads`, so nothing it takes may be held by
who calls the cache.
"""
