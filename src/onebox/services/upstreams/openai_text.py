"""Chats and completions of servers that speak OpenAI's language: always as a stream, so that the
time-out between two pieces of an answer does not bound the whole of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from onebox.core.results import Artifact
from onebox.core.sampling_fields import SAMPLING
from onebox.services.upstreams.adapter import Ask, renamed
from onebox.services.upstreams.connection import Call, Connection
from onebox.services.upstreams.failures import broken_off
from onebox.services.upstreams.pictures import data_url
from onebox.services.upstreams.text import TextAnswer

CHAT = (
    *SAMPLING,
    "max_tokens",
    "top_logprobs",
    "messages",
    "images",
    "tools",
    "tool_choice",
    "allowed_tools",
    "parallel_tool_calls",
    "response_format",
)
COMPLETION = (*SAMPLING, "max_tokens", "top_logprobs", "prompts", "echo")
STREAMED = {"stream": True, "stream_options": {"include_usage": True}}


async def chat(ask: Ask, connection: Connection, path: str) -> tuple[Artifact, ...]:
    ask.refuse_all_but(*CHAT)
    wants = ask.input["top_logprobs"] is not None
    answer = TextAnswer(ask.tell, field="content", choices=ask.input["n"], logprobs=wants)

    def read(choice: Mapping[str, Any], index: int) -> None:
        delta = choice.get("delta") or {}
        answer.thought(index, delta.get("reasoning_content") or delta.get("reasoning") or "")
        logprobs = (choice.get("logprobs") or {}).get("content") or []
        answer.text(index, delta.get("content") or "", [_logprob(one) for one in logprobs])
        for call in delta.get("tool_calls") or ():
            function = call.get("function") or {}
            answer.call(
                index,
                int(call.get("index") or 0),
                function.get("name") or "",
                call.get("id") or "",
                function.get("arguments") or "",
            )

    await _stream(Call(path, json=chat_body(ask)), connection, answer, read)
    return answer.artifacts(ask.input["seed"])


async def completion(ask: Ask, connection: Connection, path: str) -> tuple[Artifact, ...]:
    ask.refuse_all_but(*COMPLETION)
    prompts = ask.input["prompts"]
    wants = ask.input["top_logprobs"] is not None
    count = len(prompts) * ask.input["n"]
    answer = TextAnswer(ask.tell, field="text", choices=count, logprobs=wants)

    def read(choice: Mapping[str, Any], index: int) -> None:
        answer.text(index, choice.get("text") or "", _text_logprobs(choice.get("logprobs") or {}))

    body = {
        "model": ask.model,
        "prompt": prompts,
        **renamed(ask.given, {name: name for name in (*SAMPLING, "max_tokens", "echo")}),
        **renamed(ask.given, {"top_logprobs": "logprobs"}),
        **STREAMED,
        **ask.parameters,
    }
    await _stream(Call(path, json=body), connection, answer, read)
    return answer.artifacts(ask.input["seed"])


def chat_body(ask: Ask) -> dict[str, Any]:
    given = ask.given
    body: dict[str, Any] = {
        "model": ask.model,
        "messages": [_message(one, ask.input["images"]) for one in ask.input["messages"]],
        **renamed(given, {name: name for name in SAMPLING}),
        **renamed(given, {"max_tokens": "max_completion_tokens"}),
    }
    if ask.input["top_logprobs"] is not None:
        body |= {"logprobs": True, "top_logprobs": ask.input["top_logprobs"]}
    if ask.input["tools"]:
        body["tools"] = [_tool(tool) for tool in ask.input["tools"]]
        body["tool_choice"] = _tool_choice(ask.input)
        body["parallel_tool_calls"] = ask.input["parallel_tool_calls"]
    if "response_format" in given:
        body["response_format"] = _response_format(given["response_format"])
    return {**body, **STREAMED, **ask.parameters}


async def _stream(call: Call, connection: Connection, answer: TextAnswer, read: Any) -> None:
    """Raises UpstreamFailed where it ends before the text does."""
    async with contextlib.aclosing(connection.events(call)) as events:
        async for event in events:
            if not isinstance(event, dict):
                raise connection.useless("an event that is no object")
            if event.get("error"):
                raise broken_off(connection.name, event["error"], connection.secrets)
            try:
                _read_event(event, answer, read)
            except (AttributeError, KeyError, TypeError, ValueError):
                raise connection.useless("an event of another form") from None
    if not answer.ended:
        raise broken_off(connection.name, None, ())


def _read_event(event: Mapping[str, Any], answer: TextAnswer, read: Any) -> None:
    for choice in event.get("choices") or ():
        index = choice.get("index", 0)
        if not answer.knows(index):
            continue
        read(choice, index)
        if choice.get("finish_reason"):
            answer.finish(index, choice["finish_reason"])
    answer.fingerprint = event.get("system_fingerprint") or answer.fingerprint
    usage = event.get("usage")
    if usage:
        answer.usage(
            {
                "prompt_tokens": usage.get("prompt_tokens"),
                "completion_tokens": usage.get("completion_tokens"),
                "cached_tokens": (usage.get("prompt_tokens_details") or {}).get("cached_tokens"),
                "reasoning_tokens": (usage.get("completion_tokens_details") or {}).get(
                    "reasoning_tokens"
                ),
            }
        )


def _message(message: Mapping[str, Any], images: list[Any]) -> dict[str, Any]:
    content = message["content"]
    if isinstance(content, list):
        content = [_part(part, images) for part in content]
    told: dict[str, Any] = {"role": message["role"], "content": content}
    if message["tool_calls"]:
        told["tool_calls"] = [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": call["arguments"]},
            }
            for call in message["tool_calls"]
        ]
    for name in ("tool_call_id", "name"):
        if message[name] is not None:
            told[name] = message[name]
    return told


def _part(part: Mapping[str, Any], images: list[Any]) -> dict[str, Any]:
    if part["type"] == "text":
        return {"type": "text", "text": part["text"]}
    return {"type": "image_url", "image_url": {"url": data_url(images[part["index"]])}}


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = {"name": tool["name"], "parameters": tool["parameters"]}
    if tool["description"] is not None:
        function["description"] = tool["description"]
    if tool["strict"]:
        function["strict"] = True
    return {"type": "function", "function": function}


def _tool_choice(given: Mapping[str, Any]) -> Any:
    mode, allowed = given["tool_choice"], given["allowed_tools"]
    if allowed is None or mode == "none":
        return mode
    tools = [{"type": "function", "function": {"name": name}} for name in allowed]
    if mode == "required" and len(tools) == 1:
        return tools[0]
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}}


def _response_format(given: Mapping[str, Any]) -> dict[str, Any]:
    if given["type"] != "json_schema":
        return {"type": given["type"]}
    schema = {"name": "answer", "schema": given["json_schema"], "strict": True}
    return {"type": "json_schema", "json_schema": schema}


def _logprob(told: Mapping[str, Any]) -> dict[str, Any]:
    return {**_likely(told), "top": [_likely(one) for one in told.get("top_logprobs") or ()]}


def _likely(told: Mapping[str, Any]) -> dict[str, Any]:
    token = told["token"]
    return {
        "token": token,
        "bytes": told.get("bytes") or list(token.encode()),
        "logprob": told["logprob"],
    }


def _text_logprobs(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The lists of a completion, token by token."""
    tokens = told.get("tokens") or []
    columns = ("token_logprobs", "top_logprobs", "text_offset")
    values, tops, offsets = ((told.get(name) or [None] * len(tokens)) for name in columns)
    return [
        {
            **_likely({"token": token, "logprob": value}),
            "top": [_likely({"token": one, "logprob": its}) for one, its in (top or {}).items()],
            "offset": offset or 0,
        }
        for token, value, top, offset in zip(tokens, values, tops, offsets, strict=True)
    ]
