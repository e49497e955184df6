"""Reading from and writing to the person at the terminal."""

from __future__ import annotations

import contextlib
import sys

# A pasted text arrives at once; nobody types two lines this fast.
_PASTE_GAP_S = 0.03
_KEPT_CONTROLS = "\n\t"


def prepare_editing() -> None:
    """Arrow keys and a history for this run, where Python has readline (not on Windows)."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - `input` uses it from here on


def read_message(prompt: str) -> str:
    """What the person says, several lines when they were pasted. Raises EOFError on Ctrl-D."""
    lines = [input(prompt)]
    while _more_is_waiting():
        try:
            lines.append(input())
        except EOFError:
            break
    return "\n".join(lines).strip()


def show(text: str) -> None:
    """Part of an answer, at once and without the codes that would drive the terminal."""
    sys.stdout.write(without_controls(text))
    sys.stdout.flush()


def show_note(text: str) -> None:
    """A line about the chat, apart from what the model says."""
    print(without_controls(text), file=sys.stderr, flush=True)


def without_controls(text: str) -> str:
    """A model's words must not move the cursor, set the title or press keys."""
    if text.isprintable():
        return text
    return "".join(char for char in text if char in _KEPT_CONTROLS or not _is_control(ord(char)))


def _is_control(code: int) -> bool:
    return code < 0x20 or 0x7F <= code < 0xA0


def _more_is_waiting() -> bool:
    if sys.platform == "win32":
        return False  # there a console cannot be asked; every pasted line is a message
    import select

    return bool(select.select([sys.stdin], [], [], _PASTE_GAP_S)[0])
