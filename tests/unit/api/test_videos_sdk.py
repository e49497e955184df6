"""`/v1/videos` through OpenAI's own client."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from onebox.services.jobs.query import JobQuery
from onebox.tasks.text_to_video import TextToVideoInput
from tests.unit.api.filming import ID, PROMPT, PUBLIC, video, with_sdk
from tests.unit.api.reading import FILE, PNG
from tests.unit.api.working import Working, artifact, completed

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")


def test_the_sdk_creates(services):
    working = Working()
    made = with_sdk(
        services,
        working,
        lambda client: client.videos.create(
            prompt=PROMPT, model="sora-2", seconds="4", size="1280x720", extra_body={"seed": 3}
        ),
    )
    assert (working.task, working.model) == ("text-to-video", "sora-2")
    asked = working.input
    assert (asked.prompt, asked.duration, asked.width, asked.height, asked.seed) == (
        PROMPT,
        4.0,
        1280,
        720,
        3,
    )
    assert (asked.thumbnail, asked.spritesheet) == (True, True)
    assert (working.submission.surface, working.options.priority) == ("video", "job")
    assert (made.object, made.status, made.progress) == ("video", "queued", 0)
    # What will be drawn, not what was asked for.
    assert (made.seconds, made.size, made.prompt) == ("2.125", "320x192", PROMPT)
    assert (made.error, made.completed_at, made.remixed_from_video_id) == (None, None, None)


def test_the_sdk_sends_a_picture_along(services):
    working = Working()
    with_sdk(
        services,
        working,
        lambda client: client.videos.create(prompt=PROMPT, input_reference=FILE),
    )
    assert (working.task, working.input.image.data) == ("image-to-video", PNG)
    assert working.input.width is None


def test_the_sdk_waits(services):
    states = [video(), video(state="running"), video(state="completed")]

    class Moving(Working):
        async def get(self, job_id, caller):
            return states.pop(0)

    async def use(client):
        client.videos._sleep = waits.append_async
        return await client.videos.poll(ID)

    waits = Waits()
    made = with_sdk(services, Moving(), use)
    assert made.status == "completed"
    assert waits.seconds == [1.0, 1.0]


class Waits:
    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def append_async(self, seconds: float) -> None:
        self.seconds.append(seconds)


def test_the_sdk_lists_deletes_and_downloads(services, tmp_path):
    (tmp_path / "f").write_bytes(b"film")
    (tmp_path / "t").write_bytes(b"still")
    made = completed(
        artifact("f", "video/mp4", variant="video"),
        artifact("t", "image/webp", 5, variant="thumbnail"),
        id=ID,
        surface="video",
        public=PUBLIC,
    )
    working = Working(made, folder=tmp_path)

    async def use(client):
        page = await client.videos.list(limit=1, order="asc")
        film = await client.videos.download_content(made.id)
        still = await client.videos.download_content(made.id, variant="thumbnail")
        gone = await client.videos.delete(made.id)
        return page, film.content, still.content, gone

    page, film, still, gone = with_sdk(services, working, use)
    assert [item.id for item in page.data] == [made.id]
    assert working.asked == asdict(JobQuery(surface="video", limit=1, order="asc"))
    assert (film, still) == (b"film", b"still")
    assert (gone.object, gone.deleted, gone.id) == ("video.deleted", True, made.id)
    assert not working.jobs


def test_a_remix_keeps_all_but_the_prompt(services):
    source = video(state="completed", artifacts=(artifact("f", variant="video"),))

    class Remixed(Working):
        async def input_of(self, job):
            return TextToVideoInput(prompt=PROMPT, seed=7, num_frames=17, thumbnail=True)

    working = Remixed(source)
    made = with_sdk(services, working, lambda client: client.videos.remix(source.id, prompt="blue"))
    assert made.remixed_from_video_id == source.id
    assert (made.prompt, working.input.prompt) == ("blue", "blue")
    assert (working.input.seed, working.input.num_frames) == (7, 17)
    assert working.model == source.model_sha256
