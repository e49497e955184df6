"""What app.py and test.py do: get into an interpreter that has everything, then run there."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from onebox.setup import environment, interpreter, process, requirements
from onebox.setup.errors import SetupError

SUITES = ("unit", "language", "audio", "families", "integration", "e2e", "gpu")
# Those without servers come first: when they fail, it is known minutes earlier.
WITHOUT_SERVERS = ("unit", "language", "audio", "families")
MOST_PROCESSES = 4
# What tests try beside what every installation has.
TEST_EXTRAS = ("dev", "otel", "redis")
_SECOND_TRY = "ONEBOX_SETUP_DONE"
_INTERRUPTED = 130
_THREADS = "OMP_NUM_THREADS"


def app(root: Path, args: Sequence[str]) -> int:
    """Forward to the command line of Onebox."""
    status = _enter(root, (), "app.py", args)
    return _run_cli(args) if status == 0 else status


def test(root: Path, args: Sequence[str]) -> int:
    """Run the chosen suite with pytest."""
    status = _enter(root, TEST_EXTRAS, "test.py", args)
    return _run_tests(root, args) if status == 0 else status


def cli_arguments(args: Sequence[str]) -> list[str]:
    """No command means `serve`, also when options follow: `app.py --port 9000`."""
    about_all = ("-h", "--help", "--version")
    if not args or (args[0].startswith("-") and args[0] not in about_all):
        return ["serve", *args]
    return list(args)


def pytest_runs(args: Sequence[str]) -> list[list[str]]:
    """The arguments of each run of pytest; GPU tests run only when they are asked for by name.

    All files run side by side, with one torch thread each.
    """
    if not args:
        several = ["-n", "logical", f"--maxprocesses={MOST_PROCESSES}", "--dist", "loadfile"]
        first = [f"tests/{suite}" for suite in WITHOUT_SERVERS]
        then = [f"tests/{suite}" for suite in SUITES if suite not in (*WITHOUT_SERVERS, "gpu")]
        # In their order: the longest files hold few tests, and must not be left for the end.
        return [[*several, *first], ["--no-loadscope-reorder", *several, *then]]
    if args[0] not in SUITES:
        return [list(args)]
    only_gpu = ["-m", "gpu"] if args[0] == "gpu" else []
    return [[f"tests/{args[0]}", *only_gpu, *args[1:]]]


def _enter(root: Path, extras: Sequence[str], script: str, args: Sequence[str]) -> int:
    """Return 0 where everything is here; else go on in .venv, or say what stands in the way."""
    try:
        if not _is_here(root, extras):
            python = environment.ensure(root, extras)
            os.environ[_SECOND_TRY] = "1"
            process.become([str(python), str(root / script), *args])
    except SetupError as error:
        print(f"onebox: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("onebox: set-up was stopped; the next start begins it anew", file=sys.stderr)
        return _INTERRUPTED
    _share_sources(root)
    return 0


def _is_here(root: Path, extras: Sequence[str]) -> bool:
    come_from_setup = os.environ.pop(_SECOND_TRY, "")
    if not interpreter.fits(sys.version_info[:2]):
        return False
    absent = requirements.missing(root, extras)
    if absent and come_from_setup:  # the stamp and the environment disagree: do not go in circles
        raise SetupError(
            f".venv is stamped as complete but lacks {', '.join(absent)}",
            f"delete the folder {root / '.venv'}, then start again",
        )
    return not absent


def _share_sources(root: Path) -> None:
    """Workers are new processes: they must find the same Onebox, installed or not."""
    paths = [str(root / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)


def _run_cli(args: Sequence[str]) -> int:
    from onebox.cli import main

    main(args=cli_arguments(args), prog_name="app.py")
    return 0


def _run_tests(root: Path, args: Sequence[str]) -> int:
    """All runs, also after one that failed; its status is what comes out."""
    import pytest

    os.chdir(str(root))
    statuses = []
    for run in pytest_runs(args):
        with _one_thread_each("-n" in run):
            statuses.append(int(pytest.main(run)))
    return max(statuses)


@contextlib.contextmanager
def _one_thread_each(wanted: bool) -> Iterator[None]:
    """Processes whose threads are more than the cores wait for one another."""
    own = os.environ.get(_THREADS)
    if wanted and own is None:
        os.environ[_THREADS] = "1"
    try:
        yield
    finally:
        if own is None:
            os.environ.pop(_THREADS, None)
