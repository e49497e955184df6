"""The kind `hf`: Hugging Face's router. Chats speak OpenAI's language; everything else goes to
`hf-inference/models/{model}`, in a form for each task.
"""

from __future__ import annotations

import asyncio
from typing import Any

from onebox.core.errors import InvalidInput
from onebox.core.results import Artifact
from onebox.services.upstreams import openai_text
from onebox.services.upstreams.adapter import Ask, renamed
from onebox.services.upstreams.connection import Call, Connection
from onebox.services.upstreams.openai_audio import sound, sound_file, transcript
from onebox.services.upstreams.pictures import picture_artifact
from onebox.services.upstreams.vectors import Vector, vectors_artifact

DRAWING = {
    "negative_prompt": "negative_prompt",
    "width": "width",
    "height": "height",
    "steps": "num_inference_steps",
    "guidance_scale": "guidance_scale",
    "scheduler": "scheduler",
    "seed": "seed",
}


class HuggingFace:
    async def run(self, ask: Ask, connection: Connection) -> tuple[Artifact, ...]:
        match ask.task:
            case "chat":
                return await openai_text.chat(ask, connection, "/v1/chat/completions")
            case "text-to-image":
                return await _draw(ask, connection)
            case "speech":
                return await _speak(ask, connection)
            case "transcription":
                return await _transcribe(ask, connection)
        return await _embed(ask, connection)


def _path(ask: Ask, pipeline: str = "") -> str:
    return f"/hf-inference/models/{ask.model}" + (f"/pipeline/{pipeline}" if pipeline else "")


async def _embed(ask: Ask, connection: Connection) -> tuple[Artifact, ...]:
    ask.refuse_all_but("inputs", "encoding_format", "truncate", "prompt")
    texts = ask.input["inputs"]
    if not all(isinstance(text, str) for text in texts):
        raise InvalidInput("this model takes texts, no token ids", param="input")
    more = renamed(ask.given, {"truncate": "truncate", "prompt": "prompt_name"})
    body = {"inputs": texts, **more, **ask.parameters}
    answer = await connection.json(Call(_path(ask, "feature-extraction"), json=body))
    try:
        vectors = [Vector([float(x) for x in one]) for one in answer]
    except (TypeError, ValueError):
        raise connection.useless("vectors of another form: one for each token, perhaps") from None
    return vectors_artifact(vectors, len(texts), ask.input["encoding_format"], 0, connection)


async def _draw(ask: Ask, connection: Connection) -> tuple[Artifact, ...]:
    """One request a picture: picture i has seed + i."""
    ask.refuse_all_but("prompt", "n", "partial_images", *DRAWING)
    pictures = []
    for index in range(ask.input["n"]):
        parameters = renamed(ask.given, DRAWING)
        if "seed" in parameters:
            parameters["seed"] += index
        body = {"inputs": ask.input["prompt"], "parameters": {**parameters, **ask.parameters}}
        call = Call(_path(ask), json=body, headers={"Accept": "image/png"})
        answer = await connection.whole(call)
        told = {"seed": parameters.get("seed")}
        picture = await asyncio.to_thread(picture_artifact, answer.data, told)
        if picture is None:
            raise connection.useless("no picture")
        pictures.append(picture)
    return tuple(pictures)


async def _speak(ask: Ask, connection: Connection) -> tuple[Artifact, ...]:
    """In the format that the model gives: nothing here turns one into another."""
    ask.refuse_all_but("input", "response_format", "seed", "stream")
    body: dict[str, Any] = {"inputs": ask.input["input"]}
    if ask.parameters:
        body["parameters"] = dict(ask.parameters)
    return await sound(ask, connection, Call(_path(ask), json=body))


async def _transcribe(ask: Ask, connection: Connection) -> tuple[Artifact, ...]:
    ask.refuse_all_but("file", "timestamps", "seed", "max_seconds", "vad", "temperature")
    _, data, media_type = sound_file(ask.input["file"])
    call = Call(_path(ask), content=data, headers={"Content-Type": media_type})
    answer = await connection.json(call)
    if isinstance(answer, dict):
        chunks = answer.get("chunks") or []
        try:
            answer["segments"] = [
                {"text": one["text"], "start": one["timestamp"][0], "end": one["timestamp"][1]}
                for one in chunks
            ]
        except (KeyError, TypeError, IndexError):
            raise connection.useless("a transcript of another form") from None
    return transcript(answer, connection, ask)
