"""Tokens to text: what a client gets of what a model writes."""
