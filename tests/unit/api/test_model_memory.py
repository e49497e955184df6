from __future__ import annotations

import dataclasses
import json
from urllib.parse import quote

import pytest

from onebox.api.app import create_app
from onebox.core.contracts import TaskDefaults
from onebox.services.models import ModelControl
from onebox.services.sizing import Weights, Working
from tests.unit.api.asking import USER, ask
from tests.unit.api.fakes import Models, Pool, Pools, Residency, bundle, worker

TASK = "text-to-image"


class Sizing:
    """Weights of 300 bytes, measured as 250; work as large as the picture is wide."""

    async def weights(self, entry, device):
        return Weights(300, 250)

    def working(self, entry, task, request, device):
        return Working(request.width, None)


@pytest.fixture
def app(services, tmp_path):
    models = Models("alpha", "org/beta", "x/memory")
    pool = Pool(worker(bundle("alpha")), worker(index=1, state="starting"))
    control = ModelControl(
        models,
        pool,
        Pools(),
        Residency(),
        Sizing(),
        model_dirs=[tmp_path],
        defaults=TaskDefaults(20, 7.5),
    )
    return create_app(dataclasses.replace(services, registry=models, models=control))


def memory(app, path):
    answer = ask(app, "GET", path, USER)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def test_weights_alone(app):
    assert memory(app, "/v1/models/alpha/memory") == {
        "id": "alpha",
        "object": "model.memory",
        "name": "alpha",
        "sha256": "ab" * 32,
        "task": None,
        "devices": [
            {
                "worker": 0,
                "device": "cpu",
                "name": "A CPU",
                "kind": "cpu",
                "dtype": "float32",
                "estimate_bytes": 300,
                "measured_bytes": 250,
                "expected_bytes": 250,
                "loaded_bytes": 100,
                "pool": "host",
                "budget_bytes": 1000,
                "share_bytes": 400,
                "reserve": None,
                "fits": True,
            }
        ],
    }


@pytest.mark.parametrize("name", ["org/beta", "org%2Fbeta", "x/memory"])
def test_names_with_slashes(app, name):
    (device,) = memory(app, f"/v1/models/{name}/memory")["devices"]
    assert device["loaded_bytes"] is None


@pytest.mark.parametrize(("width", "fits"), [(744, True), (752, False)])
@pytest.mark.parametrize("how", ["fields", "input"])
def test_a_task_with_its_input(app, width, fits, how):
    size = {"width": width, "height": 64}
    if how == "fields":
        query = f"prompt=x&width={width}&height=64"
    else:
        query = "input=" + quote(json.dumps({"prompt": "x", **size}))
    (device,) = memory(app, f"/v1/models/alpha/memory?task={TASK}&{query}")["devices"]
    reserve = device["reserve"]
    assert (reserve["estimate_bytes"], reserve["measured_bytes"]) == (width, None)
    assert set(reserve) == {"size_class", "estimate_bytes", "measured_bytes", "expected_bytes"}
    assert device["fits"] is fits


@pytest.mark.parametrize(
    ("query", "status", "param"),
    [
        ("task=nope", 422, "task"),
        (f"task={TASK}", 422, "prompt"),
        (f"task={TASK}&prompt=x&width=7", 422, "width"),
        (f"task={TASK}&prompt=x&wdith=512", 422, "wdith"),
        (f"task={TASK}&input=[]", 422, "input"),
        (f"task={TASK}&input={{", 422, "input"),
    ],
)
def test_a_wrong_question(app, query, status, param):
    answer = ask(app, "GET", f"/v1/models/alpha/memory?{query}", USER)
    assert (answer.status, answer.error["param"]) == (status, param)
