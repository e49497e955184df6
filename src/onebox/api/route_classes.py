"""Which limit a request is counted under: the class of its route.

What makes a model work is told apart by what it makes; looking, asking how a job gets on and
managing are "other".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from onebox.services.access.limits.rules import RouteClass
from onebox.services.task_kinds import TASKS

# What a POST to these makes, and to what lies below them.
POSTS: Mapping[str, RouteClass] = {
    "/v1/chat": "text",
    "/v1/completions": "text",
    "/v1/responses": "text",
    "/v1/embeddings": "text",
    "/v1/rerank": "text",
    "/v2/rerank": "text",
    "/v1/similarity": "text",
    "/v1/tokenize": "text",
    "/v1/detokenize": "text",
    "/api/llm": "text",
    "/api/embedding": "text",
    "/v1/generate": "prompt",
    "/generate": "prompt",
    "/local/generate": "prompt",
    "/v1/images": "images",
    "/v1/infer": "images",
    "/infer": "images",
    "/api/image": "images",
    "/api/edit-image": "images",
    "/api/v1/create-image": "images",
    "/v1/audio": "audio",
    "/api/tts": "audio",
    "/api/stt": "audio",
    "/v1/videos": "video",
    "/api/video": "video",
}
TASK_PREFIX = "/v1/tasks/"
HEALTH = frozenset({"/health", "/v1/health", "/healthz", "/ready", "/metrics"})
CANCEL = "/cancel"


def route_class_of(path: str, methods: Collection[str]) -> RouteClass:
    """Args:
    path: as the route has it, with the names of its parameters.
    """
    if path in HEALTH:
        return "health"
    if "POST" not in methods or path.endswith(CANCEL):
        return "other"
    if path.startswith(TASK_PREFIX):
        return task_class_of(path.removeprefix(TASK_PREFIX))
    while path:
        if path in POSTS:
            return POSTS[path]
        path = path.rpartition("/")[0]
    return "other"


def task_class_of(task: str) -> RouteClass:
    """A task that a plugin brings is "other"."""
    return TASKS.get(task, "other")
