"""Checkpoints that mean no good and workers that die: one error each, and the server goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.families.tiny_language_models import attentive, language_model, save
from tests.support.asking import Background, wait_for_state
from tests.support.ends import READY_WITHIN_S
from tests.support.server import Server, running_server, wait_for
from tests.support.talking import (
    CHAT,
    HELLO,
    ONE_THREAD,
    body,
    content,
    refused,
    writing,
)

# Ten thousand million rounds; a range of so many items the sandbox refuses by itself.
BOMB = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
TEMPLATES = {
    "bomb": BOMB,
    "flood": "{{ 'x' * 10**10 }}",
    "malformed": "{% for message in %}",
    "burglar": "{{ ''.__class__.__mro__ }}",
    "picky": "{{ raise_exception('I talk to nobody') }}",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("models")
    language_model(folder / "llama", max_position_embeddings=4096)
    for seed, (name, template) in enumerate(TEMPLATES.items(), 1):
        save(folder / name, attentive(), seed)
        (folder / name / "chat_template.jinja").write_text(template)
    language_model(folder / "mute", "gpt2")
    (folder / "mute" / "chat_template.jinja").unlink()
    language_model(folder / "remote", "qwen2")
    config = json.loads((folder / "remote" / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "modeling.Evil"}
    (folder / "remote" / "config.json").write_text(json.dumps(config))
    data_dir = tmp_path_factory.mktemp("server") / "data"
    with running_server(data_dir, folder, **ONE_THREAD, ONEBOX_SHUTDOWN_GRACE="0") as running:
        yield running


@pytest.fixture
def chat(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def model(chat: httpx.Client, name: str) -> dict[str, Any]:
    told: dict[str, Any] = chat.get(f"/v1/models/{name}").json()
    return told


def test_a_template_that_never_ends_is_stopped_and_its_model_marked(
    chat: httpx.Client, in_background: Background
) -> None:
    stuck = in_background(
        chat.post, CHAT, json=body(model="bomb"), headers={"X-Request-ID": "stuck"}
    )
    wait_for_state(chat, "stuck", "queued")
    assert content(chat)
    answer = stuck.result(120)
    assert refused(answer)[::2] == (400, "model_broken")
    assert "did not finish in time" in answer.json()["error"]["message"]
    assert model(chat, "bomb")["status"] == "broken"
    assert "did not finish in time" in model(chat, "bomb")["reason"]
    again = chat.post(CHAT, json=body(model="bomb"))
    assert refused(again) == (400, "model", "model_broken")


@pytest.mark.parametrize(
    ("name", "reason"),
    [("flood", "repetition"), ("malformed", "cannot be read"), ("burglar", "unsafe")],
)
@pytest.mark.parametrize("streaming", [False, True])
def test_a_template_of_no_use_marks_its_model(
    chat: httpx.Client, name: str, reason: str, streaming: bool
) -> None:
    answer = chat.post(CHAT, json=body(model=name, stream=streaming))
    assert refused(answer)[::2] == (400, "model_broken")
    assert reason in answer.json()["error"]["message"]
    assert model(chat, name)["status"] == "broken"
    assert reason in model(chat, name)["reason"]
    assert content(chat)


def test_a_template_that_refuses_a_message_is_not_broken(chat: httpx.Client) -> None:
    answer = chat.post(CHAT, json=body(model="picky"))
    assert refused(answer) == (400, "messages", "chat_template_refused")
    assert "I talk to nobody" in answer.json()["error"]["message"]
    assert model(chat, "picky")["status"] == "ready"
    told = chat.post("/v1/completions", json={"model": "picky", "prompt": "a"})
    assert told.status_code == 200


def test_a_model_without_a_template_completes_and_does_not_chat(chat: httpx.Client) -> None:
    answer = chat.post(CHAT, json=body(model="mute"))
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "task_not_supported"
    told = chat.post("/v1/completions", json={"model": "mute", "prompt": "a"})
    assert told.status_code == 200


def test_a_model_that_brings_code_is_broken_and_says_why(chat: httpx.Client) -> None:
    assert model(chat, "remote")["status"] == "broken"
    assert "auto_map" in model(chat, "remote")["reason"]
    assert refused(chat.post(CHAT, json=body(model="remote")))[::2] == (400, "model_broken")


@pytest.mark.parametrize("name", ["chat_template", "chat_template_kwargs", "template"])
@pytest.mark.parametrize(
    "path", [CHAT, "/v1/completions", "/v1/generate", "/v1/tokenize", "/v1/tasks/chat"]
)
def test_no_request_brings_a_template(chat: httpx.Client, path: str, name: str) -> None:
    fields: dict[str, Any] = {"messages": HELLO}
    if path in ("/v1/completions", "/v1/generate"):
        fields = {"prompt": "Hello"}
    assert chat.post(path, json={"model": "llama", **fields}).status_code == 200
    answer = chat.post(path, json={"model": "llama", **fields, name: BOMB})
    assert refused(answer)[1:] == (name, "unknown_parameter")


def test_a_worker_that_is_killed_ends_its_texts_with_one_error_each(
    server: Server, chat: httpx.Client, in_background: Background
) -> None:
    before = content(chat, deterministic=True)
    plain = in_background(
        chat.post, CHAT, json=body(max_tokens=4000), headers={"X-Request-ID": "plain"}
    )
    wait_for_state(chat, "plain", "running")
    with writing(chat, "streamed") as lines:
        server.worker().kill()
        last = [line for line in lines if line][-1]
    error = json.loads(last.removeprefix("data: "))["error"]
    assert (error["code"], error["status"]) == ("worker_lost", 503)
    assert refused(plain.result(120))[::2] == (503, "worker_lost")
    assert plain.result().headers["retry-after"]
    wait_for(lambda: chat.get("/ready").status_code == 200, READY_WITHIN_S)
    assert content(chat, deterministic=True) == before
    # What it learnt of broken templates is known on.
    assert model(chat, "malformed")["status"] == "broken"


def test_the_client_library_sees_an_error_in_mid_stream(server: Server, chat: httpx.Client) -> None:
    with server.sdk() as sdk:
        chunks = sdk.chat.completions.create(
            model="llama",
            messages=HELLO,
            max_tokens=4000,
            stream=True,
            extra_headers={"X-Request-ID": "mine"},
            extra_body={"ignore_eos": True},
        )
        assert next(chunks).choices
        assert chat.post("/v1/requests/mine/cancel").status_code == 200
        with pytest.raises(openai.APIError, match="cancelled"):
            for _ in chunks:
                pass
