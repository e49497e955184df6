"""Text: prompts, tokens, sampling, grammars, and the models that compute them.

What families, tasks and the decode engine share. Imports core only; torch inside functions.
"""
