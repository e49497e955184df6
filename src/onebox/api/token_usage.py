"""What a request took that writes no text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens; both numbers are the same."""

    prompt_tokens: int
    total_tokens: int
