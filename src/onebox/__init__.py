"""Onebox: a self-hosted inference server for pictures, sound and text."""

__version__ = "0.1.0"
