from __future__ import annotations

import subprocess
import sys

# Of each new Struct, threads are the first to decode one. Without the call they end the process
# within a second.
SCRIPT = """
import sys
import threading

import msgspec

from onebox.core.structs import learn_structs

sys.setswitchinterval(1e-6)
for number in range(400):
    fields = [(f"f{i}", "list[dict[str, int | None]]") for i in range(6)]
    inner = msgspec.defstruct(f"Inner{number}", fields, module="onebox.made_up")
    outer = msgspec.defstruct(f"Outer{number}", [("a", inner)], module="onebox.made_up")
    learn_structs()
    barrier = threading.Barrier(4)

    def decode():
        barrier.wait()
        msgspec.convert({"a": {f"f{i}": [{"x": 1}] for i in range(6)}}, outer)

    threads = [threading.Thread(target=decode) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def test_threads_may_be_the_first_to_decode_a_struct_of_ours():
    done = subprocess.run([sys.executable, "-c", SCRIPT], timeout=120, check=False)
    assert done.returncode == 0
