"""What each kind of server is asked, and what its answers become: by the providers' own pages."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest
from PIL import Image

from onebox.core.errors import InvalidInput, UpstreamFailed
from tests.support.stand_in import EVENTS, Reply, events_reply, json_reply
from tests.unit.services.upstreams.asking import KEY, play

HELLO = [{"role": "user", "content": "Hello"}]
TOOL = {"name": "weather", "parameters": {"type": "object"}, "description": "Tells it"}


def png(size: tuple[int, int] = (8, 6)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, "PNG")
    return buffer.getvalue()


def candidate(*parts: Any, reason: str | None = None, **more: Any) -> dict[str, Any]:
    told: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    return {"candidates": [told | ({"finishReason": reason} if reason else {})], **more}


def gemini_events(*events: Any) -> Reply:
    """A stream of Google's has no last event."""
    return events_reply(*events, end=b"")


def ask(folder: Any, reply: Any, kind: str, task: str, *, model: str = "far", **given: Any) -> Any:
    """The request as it came there, and what came of it."""

    async def scene(server: Any, create: Any) -> Any:
        told = await create(kind, model=model).ask(task, **given)
        return server.asked[-1] if server.asked else None, told

    return play(folder, reply, scene=scene)


class TestGemini:
    def test_a_chat_is_asked_for_in_its_words(self, tmp_path):
        reply = gemini_events(candidate({"text": "Hi"}, reason="STOP"))
        messages = [
            {"role": "system", "content": "Be short."},
            *HELLO,
            {"role": "assistant", "tool_calls": [
                {"id": "1", "name": "weather", "arguments": '{"at": "here"}'}]},
            {"role": "tool", "tool_call_id": "1", "content": "rain"},
        ]  # fmt: skip
        asked, _ = ask(
            tmp_path, reply, "gemini", "chat", messages=messages, tools=[TOOL], max_tokens=9,
            top_p=0.5, stop=["x"], tool_choice="required",
        )  # fmt: skip
        assert asked.path == "/models/far:streamGenerateContent?alt=sse"
        assert asked.headers["x-goog-api-key"] == KEY
        assert "authorization" not in asked.headers
        body = asked.json
        assert body["systemInstruction"] == {"parts": [{"text": "Be short."}]}
        assert [one["role"] for one in body["contents"]] == ["user", "model", "user"]
        call = {"name": "weather", "args": {"at": "here"}}
        assert body["contents"][1]["parts"] == [{"functionCall": call}]
        answer = {"name": "weather", "response": {"result": "rain"}}
        assert body["contents"][2]["parts"] == [{"functionResponse": answer}]
        assert body["toolConfig"] == {"functionCallingConfig": {"mode": "ANY"}}
        assert body["generationConfig"] == {
            "topP": 0.5, "maxOutputTokens": 9, "stopSequences": ["x"],
        }  # fmt: skip

    def test_its_stream_becomes_deltas_and_counts(self, tmp_path):
        usage = {"promptTokenCount": 4, "candidatesTokenCount": 2, "thoughtsTokenCount": 3}
        reply = gemini_events(
            candidate({"text": "Hm.", "thought": True}),
            candidate({"text": "He"}),
            candidate({"text": "llo"}, reason="MAX_TOKENS", usageMetadata=usage),
        )
        _, told = ask(tmp_path, reply, "gemini", "chat", messages=HELLO)
        assert told.deltas == [
            {"index": 0, "reasoning": "Hm."},
            {"index": 0, "content": "He"},
            {"index": 0, "content": "llo"},
            {"index": 0, "finish_reason": "length"},
        ]
        assert told.value["choices"][0]["content"] == "Hello"
        assert told.value["usage"] == {
            "prompt_tokens": 4, "completion_tokens": 5, "cached_tokens": 0, "reasoning_tokens": 3,
        }  # fmt: skip

    def test_a_tool_call_has_an_id_and_its_arguments_as_text(self, tmp_path):
        call = {"functionCall": {"name": "weather", "args": {"at": "here"}}}
        reply = gemini_events(candidate(call, call, reason="STOP"))
        _, told = ask(tmp_path, reply, "gemini", "chat", messages=HELLO, tools=[TOOL])
        (choice,) = told.value["choices"]
        assert (choice["finish_reason"], choice["content"]) == ("tool_calls", None)
        assert [json.loads(one["arguments"]) for one in choice["tool_calls"]] == [
            {"at": "here"}, {"at": "here"},
        ]  # fmt: skip
        assert len({one["id"] for one in choice["tool_calls"]}) == 2

    @pytest.mark.parametrize("reason", ["SAFETY", "RECITATION", "A_NEW_ONE"])
    def test_what_it_withholds_is_said_to_be_filtered(self, tmp_path, reason):
        _, told = ask(
            tmp_path, gemini_events(candidate(reason=reason)), "gemini", "chat", messages=HELLO
        )
        assert told.value["choices"][0]["finish_reason"] == "content_filter"

    def test_a_prompt_that_it_blocks_is_the_clients_error(self, tmp_path):
        reply = gemini_events({"promptFeedback": {"blockReason": "SAFETY"}})
        _, told = ask(tmp_path, reply, "gemini", "chat", messages=HELLO)
        assert isinstance(told.error, InvalidInput)

    def test_vectors_come_in_one_batch(self, tmp_path):
        reply = json_reply({"embeddings": [{"values": [1, 2]}, {"values": [3, 4.5]}]})
        asked, told = ask(tmp_path, reply, "gemini", "embeddings", inputs=["a", "b"], dimensions=2)
        assert asked.path == "/models/far:batchEmbedContents"
        assert asked.json["requests"][1] == {
            "model": "models/far",
            "content": {"parts": [{"text": "b"}]},
            "outputDimensionality": 2,
        }
        assert [one["embedding"] for one in told.value["data"]] == [[1.0, 2.0], [3.0, 4.5]]

    def test_pictures_are_drawn_in_the_nearest_shape(self, tmp_path):
        raw = base64.b64encode(png()).decode()
        reply = json_reply({"predictions": [{"bytesBase64Encoded": raw, "mimeType": "image/png"}]})
        asked, told = ask(
            tmp_path, reply, "gemini", "text-to-image", prompt="a cat", width=1024, height=576
        )
        assert asked.path == "/models/far:predict"
        assert asked.json["parameters"] == {"sampleCount": 1, "aspectRatio": "16:9"}
        (artifact,) = told.artifacts
        assert (artifact.media_type, artifact.meta) == ("image/png", {"width": 8, "height": 6})


class TestHuggingFace:
    def test_a_chat_speaks_openais_language(self, tmp_path):
        event = {"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}
        asked, told = ask(
            tmp_path, events_reply(event), "hf", "chat", model="org/m:fast", messages=HELLO
        )
        assert asked.path == "/v1/chat/completions"
        assert asked.headers["authorization"] == f"Bearer {KEY}"
        assert asked.json["model"] == "org/m:fast"
        assert told.value["choices"][0]["content"] == "Hi"

    def test_vectors_come_from_its_pipeline(self, tmp_path):
        asked, told = ask(
            tmp_path, json_reply([[1, 2], [3, 4]]), "hf", "embeddings", model="org/m",
            inputs=["a", "b"], encoding_format="base64",
        )  # fmt: skip
        assert asked.path == "/hf-inference/models/org/m/pipeline/feature-extraction"
        assert asked.json == {"inputs": ["a", "b"]}
        raw = base64.b64decode(told.value["data"][0]["embedding"])
        assert raw == b"\x00\x00\x80?\x00\x00\x00@"

    def test_each_picture_is_a_request_with_a_seed_of_its_own(self, tmp_path):
        async def scene(server: Any, create: Any) -> None:
            told = await create("hf", model="org/m").ask(
                "text-to-image", prompt="a cat", n=2, seed=7, steps=4
            )
            assert [one.json["parameters"] for one in server.asked] == [
                {"num_inference_steps": 4, "seed": 7},
                {"num_inference_steps": 4, "seed": 8},
            ]
            assert [one.meta["seed"] for one in told.artifacts] == [7, 8]

        play(tmp_path, Reply(200, [png()], "image/png"), scene=scene)

    def test_a_recording_goes_as_it_is(self, tmp_path):
        reply = json_reply({"text": " Hi", "chunks": [{"text": " Hi", "timestamp": [0.0, 1.5]}]})
        file = {"data": b"fLaC...", "media_type": "audio/flac"}
        asked, told = ask(tmp_path, reply, "hf", "transcription", model="org/m", file=file)
        assert (asked.path, asked.body) == ("/hf-inference/models/org/m", b"fLaC...")
        assert asked.headers["content-type"] == "audio/flac"
        assert (told.value["text"], told.value["duration"]) == (" Hi", 1.5)
        assert told.value["segments"][0]["end"] == 1.5

    def test_speech_is_the_sound_that_it_gives(self, tmp_path):
        reply = Reply(200, [b"fL", b"aC"], "audio/flac")
        asked, told = ask(
            tmp_path, reply, "hf", "speech", input="Hi", response_format="flac", stream=True
        )
        assert asked.json == {"inputs": "Hi"}
        assert b"".join(delta["data"] for delta in told.deltas) == b"fLaC"


class TestStability:
    def test_a_picture_is_asked_for_by_a_form(self, tmp_path):
        reply = Reply(200, [png()], "image/png", {"seed": "42", "finish-reason": "SUCCESS"})
        asked, told = ask(
            tmp_path, reply, "stability", "text-to-image", model="sd3.5-large", prompt="a cat",
            width=512, height=768, seed=42, negative_prompt="dogs",
        )  # fmt: skip
        assert asked.path == "/v2beta/stable-image/generate/sd3"
        assert asked.headers["accept"] == "image/*"
        fields = {
            name: asked.field(name)
            for name in ("prompt", "model", "aspect_ratio", "seed", "negative_prompt")
        }
        assert fields == {
            "prompt": b"a cat", "model": b"sd3.5-large", "aspect_ratio": b"2:3", "seed": b"42",
            "negative_prompt": b"dogs",
        }  # fmt: skip
        (artifact,) = told.artifacts
        assert artifact.meta == {"seed": 42, "width": 8, "height": 6}

    def test_its_own_services_have_paths_of_their_own(self, tmp_path):
        reply = Reply(200, [png()], "image/png")
        asked, _ = ask(tmp_path, reply, "stability", "text-to-image", model="core", prompt="a")
        assert asked.path == "/v2beta/stable-image/generate/core"
        assert asked.field("model") is None

    def test_a_transparent_mask_is_sent_as_a_white_one(self, tmp_path):
        hole = Image.new("RGBA", (2, 1), (0, 0, 0, 255))
        hole.putpixel((0, 0), (0, 0, 0, 0))
        buffer = io.BytesIO()
        hole.save(buffer, "PNG")
        asked, _ = ask(
            tmp_path, Reply(200, [png()], "image/png"), "stability", "inpainting", prompt="a",
            image={"data": png()}, mask={"data": buffer.getvalue()},
        )  # fmt: skip
        assert asked.path == "/v2beta/stable-image/edit/inpaint"
        mask = Image.open(io.BytesIO(asked.field("mask")))
        assert (mask.mode, list(mask.tobytes())) == ("L", [255, 0])

    def test_what_it_filters_is_the_clients_error(self, tmp_path):
        reply = Reply(200, [png()], "image/png", {"finish-reason": "CONTENT_FILTERED"})
        _, told = ask(tmp_path, reply, "stability", "text-to-image", prompt="a")
        assert isinstance(told.error, InvalidInput)

    def test_what_is_no_picture_is_its_failure(self, tmp_path):
        _, told = ask(
            tmp_path, json_reply({"image": "no"}), "stability", "text-to-image", prompt="a"
        )
        assert isinstance(told.error, UpstreamFailed)


@pytest.mark.parametrize(
    ("kind", "task", "given", "param"),
    [
        ("gemini", "chat", {"messages": HELLO, "logit_bias": {5: 1.0}}, "logit_bias"),
        ("gemini", "chat", {"messages": HELLO, "top_logprobs": 2}, "top_logprobs"),
        ("hf", "embeddings", {"inputs": [[1, 2]]}, "input"),
        ("hf", "speech", {"input": "a", "speed": 2.0}, "speed"),
        ("stability", "text-to-image", {"prompt": "a", "steps": 3}, "steps"),
        ("openai", "text-to-image", {"prompt": "a", "hires": True}, "hires"),
    ],
)
def test_what_a_server_does_not_know_is_refused_and_not_left_out(
    tmp_path, kind, task, given, param
):
    asked, told = ask(tmp_path, json_reply({}), kind, task, **given)
    assert isinstance(told.error, InvalidInput)
    assert told.error.param == param
    assert asked is None


def test_the_operators_own_fields_go_along(tmp_path):
    async def scene(server: Any, create: Any) -> None:
        about = {"parameters": {"reasoning_effort": "low"}}
        await create(about=about).ask("chat", messages=HELLO)
        assert server.asked[0].json["reasoning_effort"] == "low"

    play(tmp_path, Reply(200, [b"data: [DONE]\n\n"], EVENTS), scene=scene)
