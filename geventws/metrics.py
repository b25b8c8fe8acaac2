"""Collector: figures of geventws for Prometheus, through `prometheus_client`.

    from geventws.metrics import Collector
    from prometheus_client import REGISTRY, make_wsgi_app

    REGISTRY.register(Collector(chat=pubsub))
    metrics = make_wsgi_app()  # a WSGI application

Nothing is counted here: the figures are read when somebody asks for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .engine.loop.poller import count_connections

try:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.registry import Collector as BaseCollector
except ImportError as _error:
    _why = f"geventws.metrics needs prometheus_client: pip install 'geventws[metrics]' ({_error})"
    raise ImportError(_why) from _error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .pubsub.interface import BusStats, Stats
    from .pubsub.pubsub import PubSub

    Family = CounterMetricFamily | GaugeMetricFamily

__all__ = ["Collector"]

LABEL = "pubsub"
"""The label with the name of a PubSub."""

RESULTS = ("sent", "dropped", "abandoned")


class Figure(NamedTuple):
    """A number of `Stats` or `BusStats`, and the metric that has it.

    Attributes:
        kind: a counter, which only grows, or a gauge.
        name: the name of the number, and the end of the metric's name.
        meaning: what the metric says about itself.
    """

    kind: type[Family]
    name: str
    meaning: str


PUBSUB = (
    Figure(CounterMetricFamily, "published", "Messages that were to be sent, once for each subscriber"),
    Figure(GaugeMetricFamily, "queued", "Messages that wait to be sent"),
    Figure(GaugeMetricFamily, "topics", "Topics that have subscribers in this process"),
    Figure(GaugeMetricFamily, "subscriptions", "Subscriptions of the connections of this process"),
)

BUS = (
    Figure(GaugeMetricFamily, "up", "1 if Redis can be reached, 0 if not"),
    Figure(CounterMetricFamily, "published", "Messages that this process wanted to publish"),
    Figure(CounterMetricFamily, "sent", "Messages that Redis has accepted"),
    Figure(GaugeMetricFamily, "queued", "Messages that Redis has not answered yet"),
    Figure(CounterMetricFamily, "dropped", "Messages that did not reach Redis"),
    Figure(CounterMetricFamily, "received", "Messages from other processes"),
    Figure(CounterMetricFamily, "repeated", "Messages that arrived twice, and were delivered once"),
    Figure(CounterMetricFamily, "skipped", "Messages that are not geventws's, or of another version"),
    Figure(CounterMetricFamily, "gaps", "Times that subscribers of a topic may have missed messages"),
    Figure(CounterMetricFamily, "reconnects", "Times that a lost connection to Redis was opened again"),
)


class Collector(BaseCollector):
    """The figures of this process, for a registry of `prometheus_client`: `REGISTRY.register(Collector(chat=pubsub))`.

    A registry takes one of them. To read it does not block, in any thread. docs/metrics.rst lists the metrics.

    Args:
        pubsubs: each `PubSub`, by the name that the label `pubsub` of its metrics has; none for the connections alone.
    """

    def __init__(self, **pubsubs: PubSub) -> None:
        self._pubsubs = pubsubs

    def collect(self) -> Iterator[Family]:
        """Yield the metrics with what they are now. `prometheus_client` calls it for each scrape."""
        stats = {name: pubsub.stats for name, pubsub in self._pubsubs.items()}
        buses = {name: one.bus for name, one in stats.items() if one.bus is not None}
        yield GaugeMetricFamily("geventws_connections", "Open WebSockets of this process", count_connections())
        if stats:
            yield _make_messages(stats)
            yield from _make_families("geventws_pubsub", PUBSUB, stats)
        if buses:
            yield from _make_families("geventws_bus", BUS, buses)

    def describe(self) -> Iterator[Family]:
        """Yield all metrics without their values. `prometheus_client` calls it when this is registered."""
        yield GaugeMetricFamily("geventws_connections", "")
        yield _make_messages({})
        yield from _make_families("geventws_pubsub", PUBSUB, {})
        yield from _make_families("geventws_bus", BUS, {})


def _make_messages(stats: Mapping[str, Stats]) -> Family:
    meaning = "Messages that were sent, dropped or abandoned, once for each subscriber"
    family = CounterMetricFamily("geventws_pubsub_messages", meaning, labels=[LABEL, "result"])
    for name, one in stats.items():
        for result in RESULTS:
            family.add_metric([name, result], getattr(one, result))
    return family


def _make_families(
    beginning: str, figures: tuple[Figure, ...], stats: Mapping[str, Stats | BusStats]
) -> Iterator[Family]:
    for kind, name, meaning in figures:
        family = kind(f"{beginning}_{name}", meaning, labels=[LABEL])
        for pubsub, one in stats.items():
            family.add_metric([pubsub], getattr(one, name))
        yield family
