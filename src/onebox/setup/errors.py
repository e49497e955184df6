"""The one error of set-up: what failed, and what the person at the keyboard can do about it."""


class SetupError(Exception):
    """Set-up cannot go on; printed without a traceback by `launch`."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        return f"set-up failed: {self.what}\nWhat to do: {self.remedy}"
