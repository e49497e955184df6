"""Metrics of the server as a whole."""

from __future__ import annotations

import shutil
from pathlib import Path

from onebox import __version__
from onebox.services.metrics.page import Page, Samples


class ServerMetrics:
    def __init__(self, page: Page) -> None:
        self._data_dir: Path | None = None
        page.gauge("onebox_build_info", "1, with the version.", ("version",)).of(__version__).set(1)
        page.read_gauge(
            "onebox_data_disk_bytes",
            "Space on the disk of the data folder: free, total.",
            ("kind",),
            self._disk,
        )

    def watch_disk(self, data_dir: Path) -> None:
        """Which folder's disk to look at at each scrape."""
        self._data_dir = data_dir

    def _disk(self) -> Samples:
        if self._data_dir is None:
            return
        try:
            usage = shutil.disk_usage(self._data_dir)
        except OSError:
            # Better a page without it than none.
            return
        yield ("free",), usage.free
        yield ("total",), usage.total
