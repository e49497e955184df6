"""`/v1/jobs` and `/v1/videos` as clients use them, on a server with a tiny random pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.families.tiny_videos import ltx
from tests.support.asking import events_of
from tests.support.dummy_plugin import dummy_checkpoint
from tests.support.server import Server, running_server, wait_for
from tests.support.talking import ONE_THREAD

SMALL: dict[str, Any] = {"model": "film", "prompt": "a red circle", "size": "64x64"}
QUICK = {"num_frames": 9, "fps": 4, "steps": 2}
# So many that it is still at work when it is looked at.
LONG = {"num_frames": 49, "fps": 8, "steps": 150, "partial_images": 10}
PATIENCE_S = 120.0

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("routes")
    dummy_checkpoint(folder / "models" / "alpha")
    ltx(folder / "models" / "film")
    plugins = {"ONEBOX_PLUGINS": "tests.support.dummy_plugin"}
    with running_server(folder / "data", folder / "models", **plugins, **ONE_THREAD) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def sdk(server: Server) -> Iterator[openai.OpenAI]:
    with server.sdk() as client:
        yield client


def test_a_job_with_a_file_is_followed_and_its_result_read_in_parts(client: httpx.Client) -> None:
    data = bytes(range(256)) * 100
    made = client.post(
        "/v1/jobs",
        data={"task": "repeat-bytes", "model": "alpha", "input": '{"times": 2}'},
        files={"data": ("../../x", data)},
    )
    assert made.status_code == 202
    url = made.headers["location"]
    told = list(events_of(client.get(f"{url}/events").iter_lines()))
    names = [name for name, _ in told]
    assert (names[0], names[-1]) == ("queued", "completed")
    assert told[-1][1] == client.get(url).json()
    result = client.get(f"{url}/result")
    assert (result.content, result.headers["content-type"]) == (data * 2, "application/x-dummy")
    part = client.get(f"{url}/result/0", headers={"Range": "bytes=25600-25609"})
    assert (part.status_code, part.content) == (206, data[:10])
    again = client.get(f"{url}/events", headers={"Last-Event-ID": "2-0"})
    assert [name for name, _ in events_of(again.iter_lines())] == ["completed"]


def test_a_key_makes_one_job_of_two_requests(client: httpx.Client) -> None:
    body = {"task": "echo", "model": "alpha", "input": {"text": "once"}}
    key = {"Idempotency-Key": "once"}
    first, second = (client.post("/v1/jobs", json=body, headers=key) for _ in range(2))
    assert first.json()["id"] == second.json()["id"]
    other = {**body, "input": {"text": "twice"}}
    refused = client.post("/v1/jobs", json=other, headers=key)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "idempotency_conflict")


def test_an_unknown_model_is_no_job(client: httpx.Client) -> None:
    before = client.get("/v1/jobs").json()["data"]
    for model, status in (("nope", 404), ("film", 400)):
        body = {"task": "echo", "model": model, "input": {"text": "x"}}
        assert client.post("/v1/jobs", json=body).status_code == status
    assert client.get("/v1/jobs").json()["data"] == before


def test_the_sdk_makes_waits_for_and_downloads_a_video(sdk: openai.OpenAI) -> None:
    made = sdk.videos.create_and_poll(**SMALL, extra_body={**QUICK, "seed": 3})
    assert (made.status, made.progress, made.seconds, made.size) == (
        "completed",
        100,
        "2.25",
        "64x64",
    )
    film = sdk.videos.download_content(made.id).content
    assert film[4:8] == b"ftyp"
    assert sdk.videos.download_content(made.id, variant="thumbnail").content[8:12] == b"WEBP"
    assert sdk.videos.download_content(made.id, variant="spritesheet").content[:2] == b"\xff\xd8"
    again = sdk.videos.create_and_poll(**SMALL, extra_body={**QUICK, "seed": 3})
    assert sdk.videos.download_content(again.id).content == film
    remix = sdk.videos.poll(sdk.videos.remix(made.id, prompt="a blue square").id)
    assert (remix.status, remix.prompt) == ("completed", "a blue square")
    assert remix.remixed_from_video_id == made.id
    assert sdk.videos.download_content(remix.id).content != film
    assert [item.id for item in sdk.videos.list(limit=2)][:3] == [remix.id, again.id, made.id]


def test_a_video_goes_on_from_a_picture(sdk: openai.OpenAI, client: httpx.Client) -> None:
    frame = sdk.videos.create_and_poll(**SMALL, extra_body=QUICK)
    picture = sdk.videos.download_content(frame.id, variant="thumbnail").content
    reference = ("start.webp", picture, "image/webp")
    made = sdk.videos.create_and_poll(**SMALL, input_reference=reference, extra_body=QUICK)
    assert made.status == "completed"
    assert client.get(f"/v1/jobs/{made.id}").json()["task"] == "image-to-video"
    assert sdk.videos.poll(sdk.videos.remix(made.id, prompt="on and on").id).status == "completed"


def test_a_picture_that_is_none_is_refused_at_once(sdk: openai.OpenAI) -> None:
    reference = ("start.png", b"no picture at all", "image/png")
    for size in ("64x64", "auto"):
        given: dict[str, Any] = {**SMALL, "size": size}
        with pytest.raises(openai.BadRequestError) as refused:
            sdk.videos.create(**given, input_reference=reference, extra_body=QUICK)
        assert refused.value.param == "input_reference"


def test_deleting_stops_the_work(sdk: openai.OpenAI, client: httpx.Client) -> None:
    made = sdk.videos.create(**SMALL, extra_body=LONG)
    url = f"/v1/jobs/{made.id}"
    wait_for(lambda: client.get(f"{url}/preview").status_code == 200, PATIENCE_S)
    running = client.get(url).json()
    assert running["eta_s"] > 0
    assert 0 < running["step"] < running["steps"] == LONG["steps"]
    preview = client.get(running["preview"]["url"])
    assert preview.content[:2] == b"\xff\xd8"
    gone = sdk.videos.delete(made.id)
    assert (gone.id, gone.object, gone.deleted) == (made.id, "video.deleted", True)
    assert client.get("/v1/status").json()["running"]["requests"] == []
    with pytest.raises(openai.NotFoundError):
        sdk.videos.retrieve(made.id)


def test_a_short_video_at_once(client: httpx.Client) -> None:
    body = {**SMALL, **QUICK, "response_format": "url", "output_format": "webm"}
    made = client.post("/v1/videos/generations", json=body).json()
    (item,) = made["data"]
    assert (item["media_type"], item["seconds"], item["frames"]) == ("video/webm", 2.25, 9)
    film = client.get(item["url"])
    assert film.headers["content-type"] == "video/webm"
    assert film.content[:4] == b"\x1aE\xdf\xa3"


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"num_frames": 100_000}, "num_frames"),
        ({"seconds": 1e6}, "seconds"),
        ({"fps": 1e9}, "fps"),
        ({"size": "2048x2048", "num_frames": 1000}, "num_frames"),
        ({"num_frames": 9, "seconds": 2}, "seconds"),
    ],
)
def test_ceilings(client: httpx.Client, given: dict[str, Any], param: str) -> None:
    answer = client.post("/v1/videos/generations", json={**SMALL, **given})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
