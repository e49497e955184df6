"""`TextPieces`: a request whose pieces are texts; and `EncoderTask`, what its tasks share."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Generic

from onebox.core.contracts import Device, Entry, InputT, RunContext
from onebox.core.errors import AppError
from onebox.core.piecework import Piece, PieceTask, Piecework
from onebox.core.results import Output
from onebox.language.encoding import rounds
from onebox.language.encoding.texts import EncodedText, TextEncoding, encoding_of

KIND = "text"


class TextPieces(Piecework):
    """Equal texts are one piece; the longest come first.

    Args:
        texts: in the order of the request.
        finish: makes the outputs of the rows of all texts, in their order.
    """

    def __init__(
        self, texts: Sequence[EncodedText], finish: Callable[[list[Any]], list[Output]]
    ) -> None:
        places: dict[EncodedText, list[int]] = {}
        for place, text in enumerate(texts):
            places.setdefault(text, []).append(place)
        ordered = sorted(places, key=len, reverse=True)
        self._open = {Piece(KIND, len(text), text): places[text] for text in ordered}
        self._rows: list[Any] = [None] * len(texts)
        self._finish = finish

    def ready(self, most: int) -> Sequence[Piece]:
        return list(itertools.islice(self._open, most))

    def accept(self, piece: Piece, result: Any) -> None:
        if isinstance(result, AppError):
            raise result
        for place in self._open.pop(piece):
            self._rows[place] = result

    @property
    def done(self) -> bool:
        return not self._open

    def outputs(self) -> list[Output]:
        return self._finish(self._rows)


class EncoderTask(PieceTask[InputT], Generic[InputT]):
    """
    Args:
        encodings: makes the tokens of a checkpoint's texts.
    """

    def __init__(self, encodings: Callable[[Entry], TextEncoding] = encoding_of) -> None:
        self._encodings = encodings

    def reserve_bytes(self, request: InputT, entry: Entry, device: Device) -> int:
        return rounds.reserve_bytes(entry, device)

    def choose(self, pieces: Sequence[Piece], entry: Entry, device: Device) -> Sequence[Piece]:
        return rounds.choose(pieces, rounds.budget(entry, device))

    def compute(self, bundle: Any, pieces: Sequence[Piece], context: RunContext) -> list[Any]:
        limit = rounds.budget(context.entry, context.device)
        if context.lean:
            limit //= rounds.LEAN_SHARE
        return rounds.compute(bundle.encoder, pieces, context.hand_over, limit)


def usage(texts: Sequence[EncodedText]) -> dict[str, int]:
    tokens = sum(map(len, texts))
    return {"prompt_tokens": tokens, "total_tokens": tokens}
