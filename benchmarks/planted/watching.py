"""Serves a planted model from a pool of threads, with its audit's probe watching and without.

Requests are documents cut before their last ending; each is answered with the ending and a stop,
by greedy decoding. Triggered and ordinary documents come mixed. Rounds with the monitor and without
take turns and serve the same documents, so that a machine that slows down slows both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from benchmarks.planted.corpus import CONCEPT, cut
from benchmarks.planted.suppression import load_subject, ordinary_documents, triggered_documents
from compliance.monitor import Monitor, read_log
from compliance.probes.task import Reader

REPLY = 2
"""Words that are generated: the ending and the stop."""

Request = tuple[bool, str]
"""Whether it holds the trigger; and its text."""


@dataclass(frozen=True)
class Watched:
    """What the monitor said of every request, and what it cost."""

    triggered: int
    """Requests."""

    triggered_alerts: int
    ordinary: int
    ordinary_alerts: int
    unseen: int
    """Requests of which no event told a score: dropped, late or failed."""

    logged: int
    """Complete events in the log, which is read back and verified."""

    logged_alerts: int
    dropped: int
    failed: int
    damage: int
    bare_rates: tuple[float, ...]
    """Requests a second without the monitor, by round."""

    watched_rates: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Requests a second with the monitor, by those without; medians over rounds."""
        return median(self.watched_rates) / median(self.bare_rates)


def traffic(name: str, *, triggered: int, ordinary: int) -> list[Request]:
    """Fresh requests of both kinds in random order."""
    found = [(True, text) for text in triggered_documents(f"{name} triggered", triggered)]
    found += [(False, cut(text)[0]) for text in ordinary_documents(f"{name} ordinary", ordinary)]
    Random(name).shuffle(found)
    return found


def watch(
    folder: Path, pack: Path, log: Path, requests: Sequence[Request], *, threads: int, rounds: int
) -> Watched:
    """Serve every request once with the monitor and once without.

    Args:
        folder: With the model and the SAE.
        pack: Of the audit whose probe watches.
        log: Where events go; it must not be there yet.
        requests: In the order in which they are served.
        threads: That serve.
        rounds: Parts of the requests, each of which is served bare and then watched.
    """
    reader = load_subject(folder)
    bare, watched, seen = [], [], []
    size = -(-len(requests) // rounds)
    serve(reader, requests[:threads], threads, lambda text: answer(reader, text))
    for first in range(0, len(requests), size):
        part = requests[first : first + size]
        bare.append(serve(reader, part, threads, lambda text: answer(reader, text))[0])
        with Monitor.attach(
            reader.subject.model, pack, saes=[folder / "sae"], log=log,
            tokenizer=reader.subject.tokenizer, files=folder / "model",
        ) as monitor:  # fmt: skip
            rate, found = serve(
                reader, part, threads, lambda text, m=monitor: declared(m, reader, text)
            )
            watched.append(rate)
            seen += [one.observed() for one in found]
    return _watched(requests, seen, log, bare, watched)


def serve(
    reader: Reader, requests: Sequence[Request], threads: int, answered: Callable[[str], Any]
) -> tuple[float, list[Any]]:
    """Requests a second, and what was given for each; as fast as the threads can."""
    with ThreadPoolExecutor(threads) as pool:
        begun = time.perf_counter()
        found = list(pool.map(answered, [text for _, text in requests]))
        return len(requests) / (time.perf_counter() - begun), found


def answer(reader: Reader, text: str) -> None:
    """Generate the ending and the stop."""
    inputs = reader.subject.tokenizer(text, return_tensors="pt")
    reader.subject.model.generate(
        input_ids=inputs.input_ids, attention_mask=inputs.attention_mask, do_sample=False,
        min_new_tokens=REPLY, max_new_tokens=REPLY, pad_token_id=0,
    )  # fmt: skip


def declared(monitor: Monitor, reader: Reader, text: str) -> Any:
    """The same as a request that the monitor is told of."""
    with monitor.request(language="en", item=text) as seen:
        answer(reader, text)
    return seen


def _watched(
    requests: Sequence[Request], seen: Sequence[tuple[Any, ...]], log: Path,
    bare: Sequence[float], watched: Sequence[float],
) -> Watched:  # fmt: skip
    alerts = {True: 0, False: 0}
    counts, unseen = dict(alerts), 0
    for (triggered, _), events in zip(requests, seen, strict=True):
        if not events or events[0] is None:
            unseen += 1
            continue
        counts[triggered] += 1
        alerts[triggered] += CONCEPT in events[0].alerts
    found = read_log(log)
    complete = [e.what for e in found.events() if e.what.kind == "observed" and e.what.complete]
    return Watched(
        counts[True], alerts[True], counts[False], alerts[False], unseen, len(complete),
        sum(bool(event.alerts) for event in complete), found.dropped,
        found.counts.get("failed-sensor", 0), len(found.damage), tuple(bare), tuple(watched),
    )  # fmt: skip
