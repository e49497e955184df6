"""`StopStrings`: finds stop strings in a text that comes in pieces."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Lets text through up to a stop string, and holds back what may be the beginning of one.

    The one that is complete first wins; of several that end at the same character the longest.
    How the text is cut into pieces makes no difference.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._tables = [(stop, _table(stop)) for stop in stops]
        # How many characters of each stop string the text ends with.
        self._matched = [0] * len(stops)
        self._first = {stop[0] for stop in stops}
        self._held = ""

    def feed(self, piece: str) -> tuple[str, str | None]:
        """The text that is free to go, and, once a stop string is met, what comes after it."""
        if not self._held and self._first.isdisjoint(piece):
            return piece, None
        text = self._held + piece
        for place in range(len(self._held), len(text)):
            found = self._step(text[place])
            if found:
                self._held = ""
                end = place + 1
                return text[: end - found], text[end:]
        free = len(text) - max(self._matched, default=0)
        self._held = text[free:]
        return text[:free], None

    def finish(self) -> str:
        """What was held back: the text ends here, so it is no stop string."""
        held, self._held = self._held, ""
        return held

    def _step(self, char: str) -> int:
        """Go on by one character; the length of the longest stop string that ends with it."""
        found = 0
        for number, (stop, table) in enumerate(self._tables):
            matched = self._matched[number]
            while matched and stop[matched] != char:
                matched = table[matched]
            if stop[matched] == char:
                matched += 1
            if matched == len(stop):
                found = max(found, matched)
                matched = table[matched]
            self._matched[number] = matched
        return found


def _table(stop: str) -> list[int]:
    """For each length: how long the longest end is that the stop string also begins with."""
    table = [0, 0]
    length = 0
    for char in stop[1:]:
        while length and stop[length] != char:
            length = table[length]
        if stop[length] == char:
            length += 1
        table.append(length)
    return table
