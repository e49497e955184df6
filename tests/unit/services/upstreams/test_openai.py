"""What a server that speaks OpenAI's language is asked, and what becomes of its answers."""

from __future__ import annotations

import base64
import io
from typing import Any

import pytest
from PIL import Image

from onebox.core.errors import UpstreamFailed
from tests.support.stand_in import EVENTS, Reply, events_reply, json_reply
from tests.unit.services.upstreams.asking import play

HELLO = [{"role": "user", "content": "Hello"}]
TOOLS = [{"name": "a"}, {"name": "b", "strict": True, "parameters": {"type": "object"}}]


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), "red").save(buffer, "PNG")
    return buffer.getvalue()


PNG = png()
ITEM = {"b64_json": base64.b64encode(PNG).decode(), "seed": 5}


def ask(folder: Any, reply: Reply, task: str, *, only_end: bool = False, **given: Any) -> Any:
    async def scene(server: Any, create: Any) -> Any:
        told = await create().ask(task, only_end=only_end, **given)
        return server.asked[-1], told

    return play(folder, reply, scene=scene)


def chunk(delta: dict[str, Any], reason: str | None = None, index: int = 0) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": reason}]}


def test_nothing_is_sent_that_the_client_left_open(tmp_path):
    asked, _ = ask(tmp_path, events_reply(chunk({}, "stop")), "chat", messages=HELLO)
    assert asked.json == {
        "model": "far",
        "messages": HELLO,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize(
    ("given", "choice"),
    [
        ({}, "auto"),
        ({"tool_choice": "none"}, "none"),
        ({"tool_choice": "required"}, "required"),
        (
            {"tool_choice": "required", "allowed_tools": ["b"]},
            {"type": "function", "function": {"name": "b"}},
        ),
    ],
)
def test_tools_go_along(tmp_path, given, choice):
    reply = events_reply(chunk({}, "stop"))
    asked, _ = ask(tmp_path, reply, "chat", messages=HELLO, tools=TOOLS, **given)
    assert asked.json["tool_choice"] == choice
    assert [tool["function"]["name"] for tool in asked.json["tools"]] == ["a", "b"]
    assert asked.json["tools"][1]["function"]["strict"] is True


def test_calls_come_piece_by_piece(tmp_path):
    def call(**function: Any) -> dict[str, Any]:
        named = {"id": "call_1"} if "name" in function else {}
        return {"tool_calls": [{"index": 0, "type": "function", **named, "function": function}]}

    reply = events_reply(
        chunk(call(name="a", arguments="")),
        chunk(call(arguments='{"x"')),
        chunk(call(arguments=":1}")),
        chunk({}, "tool_calls"),
    )
    _, told = ask(tmp_path, reply, "chat", messages=HELLO, tools=TOOLS)
    begin = {"index": 0, "id": "call_1", "name": "a", "arguments": ""}
    assert told.deltas[0] == {"index": 0, "tool_calls": [begin]}
    (choice,) = told.value["choices"]
    assert choice["tool_calls"] == [{"id": "call_1", "name": "a", "arguments": '{"x":1}'}]
    assert (choice["content"], choice["finish_reason"]) == (None, "tool_calls")


def test_thoughts_are_told_apart_from_the_answer(tmp_path):
    reply = events_reply(chunk({"reasoning_content": "Hm."}), chunk({"content": "Yes"}, "stop"))
    _, told = ask(tmp_path, reply, "chat", messages=HELLO)
    (choice,) = told.value["choices"]
    assert (choice["reasoning"], choice["content"]) == ("Hm.", "Yes")


def test_choices_come_mixed_and_end_each_for_itself(tmp_path):
    reply = events_reply(
        chunk({"content": "a"}, index=1),
        chunk({"content": "b"}, "stop", index=0),
        chunk({"content": "c"}, "length", index=1),
        chunk({"content": "?"}, index=7),
    )
    _, told = ask(tmp_path, reply, "chat", messages=HELLO, n=2)
    assert [(c["content"], c["finish_reason"]) for c in told.value["choices"]] == [
        ("b", "stop"), ("ac", "length"),
    ]  # fmt: skip


def test_a_picture_in_a_message_goes_as_a_data_url(tmp_path):
    content = [{"type": "text", "text": "What?"}, {"type": "image", "index": 0}]
    asked, _ = ask(
        tmp_path, events_reply(chunk({}, "stop")), "chat",
        messages=[{"role": "user", "content": content}], images=[{"data": PNG}],
    )  # fmt: skip
    part = asked.json["messages"][0]["content"][1]
    assert part["image_url"]["url"].startswith("data:image/png;base64,")


def test_events_may_be_cut_anywhere(tmp_path):
    whole = b'data: {"choices":[{"index":0,"delta":{"content":"\xc3\xa4"}}]}\r\n\r\n'
    whole += b': ping\r\n\r\ndata: {"choices":[{"index":0,"finish_reason":"stop"}]}\r\n\r\n'
    reply = Reply(200, [whole[i : i + 1] for i in range(len(whole))], EVENTS)
    _, told = ask(tmp_path, reply, "chat", messages=HELLO)
    assert told.value["choices"][0]["content"] == "\u00e4"


@pytest.mark.parametrize(("sent", "wanted"), [("float", "base64"), ("base64", "float")])
def test_vectors_come_in_the_form_that_was_asked_for(tmp_path, sent, wanted):
    forms = {"float": [1.0, -2.5], "base64": "AACAPwAAIMA="}
    reply = json_reply({"data": [{"index": 0, "embedding": forms[sent]}]})
    asked, told = ask(tmp_path, reply, "embeddings", inputs=["a"], encoding_format=wanted)
    assert asked.json.get("encoding_format", "float") == wanted
    assert told.value["data"][0]["embedding"] == forms[wanted]


def test_vectors_are_put_in_order(tmp_path):
    data = [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": [1.0]}]
    _, told = ask(tmp_path, json_reply({"data": data}), "embeddings", inputs=["a", "b"])
    assert [one["embedding"] for one in told.value["data"]] == [[1.0], [2.0]]


def test_a_picture_has_its_size_and_its_seed(tmp_path):
    asked, told = ask(
        tmp_path, json_reply({"data": [ITEM]}), "text-to-image", prompt="a", width=64, height=128
    )
    assert asked.json == {"model": "far", "prompt": "a", "size": "64x128"}
    (artifact,) = told.artifacts
    assert artifact.data == PNG
    assert artifact.meta == {"seed": 5, "width": 8, "height": 6}


def test_pictures_of_the_making_come_first(tmp_path):
    partial = {"type": "image_generation.partial_image", "image_index": 0, **ITEM}
    reply = events_reply(partial, {"type": "image_generation.completed", "image_index": 0, **ITEM})
    asked, told = ask(tmp_path, reply, "text-to-image", prompt="a", partial_images=1)
    assert asked.json["stream"] is True
    assert told.deltas == [{"picture": 0, "media_type": "image/png", "preview": PNG}]
    assert len(told.artifacts) == 1


@pytest.mark.parametrize(
    "item", [{"url": "http://127.0.0.1/x"}, {"b64_json": "?"}, {"b64_json": "AAAA"}, 5]
)
def test_a_link_or_what_is_no_picture_is_its_failure(tmp_path, item):
    _, told = ask(tmp_path, json_reply({"data": [item]}), "text-to-image", prompt="a")
    assert isinstance(told.error, UpstreamFailed)


def test_an_edit_is_a_form_with_its_files(tmp_path):
    asked, _ = ask(
        tmp_path, json_reply({"data": [ITEM]}), "inpainting", prompt="a", strength=0.5,
        image={"data": PNG}, mask={"data": PNG},
    )  # fmt: skip
    assert asked.path == "/images/edits"
    assert (asked.field("image"), asked.field("mask")) == (PNG, PNG)
    assert (asked.field("model"), asked.field("strength")) == (b"far", b"0.5")


def test_an_edit_with_a_mask_takes_its_other_pictures_along(tmp_path):
    asked, _ = ask(
        tmp_path, json_reply({"data": [ITEM]}), "inpainting", prompt="a",
        image={"data": PNG}, mask={"data": PNG}, references=[{"data": PNG}],
        inpaint_area="masked",
    )  # fmt: skip
    assert asked.body.count(b'name="image[]"') == 2
    assert asked.field("inpaint_area") == b"masked"


def test_sound_is_passed_on_as_it_comes(tmp_path):
    reply = Reply(200, [b"ID3", b"..."], "audio/mpeg", {"X-Onebox-Seed": "9"})
    asked, told = ask(tmp_path, reply, "speech", input="Hi", stream=True)
    assert asked.json["voice"] == "alloy"
    assert b"".join(delta["data"] for delta in told.deltas) == b"ID3..."
    assert told.value["seed"] == 9


def test_an_answer_that_is_no_sound_is_its_failure(tmp_path):
    _, told = ask(tmp_path, json_reply({"error": None}), "speech", input="Hi", stream=True)
    assert isinstance(told.error, UpstreamFailed)


def test_bare_samples_are_sent_as_a_wav_file(tmp_path):
    file = {"data": b"\x01\x02" * 4, "media_type": "audio/pcm"}
    asked, _ = ask(tmp_path, json_reply({"text": "Hi"}), "transcription", only_end=True, file=file)
    sent = asked.field("file")
    assert (sent[:4], sent[8:12], sent[-8:]) == (b"RIFF", b"WAVE", b"\x01\x02" * 4)


def test_a_transcript_with_times_is_filled_up(tmp_path):
    segments = [{"id": 0, "start": 0.5, "end": 1.0, "text": "Hi"}]
    reply = json_reply({"text": "Hi", "language": "english", "duration": 2, "segments": segments})
    asked, told = ask(
        tmp_path, reply, "transcription", only_end=True, timestamps=True, words=True,
        file={"data": b"fLaC", "media_type": "audio/flac"},
    )  # fmt: skip
    assert asked.field("response_format") == b"verbose_json"
    assert told.value["language"] == "en"
    assert told.value["words"] == []
    assert told.value["segments"][0]["avg_logprob"] == 0.0


def test_a_translation_has_a_path_of_its_own(tmp_path):
    asked, _ = ask(
        tmp_path, json_reply({"text": "Hi"}), "transcription", translate=True, language="de",
        file={"data": b"fLaC", "media_type": "audio/flac"},
    )  # fmt: skip
    assert asked.path == "/audio/translations"
    assert asked.field("language") is None
