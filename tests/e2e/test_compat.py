"""The familiar routes on real models: what a program written for the other servers would get."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import av
import httpx
import pytest
from PIL import Image

from tests.support.server import ROOT, running_server
from tests.support.starter import (
    minilm_folder,
    smollm2_folder,
    u2netp_folder,
    voice_folder,
    whisper_folder,
)
from tests.support.talking import ONE_THREAD

FAMILIES = {"ONEBOX_COMPAT": "studio,generate,photo"}
CUP = ROOT / "tests" / "data" / "cutouts" / "coffee.png"
SHAPES = "onebox-shapes"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("familiar")
    starters = (smollm2_folder, minilm_folder, whisper_folder, voice_folder, u2netp_folder)
    folders = [ROOT / "ai-models", *(fetch() for fetch in starters)]
    given = {
        **FAMILIES,
        **ONE_THREAD,
        "MODEL_DIRS": ",".join(map(str, folders)),
        # The name that the server of backgrounds has for it.
        "API_KEY": "key-of-the-shop",
        "DEFAULT_MAX_TOKENS": "8",
        "ONEBOX_DEFAULT_BACKGROUND": SHAPES,
        # For requests that cannot name their number.
        "DEFAULT_INFERENCE_STEPS": "3",
    }
    with running_server(folder / "data", folder, **given) as server, server.client() as client:
        yield client


def opened(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text)))


def png(image: Image.Image) -> bytes:
    written = io.BytesIO()
    image.save(written, "PNG")
    return written.getvalue()


def told(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture(scope="module")
def circle(client: httpx.Client) -> Image.Image:
    asked = {"prompt": "a red circle on a blue background", "model": SHAPES}
    body = told(client.post("/api/image", json={**asked, "num_inference_steps": 8}))
    assert (body["model"], body["width"], body["height"]) == (SHAPES, 256, 256)
    assert body["size"] == len(base64.b64decode(body["image"]))
    assert body["generation_time"] > 0
    return opened(body["image"]).convert("RGB")


def test_a_picture_shows_what_was_asked_for(circle: Image.Image) -> None:
    colours = circle.getcolors(circle.width * circle.height)
    reds = sum(count for count, (red, _, blue) in colours if red > 150 > blue)
    red, _, blue = circle.getpixel((2, 2))
    assert reds > 500
    assert blue > red


def test_a_picture_changes_where_its_mask_is_white(
    client: httpx.Client, circle: Image.Image
) -> None:
    mask = Image.new("L", circle.size)
    mask.paste(255, (128, 0, 256, 256))
    files = {"image": png(circle), "mask": png(mask)}
    asked = {"prompt": "a green star", "model": SHAPES, "num_inference_steps": "2"}
    parts = {name: (f"{name}.png", data, "image/png") for name, data in files.items()}
    edited = opened(told(client.post("/api/edit-image", data=asked, files=parts))["image"])
    left, right = (0, 0, 128, 256), (128, 0, 256, 256)
    assert edited.convert("RGB").crop(left).tobytes() == circle.crop(left).tobytes()
    assert edited.convert("RGB").crop(right).tobytes() != circle.crop(right).tobytes()


def test_a_model_that_is_not_here_is_refused_with_those_that_are(client: httpx.Client) -> None:
    asked = {"prompt": "x", "model": "stabilityai/stable-diffusion-3-medium"}
    answer = client.post("/api/image", json=asked)
    body = answer.json()
    assert (answer.status_code, body["error_code"]) == (404, "MODEL_NOT_FOUND")
    assert SHAPES in body["detail"]
    assert "tiny.en" not in body["detail"].split("can be done by")[1]


def test_a_text_is_read_aloud_and_written_down_again(client: httpx.Client) -> None:
    sound = client.post("/api/tts", json={"text": "The cat sat."})
    assert (sound.status_code, sound.content[:4]) == (200, b"RIFF")
    body = told(client.post("/api/stt", files={"audio": ("a.wav", sound.content, "audio/wav")}))
    assert "cat" in body["text"].lower()
    assert 0.3 < body["confidence"] <= 1
    assert (body["language"], body["model"]) == ("en", "whisper-tiny.en")


def test_a_conversation_and_a_vector(client: httpx.Client) -> None:
    asked = {"messages": [{"role": "user", "content": "What is the capital of France?"}]}
    body = told(client.post("/api/llm", json={**asked, "temperature": 0, "max_tokens": 8}))
    assert "Paris" in body["response"]
    assert body["tokens_used"] > 10
    vector = told(client.post("/api/embedding", json={"text": "a cat"}))
    assert (len(vector["embedding"]), vector["dimension"]) == (384, 384)


def test_a_stream_is_the_answer_piece_by_piece(client: httpx.Client) -> None:
    asked = {"prompt": "What is the capital of France?", "temperature": 0}
    whole = told(client.post("/generate", json=asked))["response"]
    local = told(client.post("/local/generate", json=asked))["response"]
    assert whole == local
    assert "Paris" in whole
    streamed = client.post("/generate?stream=true", json=asked).text
    events = [block for block in streamed.split("\n\n") if block.startswith("data: ")]
    pieces = ["\n".join(line[6:] for line in event.split("\n")) for event in events]
    assert "".join(pieces) == whole
    assert streamed.endswith("event: done\ndata:\n\n")


def test_a_photo_gets_a_background_and_keeps_its_product(client: httpx.Client) -> None:
    photo = {"product_file": ("cup.png", CUP.read_bytes(), "image/png")}
    key = {"authorization": "Bearer key-of-the-shop"}
    asked = {"prompt": "a blue background"}
    body = told(client.post("/generate", data=asked, files=photo, headers=key))
    drawn = opened(body["prediction"]["image"])
    assert drawn.size == Image.open(CUP).size
    assert 0.5 < body["prediction"]["confidence"] <= 1
    metrics = client.get("/metrics").text
    assert 'ai_bg_predictions_total{status="ok"} 1.0' in metrics
    assert "ai_bg_prediction_confidence_count 1.0" in metrics
    assert "ai_bg_inference_duration_seconds_count 1.0" in metrics
    assert "\nai_bg_model_loaded 1.0" in metrics


def test_a_video_shows_what_was_asked_for(client: httpx.Client) -> None:
    asked = {"prompt": "a red circle moving right", "duration": 0.25, "num_inference_steps": 2}
    answer = client.post("/api/video/text-to-video", json=asked)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "video/mp4"), answer.text
    assert answer.headers["x-video-model"] == "onebox-shapes-motion"
    with av.open(io.BytesIO(answer.content)) as film:
        frames = [frame.to_image() for frame in film.decode(video=0)]
    assert [frame.size for frame in frames] == [(256, 256)] * 2
