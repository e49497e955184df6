"""Conversations with real weights, through OpenAI's own client as it is."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from onebox.starter.shapes_score import dominant_colours
from tests.e2e.conftest import CHAT_MODEL, FLOAT32_MODEL
from tests.families.gguf_model import as_gguf
from tests.families.tiny_language_models import language_model
from tests.support.asking import running_requests
from tests.support.pictures import picture
from tests.support.server import wait_for
from tests.support.talking import wait_until_idle, writing

# Where rounding in bfloat16 cannot turn the answer: the model is sure of every token.
PARIS = "Tell me the capital of France in one short sentence."
QUESTIONS = (
    "What is the capital of France?",
    "Count from one to ten in words.",
    "Why is the sky blue?",
)
LENGTH = 24
Reference = Any


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def complete(sdk: openai.OpenAI, *turns: str, **fields: Any) -> Any:
    """The answer to turns of the user and, between them, of the assistant."""
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": text} for i, text in enumerate(turns)]
    given = {"model": CHAT_MODEL, "max_tokens": LENGTH, "temperature": 0, **fields}
    return sdk.chat.completions.create(messages=messages, **given)  # type: ignore[call-overload]  # fields by name


def text_of(answer: Any) -> str:
    (choice,) = answer.choices
    return str(choice.message.content)


@contextlib.contextmanager
def others_writing(client: httpx.Client, count: int, **fields: Any) -> Iterator[set[str]]:
    """So many texts without end are written meanwhile. Gives the ids of their requests."""
    with contextlib.ExitStack() as stack:
        ids = [f"other-{number}" for number in range(count)]
        for number, request_id in enumerate(ids):
            asked = [user(f"Tell me a story about {number + 2} animals.")]
            given = {"temperature": 1, "messages": asked, **fields}
            stack.enter_context(writing(client, request_id, **given))
        yield set(ids)
        assert set(ids) <= running_requests(client).keys()
    wait_until_idle(client)


@pytest.fixture(scope="module")
def reference(smollm2: Path) -> Reference:
    """What transformers itself answers in float32, to the last turn of a conversation."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(smollm2)
    model: Any = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32)

    def answer(*turns: str) -> str:
        roles = ("user", "assistant")
        messages = [{"role": roles[i % 2], "content": text} for i, text in enumerate(turns)]
        asked = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        written = model.generate(**asked, max_new_tokens=LENGTH, do_sample=False)
        new = written[0, asked["input_ids"].shape[1] :]
        return str(tokenizer.decode(new, skip_special_tokens=True))

    return answer


def test_whole_streamed_and_async_it_says_paris(
    chat_sdk: openai.OpenAI, async_sdk: openai.AsyncOpenAI
) -> None:
    whole = complete(chat_sdk, PARIS)
    assert "Paris" in text_of(whole)
    assert whole.choices[0].finish_reason == "stop"
    chunks = list(complete(chat_sdk, PARIS, stream=True, stream_options={"include_usage": True}))
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks[:-1]]
    assert len([piece for piece in pieces if piece]) > 3
    assert "".join(pieces) == text_of(whole)
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens

    async def ask_async() -> Any:
        async with async_sdk as sdk:
            return await sdk.chat.completions.create(
                model=CHAT_MODEL, messages=[user(PARIS)], max_tokens=LENGTH, temperature=0
            )

    assert text_of(asyncio.run(ask_async())) == text_of(whole)


def test_greedy_text_is_that_of_transformers_alone_and_beside_others(
    chat: httpx.Client, chat_sdk: openai.OpenAI, reference: Reference
) -> None:
    expected = [reference(question) for question in QUESTIONS]
    assert len(set(expected)) == len(QUESTIONS)
    alone = [text_of(complete(chat_sdk, each, model=FLOAT32_MODEL)) for each in QUESTIONS]
    assert alone == expected
    with others_writing(chat, 6, model=FLOAT32_MODEL), ThreadPoolExecutor(3) as pool:
        answers = pool.map(lambda each: complete(chat_sdk, each, model=FLOAT32_MODEL), QUESTIONS)
        assert [text_of(answer) for answer in answers] == expected


def test_a_second_turn_is_read_from_the_cache_and_answered_the_same(
    chat_sdk: openai.OpenAI, reference: Reference
) -> None:
    first = (
        "My sister Anna lives in a small white house in Oslo with two cats and a very old dog. "
        "She works in a library, likes long walks in the snow and never drinks coffee. "
        "What do you think of her life?"
    )
    answered = complete(chat_sdk, first, model=FLOAT32_MODEL)
    assert answered.usage.prompt_tokens_details.cached_tokens == 0
    turns = (first, text_of(answered), "Where does Anna live?")
    second = complete(chat_sdk, *turns, model=FLOAT32_MODEL)
    assert second.usage.prompt_tokens_details.cached_tokens > answered.usage.prompt_tokens / 2
    assert text_of(second) == reference(*turns)


def test_a_deterministic_text_is_the_same_alone_and_among_eight(
    chat: httpx.Client, chat_sdk: openai.OpenAI
) -> None:
    def ask() -> str:
        fields = {"temperature": 1, "seed": 11, "extra_body": {"deterministic": True}}
        return text_of(complete(chat_sdk, "Tell me about a dream.", max_tokens=40, **fields))

    alone = ask()
    with others_writing(chat, 8, model=CHAT_MODEL, deterministic=True):
        assert ask() == alone
    with others_writing(chat, 8, model=CHAT_MODEL):
        assert ask() == alone


def test_a_picture_and_chats_at_the_same_time_all_finish(chat_sdk: openai.OpenAI) -> None:
    with ThreadPoolExecutor(5) as pool:
        drawing = pool.submit(
            chat_sdk.images.generate,
            model="onebox-shapes",
            prompt="a green star on a white background",
        )
        chats = [pool.submit(complete, chat_sdk, PARIS) for _ in range(4)]
        (image,) = drawing.result().data or []
        answers = [each.result() for each in chats]
    assert dominant_colours(picture(image.b64_json).convert("RGB")) == ("green", "white")
    assert all("Paris" in text_of(answer) for answer in answers)


def test_a_gguf_file_in_the_model_folder_is_listed_and_answers(
    chat: httpx.Client, chat_sdk: openai.OpenAI, dropped: Path, tmp_path: Path
) -> None:
    """With random weights: what it says is noise, but the noise of the same weights in a folder."""
    folder = language_model(tmp_path / "tiny-folder")
    as_gguf(folder, tmp_path / "tiny.gguf").rename(dropped / "tiny.gguf")
    folder.rename(dropped / folder.name)
    names = ("tiny", "tiny-folder")
    for name in names:
        wait_for(lambda name=name: chat.get(f"/v1/models/{name}").json().get("status") == "ready")
    texts = [text_of(complete(chat_sdk, "Hello", model=name, max_tokens=8)) for name in names]
    assert texts[0] == texts[1] != ""


def test_completions_continue_texts(chat_sdk: openai.OpenAI) -> None:
    prompts = ["The capital of France is", "One, two, three,"]
    answer = chat_sdk.completions.create(
        model=CHAT_MODEL, prompt=prompts, max_tokens=6, temperature=0, logprobs=2
    )
    first, second = answer.choices
    assert "Paris" in first.text
    assert "four" in second.text
    assert first.logprobs is not None
    assert "".join(first.logprobs.tokens or []) == first.text
    chunks = chat_sdk.completions.create(
        model=CHAT_MODEL, prompt=prompts[0], max_tokens=6, temperature=0, stream=True
    )
    assert "".join(chunk.choices[0].text for chunk in chunks) == first.text


def test_tokens_of_a_text_and_back(chat: httpx.Client) -> None:
    text = "Grüße an alle 🙂, or not."
    told = chat.post("/v1/tokenize", json={"model": CHAT_MODEL, "text": text}).json()
    assert told["count"] == len(told["tokens"]) < len(text)
    body = {"model": CHAT_MODEL, "tokens": told["tokens"]}
    assert chat.post("/v1/detokenize", json=body).json() == {"text": text}


def test_one_prompt_clients_get_a_text_whole_and_streamed(chat: httpx.Client) -> None:
    body = {"model": CHAT_MODEL, "prompt": PARIS, "temperature": 0, "max_tokens": LENGTH}
    whole = chat.post("/v1/generate", json=body).json()
    assert "Paris" in whole["text"]
    with chat.stream("POST", "/v1/generate?stream=true", json=body) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        *events, done = [line[6:] for line in answer.iter_lines() if line.startswith("data: ")]
    assert done == "[DONE]"
    told = [json.loads(event) for event in events]
    assert "".join(event["text"] for event in told) == whole["text"]
    assert told[-1]["finish_reason"] == whole["finish_reason"] == "stop"
