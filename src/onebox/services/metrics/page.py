"""The page that a Prometheus server reads: what is on it, and by which labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

T = TypeVar("T", Counter, Gauge, Histogram)
Kind = Literal["counter", "gauge", "histogram"]
# Values by labels, in the order in which the labels were declared.
Samples = Iterable[tuple[tuple[str, ...], float]]

# Seconds: from what is answered from memory up to the longest request.
SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


@dataclass(frozen=True, slots=True)
class Described:
    """What a metric is, whether or not it has been counted yet."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    text: str


class Labelled(Generic[T]):
    """A metric by its labels; prometheus_client's own look-up costs ten times this."""

    def __init__(self, metric: T, labels: tuple[str, ...]) -> None:
        self._metric: T = metric
        # One without labels is itself.
        self._children: dict[tuple[str, ...], T] = {} if labels else {(): metric}

    def of(self, *labels: str) -> T:
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = self._metric.labels(*labels)
        return child


class Page:
    """The metrics of one server: in a registry of their own, for two can live in one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._described: dict[str, Described] = {}

    @property
    def described(self) -> Mapping[str, Described]:
        """Every metric by its name on the page."""
        return self._described

    def counter(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Labelled[Counter]:
        """`name` ends in `_total`."""
        self._describe(name, "counter", labels, text)
        return Labelled(Counter(name, text, labels, registry=self._registry), labels)

    def gauge(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Labelled[Gauge]:
        self._describe(name, "gauge", labels, text)
        return Labelled(Gauge(name, text, labels, registry=self._registry), labels)

    def histogram(
        self,
        name: str,
        text: str,
        labels: tuple[str, ...] = (),
        buckets: tuple[float, ...] = SECONDS_BUCKETS,
    ) -> Labelled[Histogram]:
        self._describe(name, "histogram", labels, text)
        made = Histogram(name, text, labels, buckets=buckets, registry=self._registry)
        return Labelled(made, labels)

    def read_gauge(
        self, name: str, text: str, labels: tuple[str, ...], read: Callable[[], Samples]
    ) -> None:
        """One whose values are asked for at each scrape."""
        self._describe(name, "gauge", labels, text)
        self._registry.register(_Read(GaugeMetricFamily, name, text, labels, read))

    def read_counter(
        self, name: str, text: str, labels: tuple[str, ...], read: Callable[[], Samples]
    ) -> None:
        """One whose values are asked for at each scrape. `name` ends in `_total`."""
        self._describe(name, "counter", labels, text)
        self._registry.register(_Read(CounterMetricFamily, name, text, labels, read))

    def render(self) -> bytes:
        return generate_latest(self._registry)

    def _describe(self, name: str, kind: Kind, labels: tuple[str, ...], text: str) -> None:
        self._described[name] = Described(name, kind, labels, text)


class _Read(Collector):
    """A metric that is made anew for each scrape."""

    def __init__(
        self,
        family: type[GaugeMetricFamily] | type[CounterMetricFamily],
        name: str,
        text: str,
        labels: tuple[str, ...],
        read: Callable[[], Samples],
    ) -> None:
        self._family, self._name, self._text = family, name, text
        self._labels, self._read = labels, read

    def describe(self) -> Iterator[Metric]:
        yield self._family(self._name, self._text, labels=self._labels)

    def collect(self) -> Iterator[Metric]:
        made = self._family(self._name, self._text, labels=self._labels)
        for labels, value in self._read():
            made.add_metric(labels, value)
        yield made
