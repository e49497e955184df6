"""One response as clients see it, from its beginning to its end."""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Iterator
from typing import Any, Literal

from onebox.api.openai.chat_answer import ChatResult
from onebox.api.openai.responses_fields import ResponsesRequest, TextConfig
from onebox.api.openai.responses_output import Event, OutputWriter
from onebox.api.openai.responses_turn import Turn
from onebox.api.openai.text_result import Counts
from onebox.core.errors import AppError, ConcurrencyLimited, InvalidInput, QueueFull
from onebox.services.response_rows import StoredResponse

Status = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]

INTERNAL = {
    "code": "server_error",
    "type": "internal_error",
    "message": "something went wrong on the server; its log says more",
    "param": None,
}

# Why an answer is not complete.
CUTS = {"length": "max_output_tokens", "content_filter": "content_filter"}


class Answer:
    """Holds what was asked and what was written so far.

    Attributes:
        output: told of every delta.
    """

    def __init__(self, turn: Turn, status: Status) -> None:
        self.id = f"resp_{secrets.token_hex(24)}"
        self.output = OutputWriter()
        self._turn = turn
        self._created_at = time.time()
        self._status: Status = status
        self._facts: dict[str, Any] = {}
        self._asked = _asked(turn)

    def public(self) -> dict[str, Any]:
        return {**self._body(), "output": [dict(item) for item in self.output.items]}

    def stored(self) -> StoredResponse:
        return StoredResponse(
            id=self.id,
            caller=self._turn.caller.id,
            status=self._status,
            created_at=self._created_at,
            previous_id=self._turn.body.previous_response_id,
            body=self._body(),
            input=self._turn.own,
            output=tuple(dict(item) for item in self.output.items),
        )

    def begin(self) -> None:
        self._status = "in_progress"

    @property
    def is_queued(self) -> bool:
        return self._status == "queued"

    def end(self, result: ChatResult) -> Iterator[Event]:
        """All was streamed; the events of the last item. Must be gone through to its end."""
        reason = CUTS.get(result.choices[0].finish_reason)
        is_cut = reason is not None
        self._status = "incomplete" if is_cut else "completed"
        yield from self.output.end(self._status)
        self._facts |= {
            "usage": _usage(result.usage),
            "system_fingerprint": result.fingerprint,
            "seed": result.seed,
        }
        if is_cut:
            self._facts["incomplete_details"] = {"reason": reason}
        else:
            self._facts["completed_at"] = time.time()

    def end_whole(self, result: ChatResult) -> None:
        """Nothing was streamed."""
        self.output.write_whole(result.choices[0])
        deque(self.end(result), 0)

    def fail(self, error: dict[str, Any]) -> None:
        self.output.stop()
        self._status = "failed"
        self._facts["error"] = error

    def cancel(self) -> None:
        self.output.stop()
        self._status = "cancelled"

    @property
    def last_event(self) -> str:
        """The event that tells of the end."""
        ends = {"completed": "response.completed", "incomplete": "response.incomplete"}
        return ends.get(self._status, "response.failed")

    def _body(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": "response",
            "created_at": self._created_at,
            "status": self._status,
            **self._asked,
            # Another one may have taken over.
            "model": self._turn.prepared.entry.name,
            **self._facts,
        }


def public_error(error: AppError) -> dict[str, Any]:
    """In the words that OpenAI has for the errors of responses; `type` is ours."""
    if isinstance(error, InvalidInput):
        code = "invalid_prompt"
    elif isinstance(error, QueueFull | ConcurrencyLimited):
        code = "rate_limit_exceeded"
    else:
        code = "server_error"
    return {"code": code, "type": error.code, "message": error.message, "param": error.param}


def _asked(turn: Turn) -> dict[str, Any]:
    body, used = turn.body, turn.prepared.input
    return {
        "background": bool(body.background),
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "max_tool_calls": body.max_tool_calls,
        "metadata": body.metadata or {},
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "previous_response_id": body.previous_response_id,
        "prompt_cache_key": body.prompt_cache_key,
        "reasoning": {
            "effort": body.reasoning and body.reasoning.effort,
            "summary": body.reasoning and body.reasoning.summary,
        },
        "safety_identifier": body.safety_identifier,
        "service_tier": "default",
        "store": body.is_stored,
        "temperature": getattr(used, "temperature", body.temperature),
        "text": _text(body.text),
        "tool_choice": _tool_choice(body),
        "tools": [tool.model_dump() for tool in body.tools or ()],
        "top_logprobs": body.top_logprobs or 0,
        "top_p": getattr(used, "top_p", body.top_p),
        "truncation": body.truncation or "disabled",
        "usage": None,
    }


def _text(text: TextConfig | None) -> dict[str, Any]:
    given = text.model_dump(by_alias=True, exclude_none=True) if text else {}
    return {"format": {"type": "text"}, "verbosity": "medium", **given}


def _tool_choice(body: ResponsesRequest) -> str | dict[str, Any]:
    choice = body.tool_choice
    if choice is None:
        return "auto"
    if choice.type in ("function", "allowed_tools"):
        return choice.model_dump(exclude_none=True)
    return choice.type


def _usage(counts: Counts) -> dict[str, Any]:
    return {
        "input_tokens": counts.prompt_tokens,
        "input_tokens_details": {"cached_tokens": counts.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": counts.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": counts.reasoning_tokens},
        "total_tokens": counts.prompt_tokens + counts.completion_tokens,
    }
