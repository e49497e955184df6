"""What a text took, read from its result."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from onebox.core.results import Artifact


class _Usage(msgspec.Struct):
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


class _Value(msgspec.Struct):
    usage: _Usage


def token_counts(artifacts: Sequence[Artifact]) -> dict[str, int]:
    """Tokens of the prompt, those of it that had not to be computed, and tokens written."""
    usage = msgspec.json.decode(artifacts[0].data or b"", type=_Value).usage
    return {
        "prompt": usage.prompt_tokens,
        "cached": usage.cached_tokens,
        "completion": usage.completion_tokens,
    }
