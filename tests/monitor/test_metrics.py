"""Counts, as OpenTelemetry's own SDK and Prometheus' own parser read them."""

import asyncio
import socket
import urllib.request

import numpy as np
import pytest
import torch
from opentelemetry import metrics as otel
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client.parser import text_string_to_metric_families
from scipy.stats import ks_2samp

from compliance.monitor.chain import LOCK_FILE, _held
from compliance.monitor.log import EventLog
from compliance.monitor.metrics import LEAST, distance
from tests.monitor.conftest import said


@pytest.fixture
def reader(monkeypatch) -> InMemoryMetricReader:
    """OpenTelemetry's SDK, which keeps what it is told; set up for one test alone."""
    found = InMemoryMetricReader()
    provider = MeterProvider([found])
    monkeypatch.setattr(otel, "get_meter", provider.get_meter)
    yield found
    provider.shutdown()


def points(reader: InMemoryMetricReader) -> dict[str, dict[tuple, object]]:
    data = reader.get_metrics_data()
    found: dict[str, dict[tuple, object]] = {}
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    key = tuple(sorted(dict(point.attributes).items()))
                    found.setdefault(metric.name, {})[key] = point
    return found


def samples(text: str) -> dict[tuple, float]:
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def serve(served, monitor, language: str | None, words: str) -> tuple[str, ...]:
    with monitor.request(language=language, item=said(words)) as seen, torch.no_grad():
        served.model(**served.inputs(words))
    return seen.alerts()


def test_both_count_what_the_events_say(served, tmp_path, reader):
    words = [item.text for item in served.items.values()
             if item.concept == "danger" and item.language == "en"]  # fmt: skip
    with served.attach(tmp_path) as monitor:
        alerts = [serve(served, monitor, "en", one) for one in words]
        serve(served, monitor, "x-unheard-of", "hello")
        with monitor.request(language="en", item=said("x")):
            pass
        port = _free_port()
        stop = monitor.serve_metrics(port)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            prometheus = samples(answer.read().decode())
        stop()
    told = points(reader)

    expected = sum("danger" in one for one in alerts)
    en, other = ("language", "en"), ("language", "other")
    danger = ("concept", "danger")
    assert expected > 0
    assert prometheus["compliance_monitor_requests_total", en] == len(words)
    assert prometheus["compliance_monitor_requests_total", other] == 1
    assert prometheus["compliance_monitor_alerts_total", danger, en] == expected
    assert prometheus["compliance_monitor_score_count", danger, en] == len(words)
    assert prometheus["compliance_monitor_sensor_failures_total",] == 1
    assert told["compliance.monitor.requests"][en,].value == len(words)
    assert told["compliance.monitor.requests"][other,].value == 1
    assert told["compliance.monitor.alerts"][danger, en].value == expected
    assert told["compliance.monitor.score"][danger, en].count == len(words)
    assert told["compliance.monitor.sensor_failures"][()].value == 1


def test_drift_is_scipys_statistic_against_the_calibration(served, tmp_path, reader):
    words = [f"{word} {n}" for n in range(10) for word in ("hello", "tiger", "stone zz")]
    with served.attach(tmp_path) as monitor:
        scores = []
        for one in words:
            with monitor.request(language="en", item=said(one)) as seen, torch.no_grad():
                served.model(**served.inputs(one))
            scores.append(next(s.score for s in seen.observed()[0].scores
                               if s.concept == "danger"))  # fmt: skip
        found = monitor.metrics.drift()["danger", "en"]
        calibration = monitor.locked.probes[0].calibration["en"]
        told = points(reader)["compliance.monitor.drift"]

    assert monitor.locked.probes[0].concept == "danger" and len(scores) >= LEAST
    assert found == pytest.approx(ks_2samp(scores, calibration).statistic)
    assert told[("concept", "danger"), ("language", "en")].value == pytest.approx(found)


def test_the_distance_is_scipys_also_with_ties():
    generator = np.random.default_rng(0)
    for _ in range(20):
        a = np.sort(generator.integers(0, 5, 40).astype(float))
        b = np.sort(generator.integers(0, 6, 25).astype(float))
        assert distance(a, b) == pytest.approx(ks_2samp(a, b).statistic)


def test_dropped_events_are_counted_by_reason(served, tmp_path, reader):
    with (
        EventLog(tmp_path, waiting=5) as log,
        served.attach(log) as monitor,
        _held(tmp_path / LOCK_FILE),
    ):
        for number in range(30):
            serve(served, monitor, "en", f"hello {number}")
        text = _asgi(monitor.metrics.asgi())
        told = points(reader)["compliance.monitor.dropped_events"]

    reason = ("reason", "too-many-waiting")
    count = samples(text)["compliance_monitor_dropped_events_total", reason]
    assert 20 <= count <= 30 and told[reason,].value == count


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _asgi(app) -> str:
    """What an ASGI server would be answered."""
    sent: list[dict] = []

    async def receive() -> dict:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 200
    return b"".join(message.get("body", b"") for message in sent).decode()
