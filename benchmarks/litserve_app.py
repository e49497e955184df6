"""LitServe with its default settings and an API that gives its input back: a peer of `wire`.

Run by the interpreter of an environment that has LitServe: PYTHON benchmarks/litserve_app.py PORT
"""

from __future__ import annotations

import sys
from typing import Any

import litserve


class Echo(litserve.LitAPI):
    def setup(self, device: str) -> None:
        return

    def predict(self, x: Any) -> Any:
        return x


def main() -> None:
    server = litserve.LitServer(Echo(), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)


if __name__ == "__main__":
    main()
