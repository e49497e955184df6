from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from onebox.core.settings import Settings
from onebox.hardware import doctor
from onebox.hardware.facts import Facts, TorchBuild
from tests.unit.hardware.fakes import (
    CPU_BUILD,
    CUDA_BUILD,
    GIB,
    HOST,
    RTX_4090,
    FakeBackend,
    card,
)


@pytest.fixture
def report(tmp_path):
    (tmp_path / "ai-models").mkdir()
    plain = {
        "root": tmp_path,
        "data_dir": Path(".onebox"),
        "model_dirs": (Path("ai-models"),),
        "device": ("auto",),
        "threads": None,
        "memory_budget": None,
    }

    def _report(facts: Facts, **changed) -> doctor.Report:
        return doctor.collect(Settings(**{**plain, **changed}), FakeBackend(facts))

    return _report


PLAIN = Facts(torch=CPU_BUILD, host=HOST)
CARDS = Facts(
    torch=CUDA_BUILD,
    host=HOST,
    cuda=(card("NVIDIA A100", (8, 0)), card("NVIDIA GeForce GTX 1080", (6, 1), index=1)),
)


def test_a_healthy_machine(report):
    found = report(PLAIN)
    assert (found.healthy, found.problems) == (True, [])
    (worker,) = found.workers
    assert (worker.device, worker.threads, worker.pool) == ("cpu", 7, "host")
    assert 20 * GIB < worker.budget_bytes < 21 * GIB
    assert found.packages["msgspec"]
    table = doctor.as_table(found)
    assert table.rstrip().endswith("ALL IS WELL")
    assert found.packages["msgspec"] in table


def test_json_round_trip(report):
    found = report(CARDS)
    text = doctor.as_json(found)
    assert msgspec.json.decode(text, type=doctor.Report) == found
    assert '"healthy": false' in text


def test_problems_come_last_and_loud(report):
    found = report(CARDS)
    assert not found.healthy
    table = doctor.as_table(found)
    loud = table[table.index("!!! PROBLEMS (1)") :]
    assert "cuda:1 is not used: NVIDIA GeForce GTX 1080" in loud
    assert "ONEBOX_TORCH_INDEX=" in loud
    assert "cuda:1 (!)" in table


def test_the_table_shows_capability_memory_dtypes_and_build(report):
    table = doctor.as_table(report(CARDS))
    row = next(line for line in table.splitlines() if line.startswith("  cuda:0"))
    expected = "cuda:0 cuda NVIDIA A100 8.0 24.0 GiB 23.0 GiB bfloat16 bfloat16"
    assert row.split() == expected.split()
    assert "CUDA 13.0" in table
    assert "sm_75" in table


def test_a_missed_nvidia_card_is_unhealthy_unless_the_cpu_was_asked_for(report):
    facts = Facts(torch=CPU_BUILD, host=HOST, seen=(RTX_4090,))
    assert "RTX 4090" in report(facts).problems[0]
    assert report(facts, device=("cpu",)).healthy


def test_cpu_workers_split_the_cores_and_share_the_pool(report):
    found = report(PLAIN, device=("cpu", "cpu"))
    first, second = found.workers
    assert (first, first.threads) == (second, 3)
    assert first.budget_bytes == report(PLAIN).workers[0].budget_bytes
    assert "cpu     3        host         20.8 GiB" in doctor.as_table(found)


def test_a_device_that_is_not_there_is_a_problem(report):
    found = report(PLAIN, device=("cuda:7",))
    assert found.problems[0].startswith("ONEBOX_DEVICE=cuda:7: there is no such device")
    assert (found.workers, found.healthy) == ([], False)
    assert "!!! PROBLEMS" in doctor.as_table(found)


def test_torch_that_cannot_be_imported_is_a_problem(report):
    found = report(Facts(torch=TorchBuild(None, error="libcudart.so"), host=HOST))
    assert found.problems == ["torch cannot be imported (libcudart.so): python3 app.py installs it"]


def test_a_missing_model_folder_and_a_full_disk_are_problems(report, tmp_path):
    found = report(PLAIN, model_dirs=(Path("gone/models"),))
    assert found.problems == [
        f"{tmp_path / 'gone' / 'models'} does not exist: create it for models, or set MODEL_DIRS"
    ]
    full = doctor.Folder(path="/data", use="data", exists=True, writable=False, free_bytes=0)
    assert len(list(doctor._folder_problems(full))) == 2


def test_what_others_found_joins_what_the_machine_has(report):
    found = report(PLAIN).with_more(["a key is weak"], ["no TLS"])
    assert (found.healthy, found.problems, found.warnings) == (False, ["a key is weak"], ["no TLS"])
    table = doctor.as_table(found)
    assert table.index("WARNINGS (1)\n  1. no TLS") < table.index("!!! PROBLEMS (1)\n  1. a key")
    assert report(PLAIN).with_more([], ["no TLS"]).healthy


def test_a_machine_without_free_memory_is_a_problem(report):
    full = msgspec.structs.replace(HOST, available_bytes=GIB // 2)
    (problem,) = report(Facts(torch=CPU_BUILD, host=full)).problems
    assert problem.startswith("0.5 GiB of ")
