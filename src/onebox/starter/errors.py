"""What can go wrong while models are fetched."""

from __future__ import annotations

from onebox.core.errors import AppError


class PullFailed(AppError):
    """Nothing was added to the model folder."""

    code = "pull_failed"


class SourceUnreachable(PullFailed):
    """No source answers; with a network it would work."""

    code = "source_unreachable"


class WrongContents(PullFailed):
    """The bytes that came are not the bytes that were asked for."""

    code = "wrong_contents"
