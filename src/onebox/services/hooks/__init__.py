"""Hooks into the operator's own backend: who sends a token, who has credits, what was used.

Each is off unless its URL is set. docs/hooks.md has what is asked and what may be answered.
"""
