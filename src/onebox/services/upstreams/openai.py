"""The kind `openai`: any server that speaks OpenAI's language, a second Onebox for one."""

from __future__ import annotations

from typing import Annotated

import msgspec

from onebox.core.results import Artifact
from onebox.services.upstreams import openai_audio, openai_images, openai_text
from onebox.services.upstreams.adapter import Ask
from onebox.services.upstreams.connection import Call, Connection
from onebox.services.upstreams.text import MAX_TOKENS
from onebox.services.upstreams.vectors import Vector, vectors_artifact


class _Usage(msgspec.Struct):
    prompt_tokens: Annotated[int, msgspec.Meta(ge=0, le=MAX_TOKENS)] = 0


class _Vectors(msgspec.Struct):
    data: list[Vector]
    usage: _Usage | None = None


_vectors = msgspec.json.Decoder(_Vectors)


class OpenAI:
    """
    Args:
        prefix: what paths begin with behind the base URL.
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix

    async def run(self, ask: Ask, connection: Connection) -> tuple[Artifact, ...]:
        prefix = self._prefix
        match ask.task:
            case "chat":
                return await openai_text.chat(ask, connection, f"{prefix}/chat/completions")
            case "completion":
                return await openai_text.completion(ask, connection, f"{prefix}/completions")
            case "text-to-image":
                return await openai_images.generate(ask, connection, f"{prefix}/images/generations")
            case "image-to-image" | "inpainting":
                return await openai_images.edit(ask, connection, f"{prefix}/images/edits")
            case "speech":
                return await openai_audio.speak(ask, connection, f"{prefix}/audio/speech")
            case "transcription":
                return await openai_audio.transcribe(ask, connection, f"{prefix}/audio/{{}}")
        return await _embed(ask, connection, f"{prefix}/embeddings")


async def _embed(ask: Ask, connection: Connection, path: str) -> tuple[Artifact, ...]:
    names = ("dimensions", "encoding_format", "prompt", "truncate")
    ask.refuse_all_but("inputs", *names)
    body = {
        "model": ask.model,
        "input": ask.input["inputs"],
        **{name: ask.given[name] for name in names if name in ask.given},
        **ask.parameters,
    }
    answer = await connection.whole(Call(path, json=body))
    try:
        found = _vectors.decode(answer.data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise connection.useless("no vectors") from None
    tokens = found.usage.prompt_tokens if found.usage else 0
    count, wanted = len(ask.input["inputs"]), ask.input["encoding_format"]
    return vectors_artifact(found.data, count, wanted, tokens, connection)
