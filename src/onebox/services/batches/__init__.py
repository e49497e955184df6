"""Batches: files of requests, carried out when nobody waits, answered with files."""
