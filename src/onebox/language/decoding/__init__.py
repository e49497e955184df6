"""Tokens to tokens: the passes, keys and values, and the choice of the next token."""
