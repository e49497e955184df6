"""HTTP: the only folder that knows FastAPI.

Adapters over `services`, never a second way to do a thing.
"""
