"""What a check-up has found."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Findings:
    """`problems` must be mended; `warnings` may be meant."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, text: str, *, is_problem: bool) -> None:
        (self.problems if is_problem else self.warnings).append(text)
