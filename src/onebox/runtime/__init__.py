"""The worker side of Onebox and the gateway's handle on it.

Locks, in the order in which they may be taken; none is held while waiting for the device, while a
bundle loads or closes, or while a frame is written:

1. `BundleCache._loads`     one load or eviction at a time in a worker (held while loading)
2. `BundleCache._changed`   the table of bundles
3. `ExclusiveEngine._changed`, `Gate._condition`   leaves: nothing is taken under them
4. the worker's frame lock  leaf
"""
