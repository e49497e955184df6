"""One pickled file becomes safetensors in a process that can do nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file

from onebox.services.pickles.process import Child, ChildFailed, PickleRefused
from tests.support.hostile_pickles import endless_pickle, plain_pickle, touching, zipped_pickle
from tests.support.server import has_ended, wait_for

ROOT = Path(__file__).resolve().parents[2]
PLENTY = 2**30


def convert(source: Path, *, most_bytes: int = PLENTY, limit_s: float | None = None) -> Path:
    target = source.with_suffix(".out")
    Child(source, target, most_bytes=most_bytes, limit_s=limit_s).run(lambda fraction: None)
    return target


def refusal(source: Path, **limits: Any) -> PickleRefused:
    with pytest.raises(PickleRefused) as refused:
        convert(source, **limits)
    return refused.value


def saved(path: Path, value: Any, *, as_zip: bool = True) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=as_zip)
    return path


def many_kinds() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    whole = torch.randn(7, 5, generator=generator)
    return {
        "whole": whole,
        "again": whole,
        "turned": whole.t(),
        "cut": whole[2:5, 1:3],
        "half": whole.half(),
        "bfloat": whole.bfloat16(),
        "truth": whole > 0,
        "count": torch.tensor(77),
        "nothing": torch.empty(0, 4),
        "parameter": torch.nn.Parameter(torch.ones(3)),
    }


@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "older form"])
def test_every_weight_comes_out_bit_for_bit(tmp_path: Path, as_zip: bool) -> None:
    value = {"epoch": 3, "state_dict": OrderedDict(many_kinds()), "optimizer": {"x": [1]}}
    found = load_file(convert(saved(tmp_path / "a.ckpt", value, as_zip=as_zip)))
    assert found.keys() == many_kinds().keys()
    for name, tensor in many_kinds().items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("how", ["system", "eval", "open"])
@pytest.mark.parametrize("form", ["plain", "zip"])
def test_a_malicious_file_runs_nothing_and_the_code_is_named(
    tmp_path: Path, how: str, form: str
) -> None:
    mark = tmp_path / "ran"
    call = {"state_dict": touching(mark, how)}
    source = tmp_path / "a.ckpt"
    source.write_bytes(plain_pickle(call) if form == "plain" else zipped_pickle(call))
    error = refusal(source)
    assert error.kind == "code"
    assert error.message.split(".")[-1] == how
    assert not mark.exists()


@pytest.mark.parametrize("protocol", [3, 5])
def test_nor_does_one_in_another_form_of_pickle(tmp_path: Path, protocol: int) -> None:
    mark, source = tmp_path / "ran", tmp_path / "a.pt"
    source.write_bytes(plain_pickle(touching(mark, "system"), protocol))
    assert refusal(source).kind in ("code", "contents")
    assert not mark.exists()


@pytest.mark.skipif(not __debug__, reason="this is the run under python -O")
def test_all_of_this_holds_without_asserts() -> None:
    options = ["-q", "-p", "no:cacheprovider", "-k", "malicious and (zip-system or plain-eval)"]
    result = subprocess.run(
        [sys.executable, "-O", "-m", "pytest", *options, __file__],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-3000:]


def test_a_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    source = saved(tmp_path / "a.pt", {"a": torch.ones(1000)})
    source.write_bytes(source.read_bytes()[:-900])
    assert refusal(source).kind == "contents"


def test_a_view_that_would_fill_the_disk_is_refused(tmp_path: Path) -> None:
    endless = torch.zeros(1).expand(2**40)
    assert "would become" in refusal(saved(tmp_path / "a.pt", {"a": endless})).message


def test_a_storage_that_claims_more_than_the_file_has_is_refused(tmp_path: Path) -> None:
    with torch.serialization.skip_data():
        source = saved(tmp_path / "a.pt", {"a": torch.ones(1000)})
    source.write_bytes(source.read_bytes().replace(b"M\xe8\x03", b"M\xff\xff"))
    assert "ends after the file" in refusal(source).message


def test_what_does_not_fit_on_the_disk_is_refused(tmp_path: Path) -> None:
    source = saved(tmp_path / "a.pt", {"a": torch.ones(1000)})
    assert refusal(source, most_bytes=1000).kind == "space"


def test_one_that_takes_too_long_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "a.pt"
    source.write_bytes(endless_pickle(30_000_000))
    error = refusal(source, limit_s=0.5)
    assert error.kind == "time"


def test_a_killed_child_is_not_the_files_fault(tmp_path: Path) -> None:
    source = tmp_path / "a.pt"
    source.write_bytes(endless_pickle(30_000_000))
    child = Child(source, tmp_path / "out", most_bytes=PLENTY)
    with pytest.raises(ChildFailed):
        child.run(lambda fraction: os.kill(child.pid, signal.SIGKILL))


PARENT = """
from pathlib import Path
from onebox.services.pickles.process import Child
child = Child(Path({source!r}), Path({target!r}), most_bytes=2**30)
child.run(lambda fraction: print(child.pid, flush=True))
"""


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    source = tmp_path / "a.pt"
    source.write_bytes(endless_pickle(100_000_000))
    script = PARENT.format(source=str(source), target=str(tmp_path / "out"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    wait_for(lambda: has_ended(child))


def test_a_program_is_not_weights(tmp_path: Path) -> None:
    source = tmp_path / "a.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(source))
    assert "TorchScript" in refusal(source).message


SHUT = """
import errno, os, socket, sys
sys.path.insert(0, {sources!r})
from onebox.services.pickles import child
if {only_limits}:
    sys.addaudithook = lambda hook: None
child.shut({{"most_bytes": 1000, "cpu_s": 60, "working_bytes": 50_000_000}})
tries = {{
    "read": lambda: os.open("/etc/passwd", os.O_RDONLY),
    "write": lambda: open({mark!r}, "w"),
    "connect": lambda: socket.socket(),
    "memory": lambda: bytearray(100_000_000),
}}
if not {only_limits}:
    tries |= {{"run": lambda: os.system("true"), "spawn": lambda: os.fork()}}
for name, attempt in tries.items():
    try:
        attempt()
    except (PermissionError, MemoryError):
        continue
    except OSError as error:
        if error.errno == errno.EMFILE:
            continue
    print("could", name)
print("done")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limits are those of Linux")
@pytest.mark.parametrize("only_limits", [False, True])
def test_whatever_runs_in_the_child_reaches_nothing(tmp_path: Path, only_limits: bool) -> None:
    """With the audit hook, and for code that gets around it."""
    mark = tmp_path / "mark"
    script = SHUT.format(sources=str(ROOT / "src"), only_limits=only_limits, mark=str(mark))
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.stdout.split("\n")[:-1] == ["done"], result.stdout + result.stderr
    assert not mark.exists()
