"""What `POST /v1/jobs` takes: a task and its input, as JSON or as a form with files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from starlette.datastructures import FormData

from onebox.api.bodies import JSON, described_body
from onebox.api.forms import MULTIPART, form_values, is_form, opened_form
from onebox.api.job_options import JobOptions
from onebox.core.contracts import Task
from onebox.core.errors import InvalidInput
from onebox.services.request import refuse_client_files

INPUT = "input"


class JobRequest(JobOptions):
    """In a form, `input` is JSON, and files are parts named as the input's fields are."""

    model_config = ConfigDict(extra="forbid")

    task: str = Field(
        min_length=1,
        max_length=64,
        description="A task of some model here, as `/v1/models` lists them.",
    )
    model: str | None = Field(
        None, max_length=512, description="SHA-256, prefix of it, name or alias."
    )
    input: dict[str, Any] = Field(
        default={}, description="The fields of `POST /v1/tasks/{task}`, without its options."
    )


class _Named(BaseModel):
    """The first look at a body: which task's it is."""

    task: str


@dataclass(frozen=True, slots=True)
class _Models:
    """How one task's jobs are read.

    Attributes:
        body: JobRequest whose input is the task's.
        form: the same with the input's fields beside the others; it is never filled.
    """

    task: Task[Any]
    body: type[JobRequest]
    form: type[BaseModel]


@dataclass(frozen=True, slots=True)
class AskedJob:
    task: Task[Any]
    input: BaseModel
    body: JobRequest


class JobRequests:
    """Reads bodies, each by the models of its task, which are made when first asked for."""

    def __init__(self, tasks: Mapping[str, Task[Any]]) -> None:
        self._tasks = tasks
        self._models: dict[str, _Models] = {}

    async def read(self, request: Request) -> AskedJob:
        """Raises InvalidInput, and RequestValidationError as FastAPI does; both name fields of the
        input as the task's own route does.
        """
        try:
            models, body = await (self._from_form if is_form(request) else self._from_json)(request)
        except ValidationError as error:
            raise _located(error) from error
        asked: Any = body.input
        refuse_client_files(asked)
        # A plain one: what forbids unknown fields has done its work.
        names = models.task.Input.model_fields
        plain = models.task.Input.model_construct(
            _fields_set=set(asked.model_fields_set),
            **{name: getattr(asked, name) for name in names},
        )
        return AskedJob(models.task, plain, body)

    async def _from_json(self, request: Request) -> tuple[_Models, JobRequest]:
        raw = await request.body()
        models = self._named(_Named.model_validate_json(raw).task)
        return models, models.body.model_validate_json(raw)

    async def _from_form(self, request: Request) -> tuple[_Models, JobRequest]:
        async with opened_form(request) as form:
            models = self._named(_Named.model_validate(_text(form, "task")).task)
            given = await form_values(form, models.form)
        return models, models.body.model_validate(_joined(models, given))

    def _named(self, task: str) -> _Models:
        if task not in self._tasks:
            known = ", ".join(sorted(self._tasks))
            raise InvalidInput(f"there is no task {task[:64]!r}; there are: {known}", param="task")
        if task not in self._models:
            self._models[task] = _models_of(self._tasks[task])
        return self._models[task]


def job_body() -> dict[str, Any]:
    """What `openapi_extra` must hold for a route that reads these."""
    told = described_body(JobRequest, JSON, MULTIPART)
    content = told["requestBody"]["content"]
    # The fields of an input, of which it has no list: each task has its own.
    form = {**content[MULTIPART]["schema"], "additionalProperties": True}
    return {"requestBody": {"required": True, "content": {**content, MULTIPART: {"schema": form}}}}


def _models_of(task: Task[Any]) -> _Models:
    name = task.Input.__name__
    strict: type[BaseModel] = create_model(
        f"{name}Strict", __base__=task.Input, __cls_kwargs__={"extra": "forbid"}
    )
    # One that is left out is looked at too, so that what it lacks is named.
    given = Field(default={}, validate_default=True)
    body: type[JobRequest] = create_model(f"{name}Job", __base__=JobRequest, input=(strict, given))
    own: Any = {
        field: (told.annotation, told)
        for field, told in {**task.Input.model_fields, **JobRequest.model_fields}.items()
    }
    return _Models(task, body, create_model(f"{name}JobForm", **own))


def _text(form: FormData, name: str) -> dict[str, Any]:
    """A field of a form as an object of one field, or of none when it is not there."""
    value = form.get(name)
    return {} if value in (None, "") else {name: value}


def _joined(models: _Models, given: dict[str, Any]) -> dict[str, Any]:
    """A form's values with those of the input where they belong."""
    head = {name: value for name, value in given.items() if name in models.body.model_fields}
    parts = {name: value for name, value in given.items() if name not in head}
    told = head.get(INPUT, {})
    # What is no object is refused as what it is.
    return {**head, INPUT: {**told, **parts}} if isinstance(told, dict) else head


def _located(error: ValidationError) -> RequestValidationError:
    """As the task's own route says it: there the input's fields are the body's."""
    problems = []
    for problem in error.errors():
        place = problem["loc"]
        inner = len(place) > 1 and place[0] == INPUT
        problems.append({**problem, "loc": ("body", *(place[1:] if inner else place))})
    return RequestValidationError(problems)
