"""Whisper, computed by code of our own: many windows at once, a token of each at a time."""
