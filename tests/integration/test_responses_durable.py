"""What outlives a request to `/v1/responses`: work in the background, clients that leave, servers
that stop and servers that are killed.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.support.responding import (
    ENDED,
    PATH,
    SAID,
    body,
    create,
    endless,
    fetch,
    items,
    said,
    shown,
    wait_until,
    writing,
)
from tests.support.server import Server, running_server, wait_for
from tests.support.talking import ONE_THREAD, refused, wait_until_idle

WRITERS = 4
ANSWERED_BEFORE_THE_END = 12


def begin(client: httpx.Client, given: dict[str, Any]) -> str:
    """The id of a response in the background."""
    answer = client.post(PATH, json={**given, "background": True})
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "queued"
    return str(answer.json()["id"])


def test_a_response_in_the_background_is_completed(chat: httpx.Client, sdk: openai.OpenAI) -> None:
    response_id = begin(chat, body(input="Hello", metadata={"who": "me"}))
    done = wait_until(chat, response_id, *ENDED)
    assert (done["status"], said(done), done["background"]) == ("completed", SAID, True)
    assert done["metadata"] == {"who": "me"}
    assert sdk.responses.retrieve(response_id).output_text == SAID
    assert said(create(chat, previous_response_id=response_id)) == SAID


def test_a_response_in_the_background_is_cancelled(chat: httpx.Client) -> None:
    response_id = begin(chat, endless())
    wait_until(chat, response_id, "in_progress")
    answer = chat.post(f"{PATH}/{response_id}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert fetch(chat, response_id)["status"] == "cancelled"
    wait_until_idle(chat)
    # Once more is no error, and no answer of a cancelled one goes on.
    assert chat.post(f"{PATH}/{response_id}/cancel").json()["status"] == "cancelled"
    continued = chat.post(PATH, json=body(previous_response_id=response_id))
    assert refused(continued)[:2] == (400, "previous_response_id")


def test_a_response_that_is_deleted_stops(chat: httpx.Client) -> None:
    response_id = begin(chat, endless())
    wait_until(chat, response_id, "in_progress")
    assert chat.delete(f"{PATH}/{response_id}").status_code == 200
    wait_until_idle(chat)
    assert chat.get(f"{PATH}/{response_id}").status_code == 404


def test_a_response_that_runs_in_the_foreground_is_not_cancelled_by_its_id(
    chat: httpx.Client,
) -> None:
    made = create(chat)
    answer = chat.post(f"{PATH}/{made['id']}/cancel")
    assert refused(answer)[:2] == (400, "response_id")


def test_what_goes_wrong_in_the_background_is_told_to_who_asks(chat: httpx.Client) -> None:
    response_id = begin(chat, body(input="x" * 5000))
    failed = wait_until(chat, response_id, *ENDED)
    assert failed["status"] == "failed"
    assert failed["error"]["code"] == "invalid_prompt"
    assert failed["error"]["type"] == "context_length_exceeded"


def test_a_stream_whose_client_leaves_is_stored_as_cancelled(chat: httpx.Client) -> None:
    with writing(chat, endless()) as response_id:
        pass
    wait_until_idle(chat)
    wait_for(lambda: chat.get(f"{PATH}/{response_id}").status_code == 200)
    stored = wait_until(chat, response_id, *ENDED)
    assert stored["status"] == "cancelled"
    assert said(stored)
    assert stored["output"][0]["status"] == "incomplete"


class Writer:
    """Creates responses until the server is gone; keeps those that it was answered."""

    def __init__(self, client: httpx.Client, number: int) -> None:
        self.answered: list[dict[str, Any]] = []
        self._client = client
        self._number = number

    def write(self) -> None:
        while True:
            given = body(input=f"{self._number}-{len(self.answered)}", instructions="x" * 500)
            try:
                answer = self._client.post(PATH, json=given)
            except httpx.TransportError:
                return
            assert answer.status_code == 200, answer.text
            self.answered.append(answer.json())


def answered_until_killed(server: Server, client: httpx.Client) -> tuple[list[dict[str, Any]], str]:
    """What was answered, and the id of a response that was at work in the background."""
    writers = [Writer(client, number) for number in range(WRITERS)]
    with ThreadPoolExecutor(WRITERS) as pool:
        running = [pool.submit(writer.write) for writer in writers]

        def enough() -> bool:
            return sum(len(w.answered) for w in writers) >= ANSWERED_BEFORE_THE_END

        try:
            wait_for(lambda: enough() or any(one.done() for one in running))
            lost = begin(client, endless())
            wait_until(client, lost, "in_progress")
        finally:
            server.process.kill()
        for one in running:
            one.result()
    return [answer for writer in writers for answer in writer.answered], lost


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("durable") / "data"


def test_what_was_answered_outlives_the_end_of_the_server_and_its_violent_end(
    talkers: Path, data_dir: Path
) -> None:
    hasty = {**ONE_THREAD, "ONEBOX_SHUTDOWN_GRACE": "0"}
    with running_server(data_dir, talkers, **hasty) as server, server.client() as client:
        first = create(client, input="One")
        interrupted = begin(client, endless())
        wait_until(client, interrupted, "in_progress")
        server.stop()
    with running_server(data_dir, talkers, **ONE_THREAD) as server, server.client() as client:
        assert fetch(client, first["id"]) == first
        failed = fetch(client, interrupted)
        assert (failed["status"], failed["error"]["code"]) == ("failed", "server_error")
        second = create(client, input="Two", previous_response_id=first["id"])
        answered, lost = answered_until_killed(server, client)
    assert len(answered) >= ANSWERED_BEFORE_THE_END
    with running_server(data_dir, talkers, **ONE_THREAD) as server, server.client() as client:
        for told in answered:
            assert fetch(client, told["id"]) == told
        failed = fetch(client, lost)
        assert (failed["status"], failed["error"]["type"]) == ("failed", "server_restarted")
        third = create(client, input="Three", previous_response_id=second["id"])
        assert shown(items(client, third["id"], order="asc"))[-1] == ("user", "Three")
        assert len(items(client, third["id"])["data"]) == 5
