"""The familiar routes of other servers: thin adapters over the same tasks, off by default.

What each of them takes and answers is in docs/compat.md, with a test for every row there.
"""
