"""Webhooks: what happened to long work, told to whoever asked to be told."""
