"""A family and a task of the piecewise engine without weights: a request's words are its pieces.

Loaded by the server under test through ONEBOX_PLUGINS, after `dummy_plugin`.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel

from onebox.core.contracts import Device, Entry, RunContext, Task
from onebox.core.errors import InvalidInput
from onebox.core.piecework import Piece, PieceTask, Piecework
from onebox.core.plugins import ENCODERS, FAMILIES, TASKS
from onebox.core.results import Artifact, Encoder, Output
from tests.support.dummy_plugin import DummyFamily, dummy_checkpoint

PLUGINS = {"ONEBOX_PLUGINS": "tests.support.dummy_plugin,tests.support.pieces_plugin"}
MOST_OPEN = 4
MOST_TOGETHER = 4
LOOK_AGAIN_S = 0.005
END = b"<end>"

# Number the requests of a worker in the order in which they ended, and its words as they came.
ends = itertools.count(1)
turns = itertools.count(1)


def pieces_checkpoint(folder: Path, **config: Any) -> Path:
    """Write a checkpoint for `PiecesFamily`; `config` as for `dummy_checkpoint`."""
    return dummy_checkpoint(folder, model_type=PiecesFamily.model_type, **config)


class PiecesFamily(DummyFamily):
    name = "pieces"
    model_type = "onebox-pieces"
    engine = "piecewise"
    tasks = frozenset({"spell", "open-pieces"})


class SpellInput(BaseModel):
    """
    Attributes:
        piece_s: how long each word takes.
        work_bytes: working memory set aside while a word of it is computed.
        stream: the words go out as parts, each made so much longer by `pad`.
        cue: a path; before there is something only the first `at_once` words are there.
        damaged: there are no words after the cue, for the input turns out to be damaged.
        prepare_cue: the same for the preparation, which waits for it.
    """

    words: list[str]
    kind: str = ""
    piece_s: float = 0.0
    work_bytes: int = 0
    stream: bool = False
    pad: int = 0
    cue: str | None = None
    at_once: int = 0
    damaged: bool = False
    prepare_cue: str | None = None


class Spelling(Piecework):
    """Tells with which words its own were computed, and by which load of the model; and how many
    words of others were, from its first one to its last.
    """

    not_closed: ClassVar[set[Spelling]] = set()

    def __init__(self, request: SpellInput) -> None:
        self._request = request
        self._ended = threading.Event()
        self._left = {Piece(request.kind, 1, (word, request)): word for word in request.words}
        self._order = list(self._left)
        self._results: dict[Piece, dict[str, Any]] = {}
        self._given = request.at_once if request.cue else len(request.words)
        self._sent = 0
        Spelling.not_closed.add(self)

    def start(self, context: RunContext, wake: Callable[[], None]) -> None:
        self._context = context
        if self._request.cue is not None:
            threading.Thread(target=self._wait, args=[wake], name="late", daemon=True).start()

    def ready(self, most: int) -> Sequence[Piece]:
        if self._given < 0:
            raise InvalidInput("the words are damaged", param="words")
        room = max(0, self._given - len(self._results))
        return list(itertools.islice(self._left, min(most, room)))

    def accept(self, piece: Piece, result: Any) -> None:
        if self._left.pop(piece) == "rotten":
            raise ValueError("secret detail of a bug in accept")
        self._results[piece] = result
        while self._sent < len(self._order) and self._order[self._sent] in self._results:
            word = self._results[self._order[self._sent]]["word"]
            self._sent += 1
            if self._request.stream:
                value = word + "." * self._request.pad
                self._context.part(Output("words", value))
        self._context.step(len(self._results), len(self._order))

    @property
    def done(self) -> bool:
        return not self._left

    def outputs(self) -> list[Output]:
        results = [self._results[piece] for piece in self._order]
        numbers = [result["turn"] for result in results] or [1]
        value = {
            "text": " ".join(result["word"] for result in results),
            "with": [result["with"] for result in results],
            "loads": sorted({result["load"] for result in results}),
            "lean": any(result["lean"] for result in results),
            "end": next(ends),
            "others": max(numbers) - min(numbers) + 1 - len(numbers),
        }
        return [Output("json", value)]

    def close(self) -> None:
        self._ended.set()
        Spelling.not_closed.discard(self)

    def _wait(self, wake: Callable[[], None]) -> None:
        while not Path(str(self._request.cue)).exists():
            if self._ended.wait(LOOK_AGAIN_S):
                return
        self._given = -1 if self._request.damaged else len(self._order)
        wake()


class Spell(PieceTask[SpellInput]):
    """Words in capitals; some do harm: "refuse", "buggy", "poison", "bad", "rotten", "hungry",
    "starving", and "unsendable" where the words are streamed.
    """

    name = "spell"
    summary = "Spell words"
    Input = SpellInput
    families = frozenset({"pieces"})
    max_open = MOST_OPEN

    def reserve_bytes(self, request: SpellInput, entry: Entry, device: Device) -> int:
        return request.work_bytes

    def prepare(self, request: SpellInput, entry: Entry, read: Callable[[Any], bytes]) -> Piecework:
        while request.prepare_cue is not None and not Path(request.prepare_cue).exists():
            time.sleep(LOOK_AGAIN_S)
        if "refuse" in request.words:
            raise InvalidInput("words: not this one", param="words")
        if "buggy" in request.words:
            raise ValueError("secret detail of a bug in prepare")
        return Spelling(request)

    def choose(self, pieces: Sequence[Piece], entry: Entry, device: Device) -> Sequence[Piece]:
        return pieces[:MOST_TOGETHER]

    def compute(self, bundle: Any, pieces: Sequence[Piece], context: RunContext) -> list[Any]:
        words = [piece.value[0] for piece in pieces]
        results: list[Any] = []
        for piece in pieces:
            word, request = piece.value
            time.sleep(request.piece_s)
            context.hand_over()
            results.append(self._computed(word, words, bundle, context))
        return results

    def _computed(self, word: str, words: list[str], bundle: Any, context: RunContext) -> Any:
        if word == "poison":
            raise ValueError("secret detail of a bug in compute")
        if (word == "hungry" and not context.lean) or word == "starving":
            raise MemoryError
        if word == "bad":
            return InvalidInput("words: this one is bad", param="words")
        told = {"word": word.upper(), "with": words, "load": bundle.number, "lean": context.lean}
        return {**told, "turn": next(turns)}


class Nothing(BaseModel):
    """No fields."""


class OpenPieces(Task[Nothing]):
    """What was prepared and not closed, and the threads that wait for more words. It has no pieces
    itself.
    """

    name = "open-pieces"
    summary = "Count open pieceworks"
    Input = Nothing
    families = frozenset({"pieces"})

    def run(self, bundle: Any, request: Nothing, context: RunContext) -> list[Output]:
        waiting = [thread for thread in threading.enumerate() if thread.name == "late"]
        counts = {"open": len(Spelling.not_closed), "threads": len(waiting)}
        return [Output("json", counts)]


class WordsEncoder(Encoder):
    kind = "words"

    def encode(self, output: Output) -> Artifact:
        return Artifact("text/plain", output.value.encode())

    def stream(self, options: dict[str, Any]) -> WordsFile:
        return WordsFile()


class WordsFile:
    """Has a mark at its end."""

    def feed(self, value: str) -> bytes:
        if value.startswith("UNSENDABLE"):
            raise ValueError("secret detail of a bug in an encoder")
        return value.encode() + b" "

    def end(self) -> bytes:
        return END


FAMILIES.register(PiecesFamily.name, PiecesFamily())
for task in (Spell(), OpenPieces()):
    TASKS.register(task.name, task)
ENCODERS.register(WordsEncoder.kind, WordsEncoder())
