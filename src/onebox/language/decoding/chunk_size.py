"""How many tokens of waiting prompts a step computes beside the texts that are being written."""

from __future__ import annotations

MOST_TOKENS = 512
LEAST_TOKENS = 8
# A step with a chunk takes up to so many times what it takes without.
STRETCH = 2.2
# But where at least half as many prompts wait for their first token as texts for their next, as
# after a rush, more goes: small chunks would make all of them wait longer.
CROWDED = 0.5
CROWDED_TOKENS = 256
# What is learnt at once: of a step's time, and how far the chunk may shrink or grow.
NEW_SHARE = 0.2
SHRINK, GROW = 0.5, 1.5
# What a chunk takes of its step at least, where the rest is taken off as an estimate.
LEAST_SHARE = 0.1


class ChunkSize:
    """Begins small and grows as long as the steps stay short enough."""

    def __init__(self) -> None:
        self._tokens = float(LEAST_TOKENS)
        # What a step without a chunk takes, by the order of how many texts it writes.
        self._steps_s: dict[int, float] = {}

    def tokens(self, writing: int, waiting: int) -> int:
        """For the next step, beside so many texts; all that is allowed where there are none."""
        if not writing:
            return MOST_TOKENS
        if waiting > 1 and waiting >= CROWDED * writing:
            return max(CROWDED_TOKENS, int(self._tokens))
        return int(self._tokens)

    def measured(self, writing: int, prompt_tokens: int, step_s: float) -> None:
        """A step of so many texts and tokens of prompts took so long."""
        order = writing.bit_length()
        if not prompt_tokens:
            old_s = self._steps_s.get(order, step_s)
            self._steps_s[order] = old_s + NEW_SHARE * (step_s - old_s)
        elif writing and self._steps_s:
            base_s = self._steps_s[min(self._steps_s, key=lambda known: abs(known - order))]
            chunk_s = max(step_s - base_s, step_s * LEAST_SHARE)
            wanted = (STRETCH - 1) * base_s * prompt_tokens / chunk_s if chunk_s else MOST_TOKENS
            bounded = max(SHRINK * self._tokens, min(GROW * self._tokens, wanted))
            self._tokens = max(LEAST_TOKENS, min(MOST_TOKENS, bounded))
