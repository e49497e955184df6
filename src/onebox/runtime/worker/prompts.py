"""`Prompts`: what requests become before they wait for the device, made on threads of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from onebox.core.errors import ModelBroken
from onebox.runtime.worker.request import Request

# Templates, tokenizers and grammars; looks into files, which mostly wait for another process.
THREADS = 4


class Prompts:
    """Remembers which checkpoints' chat templates are broken: to find that out may take seconds,
    in which all others wait.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="prompt")
        self._broken: dict[str, str] = {}

    def submit(self, take: Callable[[Request], None], request: Request) -> None:
        """Call `take` with the request on one of the threads, where it may be given to `make`."""
        self._threads.submit(take, request)

    def make(self, request: Request) -> None:
        """Make the request's prompt. Raises what its task's `encode` does."""
        key = request.entry.key
        if key in self._broken:
            raise ModelBroken(self._broken[key])
        try:
            request.prepare()
        except ModelBroken as error:
            self._broken[key] = error.message
            raise

    def forget(self, keys: Iterable[str]) -> None:
        """Their files are gone or changed."""
        for key in keys:
            self._broken.pop(key, None)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
