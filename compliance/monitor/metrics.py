"""Counts for dashboards: OpenTelemetry instruments, and the same as a Prometheus registry.

    monitor.metrics.serve(9464)                 # a Prometheus endpoint in a thread
    app.mount("/metrics", monitor.metrics.asgi())

OpenTelemetry's instruments do nothing until the server sets up a meter provider. Languages that the
pack does not have are counted as ``other``, so that no client can make series without end.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from opentelemetry import metrics as otel
from prometheus_client import CollectorRegistry, Counter, Histogram, make_asgi_app
from prometheus_client import start_http_server as start_prometheus
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from compliance import __version__
from compliance.monitor.locked import Locked
from compliance.records.monitoring import Observed

OTHER = "other"
"""Label of languages that the pack does not have, and of requests without one."""

RECENT = 500
"""Sequences of one concept and language whose scores are compared with the calibration's."""

LEAST = 20
"""Below so many there is no drift to speak of."""

BUCKETS = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)

_NAMES = {
    "requests": "Sequences that were read.",
    "alerts": "Sequences with a score above the locked cut-off.",
    "sensor_failures": "Sequences that could not be read.",
    "dropped_events": "Events that are missing in the log.",
    "score": "Score of a locked probe at the end of a sequence.",
    "drift": "Largest distance between the distribution functions of recent scores and of those "
    "that the cut-off was set on (two-sample Kolmogorov-Smirnov statistic).",
}
"""What is counted, and what it is."""


class Metrics:
    """What one monitor counts."""

    def __init__(self, locked: Locked, dropped: Callable[[], Mapping[str, int]]) -> None:
        """Make the instruments.

        Args:
            locked: What the probes are.
            dropped: Gives the events that the log had to drop, by reason.
        """
        self._calibration = {
            (probe.concept, language): np.sort(scores)
            for probe in locked.probes
            for language, scores in probe.calibration.items()
        }
        self._languages = {cell for probe in locked.probes for cell in probe.cut_offs}
        self._recent: dict[tuple[str, str], deque[float]] = {}
        self._lock = threading.Lock()
        self._dropped = dropped
        self.registry = CollectorRegistry()
        """Of Prometheus; a server that has one of its own can register it there."""

        self._make_prometheus()
        self._make_otel()

    def observed(self, event: Observed) -> None:
        """Count a sequence once it is complete."""
        language = event.language if event.language in self._languages else OTHER
        self._count("requests", {"language": language})
        for score in event.scores:
            labels = {"concept": score.concept, "language": language}
            if score.alert:
                self._count("alerts", labels)
            if score.score is not None:
                self._histogram.labels(**labels).observe(score.score)
                self._otel_histogram.record(score.score, labels)
            if score.cut_off is not None and score.score is not None:
                self._remember((score.concept, language), score.score)

    def failed(self) -> None:
        """Count a sequence that could not be read."""
        self._count("sensor_failures", {})

    def drift(self) -> dict[tuple[str, str], float]:
        """The statistic by concept and language, where there is enough to compare."""
        with self._lock:
            recent = {key: np.array(values) for key, values in self._recent.items()}
        return {
            key: distance(np.sort(values), self._calibration[key])
            for key, values in recent.items()
            if len(values) >= LEAST and len(self._calibration.get(key, ())) >= LEAST
        }

    def serve(self, port: int, host: str = "127.0.0.1") -> Callable[[], None]:
        """Answer Prometheus at ``http://host:port/metrics``; gives what stops it."""
        server, thread = start_prometheus(port, addr=host, registry=self.registry)

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return stop

    def asgi(self) -> Any:
        """The same as an ASGI application, to be mounted in a server."""
        return make_asgi_app(registry=self.registry)

    def _remember(self, key: tuple[str, str], score: float) -> None:
        with self._lock:
            self._recent.setdefault(key, deque(maxlen=RECENT)).append(score)

    def _count(self, name: str, labels: dict[str, str]) -> None:
        counter = self._counters[name]
        (counter.labels(**labels) if labels else counter).inc()
        self._otel_counters[name].add(1, labels)

    def _make_prometheus(self) -> None:
        labels = {"requests": ("language",), "alerts": ("concept", "language")}
        self._counters = {
            name: Counter(_prometheus(name), _NAMES[name], labels.get(name, ()),
                          registry=self.registry)
            for name in ("requests", "alerts", "sensor_failures")
        }  # fmt: skip
        self._histogram = Histogram(
            _prometheus("score"), _NAMES["score"], ("concept", "language"), buckets=BUCKETS,
            registry=self.registry,
        )  # fmt: skip
        self.registry.register(_Asked(self._dropped, self.drift))

    def _make_otel(self) -> None:
        meter = otel.get_meter("compliance.monitor", __version__)
        self._otel_counters = {
            name: meter.create_counter(_otel(name), "1", _NAMES[name])
            for name in ("requests", "alerts", "sensor_failures")
        }
        self._otel_histogram = meter.create_histogram(
            _otel("score"), "1", _NAMES["score"],
            explicit_bucket_boundaries_advisory=list(BUCKETS),
        )  # fmt: skip

        def dropped(_: otel.CallbackOptions) -> Iterable[otel.Observation]:
            return [otel.Observation(n, {"reason": r}) for r, n in self._dropped().items()]

        def drift(_: otel.CallbackOptions) -> Iterable[otel.Observation]:
            return [
                otel.Observation(value, {"concept": concept, "language": language})
                for (concept, language), value in self.drift().items()
            ]

        meter.create_observable_counter(
            _otel("dropped_events"), [dropped], "1", _NAMES["dropped_events"]
        )
        meter.create_observable_gauge(_otel("drift"), [drift], "1", _NAMES["drift"])


class _Asked(Collector):
    """What is computed when Prometheus asks."""

    def __init__(
        self,
        dropped: Callable[[], Mapping[str, int]],
        drift: Callable[[], Mapping[tuple[str, str], float]],
    ) -> None:
        self._dropped, self._drift = dropped, drift

    def collect(self) -> Iterator[Any]:
        lost = CounterMetricFamily(
            _prometheus("dropped_events"), _NAMES["dropped_events"], labels=["reason"]
        )
        for reason, count in self._dropped().items():
            lost.add_metric([reason], count)
        yield lost
        gauge = GaugeMetricFamily(
            _prometheus("drift"), _NAMES["drift"], labels=["concept", "language"]
        )
        for key, value in self._drift().items():
            gauge.add_metric(list(key), value)
        yield gauge


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Largest distance between two empirical distribution functions, of sorted values."""
    both = np.concatenate([a, b])
    shares = [np.searchsorted(values, both, side="right") / len(values) for values in (a, b)]
    return float(np.abs(shares[0] - shares[1]).max())


def _prometheus(name: str) -> str:
    return f"compliance_monitor_{name}"


def _otel(name: str) -> str:
    return f"compliance.monitor.{name}"
