"""The kind `gemini`: Google's Generative Language API, `models/{model}:{method}`."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
from collections.abc import Mapping
from typing import Any

import msgspec

from onebox.core.errors import InvalidInput
from onebox.core.results import Artifact
from onebox.services.upstreams.adapter import Ask, renamed
from onebox.services.upstreams.connection import Call, Connection
from onebox.services.upstreams.failures import broken_off
from onebox.services.upstreams.pictures import media_type_of, picture_artifact
from onebox.services.upstreams.text import TextAnswer
from onebox.services.upstreams.vectors import Vector, vectors_artifact

KEY_HEADER = "x-goog-api-key"
SAMPLING = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "max_tokens": "maxOutputTokens",
    "stop": "stopSequences",
    "n": "candidateCount",
    "seed": "seed",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}
MODES = {"none": "NONE", "auto": "AUTO", "required": "ANY"}
REASONS = {"STOP": "stop", "MAX_TOKENS": "length"}
MAX_SEED = 2**31
# Shapes that its picture models draw, by width over height.
RATIOS = {"1:1": 1.0, "3:4": 3 / 4, "4:3": 4 / 3, "9:16": 9 / 16, "16:9": 16 / 9}


class Gemini:
    async def run(self, ask: Ask, connection: Connection) -> tuple[Artifact, ...]:
        match ask.task:
            case "chat":
                return await _chat(ask, connection)
            case "text-to-image":
                return await _draw(ask, connection)
        return await _embed(ask, connection)


async def _chat(ask: Ask, connection: Connection) -> tuple[Artifact, ...]:
    ask.refuse_all_but(
        *SAMPLING,
        *("messages", "images", "tools", "tool_choice", "allowed_tools", "parallel_tool_calls"),
        "response_format",
    )
    answer = TextAnswer(ask.tell, field="content", choices=ask.input["n"])
    call = Call(f"/models/{ask.model}:streamGenerateContent?alt=sse", json=_chat_body(ask))
    async with contextlib.aclosing(connection.events(call)) as events:
        async for event in events:
            if not isinstance(event, dict) or event.get("error"):
                told = event.get("error") if isinstance(event, dict) else None
                raise broken_off(connection.name, told, connection.secrets)
            _refuse_blocked(event)
            try:
                _read(event, answer)
            except (AttributeError, KeyError, TypeError, ValueError):
                raise connection.useless("an event of another form") from None
    if not answer.ended:
        raise broken_off(connection.name, None, ())
    return answer.artifacts(ask.input["seed"])


def _chat_body(ask: Ask) -> dict[str, Any]:
    given, messages = ask.input, ask.input["messages"]
    system = [one for one in messages if one["role"] == "system"]
    calls = {call["id"]: call["name"] for one in messages for call in one["tool_calls"]}
    body: dict[str, Any] = {
        "contents": [
            _content(one, given["images"], calls) for one in messages if one["role"] != "system"
        ]
    }
    if system:
        parts = [part for one in system for part in _parts(one, given["images"])]
        body["systemInstruction"] = {"parts": parts}
    if given["tools"]:
        body["tools"] = [{"functionDeclarations": [_function(tool) for tool in given["tools"]]}]
        config: dict[str, Any] = {"mode": MODES[given["tool_choice"]]}
        if given["allowed_tools"] is not None and given["tool_choice"] != "none":
            # Names are heeded in this mode alone.
            config = {"mode": "ANY", "allowedFunctionNames": given["allowed_tools"]}
        body["toolConfig"] = {"functionCallingConfig": config}
    generation = _generation(ask)
    if generation:
        body["generationConfig"] = generation
    return {**body, **ask.parameters}


def _generation(ask: Ask) -> dict[str, Any]:
    config = renamed(ask.given, SAMPLING)
    if "seed" in config:
        config["seed"] %= MAX_SEED
    form = ask.input["response_format"]
    if form["type"] != "text":
        config["responseMimeType"] = "application/json"
    if form["type"] == "json_schema":
        config["responseJsonSchema"] = form["json_schema"]
    return config


def _content(
    message: Mapping[str, Any], images: list[Any], calls: Mapping[str, str]
) -> dict[str, Any]:
    if message["role"] == "tool":
        name = calls.get(message["tool_call_id"] or "", message["name"] or "tool")
        told = {"name": name, "response": {"result": _plain(message["content"])}}
        return {"role": "user", "parts": [{"functionResponse": told}]}
    parts = _parts(message, images)
    for call in message["tool_calls"]:
        parts.append({"functionCall": {"name": call["name"], "args": _args(call["arguments"])}})
    return {"role": "model" if message["role"] == "assistant" else "user", "parts": parts}


def _parts(message: Mapping[str, Any], images: list[Any]) -> list[dict[str, Any]]:
    content = message["content"]
    if isinstance(content, str):
        return [{"text": content}]
    return [_part(part, images) for part in content or ()]


def _part(part: Mapping[str, Any], images: list[Any]) -> dict[str, Any]:
    if part["type"] == "text":
        return {"text": part["text"]}
    image = images[part["index"]]
    data = base64.b64encode(image["data"]).decode()
    return {"inlineData": {"mimeType": media_type_of(image), "data": data}}


def _plain(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""


def _args(text: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        value = None
    if not isinstance(value, dict):
        raise InvalidInput("the arguments of a tool call must be a JSON object", param="messages")
    return value


def _function(tool: Mapping[str, Any]) -> dict[str, Any]:
    told = {"name": tool["name"], "description": tool["description"] or ""}
    return {**told, "parametersJsonSchema": tool["parameters"]} if tool["parameters"] else told


def _refuse_blocked(event: Mapping[str, Any]) -> None:
    blocked = (event.get("promptFeedback") or {}).get("blockReason")
    if blocked:
        raise InvalidInput(
            f"the upstream refused the prompt: {str(blocked)[:50]}", param="messages"
        )


def _read(event: Mapping[str, Any], answer: TextAnswer) -> None:
    for candidate in event.get("candidates") or ():
        index = candidate.get("index", 0)
        if not answer.knows(index):
            continue
        for part in (candidate.get("content") or {}).get("parts") or ():
            _read_part(part, index, answer)
        reason = candidate.get("finishReason")
        if reason:
            answer.finish(index, REASONS.get(reason, "content_filter"))
    usage = event.get("usageMetadata")
    if usage:
        thoughts = usage.get("thoughtsTokenCount") or 0
        answer.usage(
            {
                "prompt_tokens": usage.get("promptTokenCount"),
                "completion_tokens": (usage.get("candidatesTokenCount") or 0) + thoughts,
                "cached_tokens": usage.get("cachedContentTokenCount"),
                "reasoning_tokens": thoughts,
            }
        )


def _read_part(part: Mapping[str, Any], index: int, answer: TextAnswer) -> None:
    call = part.get("functionCall")
    if call:
        arguments = msgspec.json.encode(call.get("args") or {}).decode()
        # They come whole, so each is one more.
        answer.call(index, answer.calls(index), call["name"], call.get("id") or "", arguments)
    elif part.get("thought"):
        answer.thought(index, part.get("text") or "")
    else:
        answer.text(index, part.get("text") or "")


async def _embed(ask: Ask, connection: Connection) -> tuple[Artifact, ...]:
    ask.refuse_all_but("inputs", "dimensions", "encoding_format")
    texts = ask.input["inputs"]
    if not all(isinstance(text, str) for text in texts):
        raise InvalidInput("this model takes texts, no token ids", param="input")
    size = renamed(ask.given, {"dimensions": "outputDimensionality"})
    model = f"models/{ask.model}"
    body = {
        "requests": [
            {"model": model, "content": {"parts": [{"text": text}]}, **size, **ask.parameters}
            for text in texts
        ]
    }
    answer = await connection.json(Call(f"/{model}:batchEmbedContents", json=body))
    try:
        vectors = [Vector([float(x) for x in one["values"]]) for one in answer["embeddings"]]
    except (KeyError, TypeError, ValueError):
        raise connection.useless("no vectors") from None
    return vectors_artifact(vectors, len(texts), ask.input["encoding_format"], 0, connection)


async def _draw(ask: Ask, connection: Connection) -> tuple[Artifact, ...]:
    ask.refuse_all_but("prompt", "n", "width", "height", "partial_images")
    parameters: dict[str, Any] = {"sampleCount": ask.input["n"]}
    width, height = ask.input["width"], ask.input["height"]
    if width and height:
        parameters["aspectRatio"] = nearest_ratio(width, height, RATIOS)
    body = {
        "instances": [{"prompt": ask.input["prompt"]}],
        "parameters": {**parameters, **ask.parameters},
    }
    answer = await connection.json(Call(f"/models/{ask.model}:predict", json=body))
    try:
        raw = [base64.b64decode(one["bytesBase64Encoded"]) for one in answer["predictions"]]
    except (KeyError, TypeError, binascii.Error):
        raise connection.useless("no pictures") from None
    made = [await asyncio.to_thread(picture_artifact, one, {}) for one in raw]
    pictures = tuple(artifact for artifact in made if artifact is not None)
    if len(pictures) < ask.input["n"]:
        raise connection.useless(f"{len(pictures)} pictures instead of {ask.input['n']}")
    return pictures


def nearest_ratio(width: int, height: int, ratios: Mapping[str, float]) -> str:
    """Of the shapes that a server draws the one that is most like that."""
    wanted = width / height
    return min(ratios, key=lambda name: max(ratios[name] / wanted, wanted / ratios[name]))
