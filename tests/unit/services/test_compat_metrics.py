"""The metrics of the family `photo`: what is known of backgrounds, under other names."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from onebox.core.results import Timing
from onebox.services.metrics import Metrics
from tests.unit.api.fakes import Models, Pool, bundle, entry, worker
from tests.unit.api.familiar import row


class Painters(Models):
    """Two models that draw backgrounds, and one that does not."""

    def entries(self):
        return [
            entry("sd", tasks=("background", "inpainting")),
            entry("xl", tasks=("background",)),
            entry("smol", tasks=("chat",)),
        ]


def page_of(*bundles, follow: bool = True):
    """Metrics, and what their page says of a name."""
    pool = Pool(worker(*bundles))
    metrics = Metrics(lambda: pool.clients)
    if follow:
        metrics.compat.add_backgrounds(metrics.inference, Painters(), lambda: pool.clients)

    def read(name: str) -> dict[str, float]:
        lines = metrics.render().decode().splitlines()
        pairs = [line.rsplit(" ", 1) for line in lines if line.startswith(name)]
        return {key: float(value) for key, value in pairs}

    return SimpleNamespace(inference=metrics.inference, read=read, described=metrics.page.described)


def draw(page, task: str = "background", status: str = "ok", load_s: float = 0.0) -> None:
    if status == "ok":
        page.inference.timing(task, "sd", Timing(load_s=load_s, run_s=0.75))
        page.inference.confidence(task, "sd", 0.93, is_own=False)
    page.inference.prediction(task, "sd", status)


@row("photo", "ai_bg_predictions_total")
def test_backgrounds_are_counted():
    page = page_of()
    for status in ("ok", "ok", "cancelled"):
        draw(page, status=status)
    draw(page, task="chat")
    assert page.read("ai_bg_predictions_total") == {
        'ai_bg_predictions_total{status="ok"}': 2,
        'ai_bg_predictions_total{status="cancelled"}': 1,
    }
    own = page.read('onebox_predictions_total{model="sd",status="ok",task="background"}')
    assert list(own.values()) == [2]


@row("photo", "ai_bg_inference_duration_seconds")
def test_their_time_is_measured():
    page = page_of()
    draw(page)
    draw(page, task="cutout")
    told = page.read("ai_bg_inference_duration_seconds")
    assert told["ai_bg_inference_duration_seconds_count"] == 1
    assert told["ai_bg_inference_duration_seconds_sum"] == 0.75


@row("photo", "ai_bg_prediction_confidence")
def test_how_sure_the_cut_out_was_is_kept_for_the_background():
    page = page_of()
    draw(page)
    told = page.read("ai_bg_prediction_confidence")
    assert told["ai_bg_prediction_confidence_sum"] == 0.93
    # It belongs to the model that cut it out, and was counted there.
    assert page.read("onebox_prediction_confidence_sum") == {}


@row("photo", "ai_bg_model_load_time_seconds")
def test_the_latest_load_is_told():
    page = page_of()
    draw(page, load_s=4.0)
    draw(page, load_s=2.5)
    draw(page)
    assert page.read("ai_bg_model_load_time") == {"ai_bg_model_load_time_seconds": 2.5}


@row("photo", "ai_bg_model_loaded")
@pytest.mark.parametrize(
    ("bundles", "value"),
    [
        ((), 0),
        ((bundle("smol"),), 0),
        ((bundle("sd", state="loading"),), 0),
        ((bundle("smol"), bundle("xl")), 1),
    ],
)
def test_whether_a_model_for_backgrounds_is_in_memory(bundles, value):
    assert page_of(*bundles).read("ai_bg_model_loaded") == {"ai_bg_model_loaded": value}


def test_without_the_family_there_are_none():
    page = page_of(follow=False)
    draw(page)
    assert page.read("ai_bg_") == {}
    assert [name for name in page.described if name.startswith("ai_bg_")] == []
