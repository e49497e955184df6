"""Grammars that bind what a model writes, token by token (over llguidance).

`Grammars` belongs to a tokenizer and is shared by all threads; a Matcher belongs to one sequence.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from onebox.core.errors import InferenceFailed, InvalidInput, TaskNotSupported
from onebox.language.grammars.json_schema import narrow
from onebox.language.grammars.schema_finite import Finite
from onebox.language.grammars.tool_grammar import Markers, json_grammar, tool_grammar
from onebox.language.messages import Tool

MAX_GRAMMARS = 64
MAX_TEXT = 4_000_000  # characters of the kept grammars in all; one takes some 30 bytes each


class Tokens(Protocol):
    """What is needed of a `language.tokenizer.TextTokenizer`."""

    @property
    def backend(self) -> Any: ...

    @property
    def eos_ids(self) -> frozenset[int]: ...


class Matcher:
    """See `core.decoding.Matcher`."""

    __slots__ = ("_matcher", "_words")

    def __init__(self, matcher: Any, words: int) -> None:
        self._matcher = matcher
        self._words = words

    def fill(self, bitmask: Any, row: int) -> bool:
        """Raises InferenceFailed if the grammar became too costly to follow."""
        line = bitmask[row]
        width = line.shape[0]
        if width == self._words and line.is_cpu and line.is_contiguous():
            self._matcher.unsafe_compute_mask_ptr(line.data_ptr(), 4 * width)
        else:
            _fill_other(self._matcher, line, self._words)
        if self._matcher.is_error():
            raise self._failure("could not tell what may come next")
        return True

    def accept(self, token_id: int) -> None:
        if not self._matcher.consume_token(token_id):
            raise self._failure(f"did not allow token {token_id}")

    @property
    def finished(self) -> bool:
        return bool(self._matcher.is_stopped())

    def _failure(self, what: str) -> InferenceFailed:
        reason = self._matcher.get_error().partition("\n")[0] or self._matcher.stop_reason()
        return InferenceFailed(
            f"The grammar of this answer {what} ({reason}); ask with a simpler schema.",
            should_retry=False,
        )


def _fill_other(matcher: Any, line: Any, words: int) -> None:
    """For a row that the library cannot write into: often the model has more logits than its
    tokenizer has tokens, and what they stand for is nothing.
    """
    import torch

    own = torch.zeros(words, dtype=torch.int32)
    matcher.unsafe_compute_mask_ptr(own.data_ptr(), 4 * words)
    shared = min(words, line.shape[0])
    line[:shared] = own[:shared]
    line[shared:] = 0


class Grammar:
    """One compiled grammar. `size` is that of its text, which is not kept."""

    def __init__(self, matcher: Any, words: int, size: int) -> None:
        self.size = size
        self._matcher = matcher
        self._words = words
        self._lock = threading.Lock()

    def start(self) -> Matcher:
        """At the beginning of an answer; from any thread."""
        with self._lock:
            return Matcher(self._matcher.deep_copy(), self._words)


class Grammars:
    """Compiles grammars for one tokenizer, and keeps those used last."""

    def __init__(self, tokenizer: Tokens) -> None:
        self._tokenizer = tokenizer
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, Grammar] = OrderedDict()
        self._library: Any = None
        self._specials: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def json_object(self) -> Grammar:
        maker = Finite()
        text = json_grammar(maker.any_object(), maker)
        return self._grammar("object", lambda: self._compile(text, "response_format"))

    def json_schema(self, schema: dict[str, Any], param: str = "response_format") -> Grammar:
        """Raises InvalidInput for a schema outside the documented subset."""

        def make() -> Grammar:
            maker = Finite()
            return self._compile(json_grammar(narrow(maker, schema, param), maker), param)

        return self._grammar(["schema", schema], make)

    def tool_calls(
        self, tools: Sequence[Tool], format: str, required: bool, parallel: bool
    ) -> Grammar:
        """Calls of these tools in a ToolFormat; unless `required`, text before or instead.

        Raises InvalidInput for the schema of a strict tool outside the documented subset.
        """
        asked = [[tool.name, tool.parameters, tool.strict] for tool in tools]

        def make() -> Grammar:
            markers = Markers(self._specials, self._tokenizer.eos_ids)
            plan = partial(tool_grammar, tools, format, required=required, parallel=parallel)
            text = plan(markers)
            try:
                return self._compile(text, "tools")
            except InvalidInput:
                loose = [tool.name for i, tool in enumerate(tools) if self._is_too_hard(tool, i)]
                if not loose:
                    raise
            return self._compile(plan(markers, loose=loose), "tools")

        return self._grammar(["tools", asked, format, required, parallel], make)

    def _is_too_hard(self, tool: Tool, index: int) -> bool:
        """Whether the library cannot follow the tool's schema. Raises InvalidInput if it must."""
        markers = Markers({}, frozenset())
        text = tool_grammar([tool], "llama", markers, required=True, parallel=False)
        try:
            self._compile(text, f"tools[{index}].parameters")
        except InvalidInput:
            if tool.strict:
                raise
            return True
        return False

    def _grammar(self, key: Any, make: Callable[[], Grammar]) -> Grammar:
        """The kept one of this key, or a new one."""
        self._open()
        try:
            name = hashlib.sha256(json.dumps(key).encode()).digest()
        except RecursionError:  # nothing that is kept, or that can be made
            return make()
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
                return self._kept[name]
        grammar = make()
        with self._lock:
            self._kept[name] = grammar
            while self._is_overfull():
                self._kept.popitem(last=False)
        return grammar

    def _is_overfull(self) -> bool:
        size = sum(grammar.size for grammar in self._kept.values())
        return len(self._kept) > MAX_GRAMMARS or (size > MAX_TEXT and len(self._kept) > 1)

    def _compile(self, text: str, param: str) -> Grammar:
        from llguidance import LLMatcher

        matcher = LLMatcher(
            self._library, LLMatcher.grammar_from_lark(text), log_level=0, limits=_limits()
        )
        if matcher.is_error():
            reason = " ".join(matcher.get_error().split())[:300]
            raise InvalidInput(
                f"'{param}' cannot be made a grammar: {reason}.",
                param=param,
                details={"reason": reason},
            )
        return Grammar(matcher, (self._library.vocab_size + 31) // 32, len(text))

    def _open(self) -> None:
        with self._lock:
            if self._library is None:
                self._library, self._specials = _library(self._tokenizer)


def _limits() -> Any:
    """What a compile, and then each token, may cost before the library gives up, in its units."""
    from llguidance import LLParserLimits

    return LLParserLimits(
        initial_lexer_fuel=1_000_000,  # some 20 ms
        step_lexer_fuel=200_000,  # some 15 ms
        step_max_items=50_000,  # some 3 ms
        max_items_in_row=2_000,
        max_lexer_states=50_000,  # of 1 to 2 kB
        max_grammar_size=200_000,
        verbose_errors=False,
    )


def _library(tokenizer: Tokens) -> tuple[Any, dict[str, int]]:
    """The library's view of the tokenizer, in which what ends an answer is never text.

    Returns it with the ids of the special tokens.
    """
    from llguidance import LLTokenizer

    if tokenizer.backend is None:
        raise _unbound()
    plan = json.loads(tokenizer.backend.to_str())
    plan["truncation"] = plan["padding"] = None
    added = {token["id"]: token for token in plan.get("added_tokens") or []}
    for end in tokenizer.eos_ids:
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        content = tokenizer.backend.id_to_token(end)
        added.setdefault(end, {"id": end, "content": content, **flags})["special"] = True
    plan["added_tokens"] = [added[key] for key in sorted(added)]
    try:
        library = LLTokenizer(
            json.dumps(plan),
            eos_token=sorted(tokenizer.eos_ids) or None,
            slices=LLTokenizer.json_slices(),
        )
    except ValueError as error:
        raise _unbound() from error
    specials = {token["content"]: key for key, token in added.items() if token.get("special")}
    return library, specials


def _unbound() -> TaskNotSupported:
    return TaskNotSupported(
        "This model's tokenizer is of a kind that answers cannot be bound with; "
        "ask without response_format and with tool_choice 'none'."
    )
