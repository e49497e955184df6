"""Every route is counted under a class."""

from __future__ import annotations

import pytest

from onebox.api.compat.families import create_routers
from onebox.api.live_routing import LiveRoute
from onebox.api.route_classes import TASK_PREFIX, route_class_of, task_class_of
from onebox.api.routing import PUBLIC_PATHS, Route
from onebox.core.plugins import TASKS as TABLE
from onebox.core.settings_compat import FAMILIES
from onebox.services.access.limits.rules import ROUTE_CLASSES
from onebox.services.task_kinds import TASKS
from tests.unit.api.asking import every_route

# POSTs that make no model work.
OTHER_POSTS = {
    *("/v1/files", "/v1/batches", "/v1/batches/{batch_id}/cancel", "/v1/jobs"),
    *("/v1/jobs/{job_id}/cancel", "/v1/responses/{response_id}/cancel"),
    *("/v1/models/rescan", "/v1/models/{model:path}/load", "/v1/models/{model:path}/unload"),
    "/v1/requests/{request_id:path}/cancel",
}


def own_tasks():
    """Without those of the tests' plugins."""
    return {name for name, task in TABLE.items() if type(task).__module__.startswith("onebox.")}


def routes(app):
    return [(path, route) for path, route in every_route(app.routes) if isinstance(route, Route)]


def test_every_route_has_a_class_and_every_class_a_route(app):
    found = {route.limited_as for _, route in routes(app)}
    assert found == set(ROUTE_CLASSES)
    live = [path for path, route in every_route(app.routes) if isinstance(route, LiveRoute)]
    assert live == ["/v1/audio/transcriptions/live"]


def test_what_makes_a_model_work_is_of_a_class_of_its_own(app):
    others = {
        path
        for path, route in routes(app)
        if "POST" in route.methods and route.limited_as == "other"
    }
    of_plugins = {f"{TASK_PREFIX}{name}" for name in set(TABLE) - own_tasks()}
    # A new one of these must be thought about: is it work?
    assert others - OTHER_POSTS - of_plugins <= {
        path for path in others if path.startswith("/v1/keys")
    }


def test_familiar_routes_have_the_classes_of_what_they_make():
    found = {
        route.path: route.limited_as
        for router in create_routers(FAMILIES)
        for route in router.routes
    }
    posts = {path: name for path, name in found.items() if not path.startswith("/media")}
    assert {"/generate", "/api/llm", "/api/v1/create-image"} <= set(posts)
    assert "other" not in posts.values()


def test_every_task_has_a_class(app):
    assert set(TASKS) == own_tasks()
    assert "other" not in TASKS.values()
    assert task_class_of("of-a-plugin") == "other"


@pytest.mark.parametrize(
    ("method", "path", "route_class"),
    [
        ("POST", "/v1/chat/completions", "text"),
        ("POST", "/v1/responses", "text"),
        ("POST", "/v1/responses/input_tokens", "text"),
        ("GET", "/v1/responses/{response_id}", "other"),
        ("POST", "/v1/embeddings", "text"),
        ("POST", "/v2/rerank", "text"),
        ("POST", "/v1/tasks/chat", "text"),
        ("POST", "/v1/generate", "prompt"),
        ("POST", "/local/generate", "prompt"),
        ("POST", "/v1/infer", "images"),
        ("POST", "/v1/images/edits", "images"),
        ("POST", "/v1/tasks/try-on", "images"),
        ("POST", "/v1/audio/speech", "audio"),
        ("GET", "/v1/audio/voices", "other"),
        ("POST", "/v1/videos/{video_id}/remix", "video"),
        ("GET", "/v1/videos/{video_id}", "other"),
        ("DELETE", "/v1/videos/{video_id}", "other"),
        ("POST", "/v1/videosx", "other"),
        ("GET", "/health", "health"),
        ("GET", "/metrics", "health"),
        ("GET", "/", "other"),
        ("POST", "/api/tts", "audio"),
        ("POST", "/api/video/text-to-video", "video"),
        ("POST", "/api/llm", "text"),
        ("POST", "/api/v1/create-image", "images"),
    ],
)
def test_the_class_of_a_route(method, path, route_class):
    assert route_class_of(path, {method}) == route_class


def test_probes_are_of_the_class_of_health(app):
    health = {path for path, route in routes(app) if route.limited_as == "health"}
    assert health == {"/health", "/v1/health", "/healthz", "/ready", "/metrics"}
    assert health - PUBLIC_PATHS == {"/metrics"}
