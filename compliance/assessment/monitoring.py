"""What the log of a watched model shows: alerts, drift and what went wrong. Pure, without torch.

    seen = count_events(log.events(), locked, pack=root)
    cells = assess_cells(seen, locked, model=weights, level=0.95, family_error=0.05)

A sequence is counted once, by the event after which nothing more is to come. Whether an alert is
right cannot be known from a log, so that the share of alerts is no rate of false alarms. Drift asks
whether scores of traffic have the distribution of those that the cut-off was set on. Every cell of
the lock is a test of one family, for each model that served; a cell without traffic counts with
p = 1, so that what was not seen makes nothing else look surer.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from compliance.records.monitoring import ClockChanged, Event, Failed, Observed, ProbeScore
from compliance.records.monitoring_report import (
    Drift,
    ModelSeen,
    QueueRow,
    Rate,
    ReviewedCell,
    WatchedCell,
)
from compliance.statistics.distributions import TwoSamples, two_samples
from compliance.statistics.multiplicity import holm
from compliance.statistics.proportion import wilson

NO_TRAFFIC = "no sequence was seen"
NO_CUT_OFF = "the lock has no cut-off in this language"
NO_CALIBRATION = "the pack withholds the scores that its cut-off was set on"

CANNOT_SHOW = (
    "Nobody has labelled this traffic: the share of alerts is no rate of false alarms, and what "
    "the probes miss is not seen at all.",
    "Intervals and p values take sequences as independent. Those of one person or one conversation "
    "are not, nor are inputs that come again; then intervals are too short and p too small.",
    "A difference from calibration says that traffic is unlike the harmless items of the suites. "
    "It does not say why, nor that the model changed. Looking often finds one now and then.",
    "A log shows that no line of it was changed. It cannot show that the end of a chain or a whole "
    "chain was taken away, nor that a request never reached the monitor; kept heads help.",
)
"""What is to be said with every report."""

Place = tuple[str, str, str]
"""Model, concept and language."""


@dataclass(frozen=True)
class LockedCell:
    """A concept in a language, as a pack locked it."""

    concept: str
    language: str
    cut_off: float | None
    calibration: NDArray[np.float64]
    """Benign scores that the cut-off was set on; none where the pack withholds them. [n]"""


@dataclass
class Seen:
    """What was counted of one pack's events."""

    scores: defaultdict[Place, array] = field(default_factory=lambda: defaultdict(_numbers))
    """Of sequences that a cut-off was applied to."""

    alerts: Counter[Place] = field(default_factory=Counter)
    inputs: defaultdict[Place, set[str]] = field(default_factory=lambda: defaultdict(set))
    models: Counter[str] = field(default_factory=Counter)
    others: set[str] = field(default_factory=set)
    """Models that the pack did not measure."""

    packs: Counter[str] = field(default_factory=Counter)
    """Sequences of other packs."""

    undeclared: int = 0
    without_language: int = 0
    without_cut_off: Counter[str] = field(default_factory=Counter)
    contradictions: int = 0
    failed_for: Counter[str] = field(default_factory=Counter)
    begun: set[str] = field(default_factory=set)
    """Requests whose end was not seen."""

    clock_changes: int = 0
    since: str | None = None
    until: str | None = None

    @property
    def sequences(self) -> int:
        """That came to their end."""
        return self.models.total()


def _numbers() -> array:
    return array("d")


def count_events(events: Iterable[Event], locked: Sequence[LockedCell], *, pack: str) -> Seen:
    """Count what happened while probes of one pack watched.

    Args:
        events: By time.
        locked: Cells of the pack.
        pack: Its root digest; sequences of other packs are counted apart.
    """
    seen = Seen()
    cut_offs = {(cell.concept, cell.language): cell.cut_off for cell in locked}
    for event in events:
        match event.what:
            case Observed() | Failed() if event.what.pack != pack:
                seen.packs[event.what.pack] += not isinstance(event.what, Observed) or (
                    event.what.complete
                )
            case Observed():
                _span(seen, event.at)
                _observe(seen, event.what, cut_offs)
            case Failed(reason=reason, request=request):
                _span(seen, event.at)
                seen.failed_for[reason] += 1
                seen.begun.discard(request)
            case ClockChanged():
                seen.clock_changes += 1
    return seen


def _span(seen: Seen, at: str) -> None:
    seen.since = at if seen.since is None else min(seen.since, at)
    seen.until = at if seen.until is None else max(seen.until, at)


def _observe(seen: Seen, event: Observed, cut_offs: Mapping[tuple[str, str], float | None]) -> None:
    if not event.complete:
        seen.begun.add(event.request)
        return
    seen.begun.discard(event.request)
    seen.models[event.model] += 1
    if event.another_model:
        seen.others.add(event.model)
    seen.undeclared += not event.declared
    seen.without_language += all(event.language != language for _, language in cut_offs)
    for score in event.scores:
        _take(seen, event, score, cut_offs.get((score.concept, event.language or "")))


def _take(seen: Seen, event: Observed, score: ProbeScore, cut_off: float | None) -> None:
    if score.score is None or score.cut_off is None or event.language is None:
        seen.without_cut_off[score.reason or "no reason is given"] += 1
        seen.contradictions += score.alert
        return
    if score.cut_off != cut_off or score.alert != (score.score > cut_off):
        seen.contradictions += 1
        return
    place = (event.model, score.concept, event.language)
    seen.scores[place].append(score.score)
    seen.alerts[place] += score.alert
    if event.item is not None:
        seen.inputs[place].add(event.item)


def models_seen(seen: Seen) -> tuple[ModelSeen, ...]:
    """Models by the number of their sequences."""
    return tuple(
        ModelSeen(model=model, sequences=n, another=model in seen.others)
        for model, n in sorted(seen.models.items(), key=lambda found: (-found[1], found[0]))
    )


def assess_cells(
    seen: Seen, locked: Sequence[LockedCell], *, model: str, level: float, family_error: float
) -> tuple[WatchedCell, ...]:
    """Rates and drift of every locked cell, for each model that served.

    Args:
        seen: What was counted.
        locked: Cells of the pack, in its order.
        model: The one that the pack measured; stands here also where nothing was seen.
        level: Of intervals.
        family_error: What the adjusted p values are held against.
    """
    models = [one.model for one in models_seen(seen)] or [model]
    places = [(one, cell) for one in models for cell in locked]
    tests = {
        index: two_samples(scores, cell.calibration)
        for index, (one, cell) in enumerate(places)
        if len(scores := seen.scores.get((one, cell.concept, cell.language), ()))
        and len(cell.calibration)
    }
    ps = [tests[index].p if index in tests else 1.0 for index in range(len(places))]
    adjusted = holm(ps).tolist() if ps else []
    return tuple(
        _cell(seen, one, cell, tests.get(index), adjusted[index], level, family_error)
        for index, (one, cell) in enumerate(places)
    )


def _cell(
    seen: Seen, model: str, cell: LockedCell, test: TwoSamples | None, p_holm: float,
    level: float, family_error: float,
) -> WatchedCell:  # fmt: skip
    place = (model, cell.concept, cell.language)
    n = len(seen.scores.get(place, ()))
    drift = None if test is None else Drift(
        distance=test.distance, at=test.at, below_traffic=test.below_first,
        below_calibration=test.below_second, calibration=len(cell.calibration), p=test.p,
        p_holm=p_holm, method=test.method, differs=p_holm <= family_error,
    )  # fmt: skip
    return WatchedCell(
        model=model,
        concept=cell.concept,
        language=cell.language,
        cut_off=cell.cut_off,
        inputs=len(seen.inputs.get(place, ())),
        alerts=rate(seen.alerts[place], n, level),
        drift=drift,
        reason=_reason(cell, n),
    )


def _reason(cell: LockedCell, n: int) -> str | None:
    if cell.cut_off is None:
        return NO_CUT_OFF
    if n == 0:
        return NO_TRAFFIC
    return None if len(cell.calibration) else NO_CALIBRATION


def rate(successes: int, n: int, level: float) -> Rate | None:
    """A share with Wilson's interval; None of nothing."""
    if n == 0:
        return None
    found = wilson(successes, n, level)
    return Rate(
        successes=successes, n=n, value=successes / n, low=found.low or 0.0,
        high=1.0 if found.high is None else found.high,
    )  # fmt: skip


def reviewed_cells(rows: Iterable[QueueRow], *, level: float) -> tuple[ReviewedCell, ...]:
    """What was decided about alerts, by concept and language.

    Args:
        rows: Of queues; of two rows about one alert the later one counts.
        level: Of the intervals.
    """
    last = {(row.request, row.concept): row for row in rows}
    found: Mapping[tuple[str, str], Counter[str | None]] = defaultdict(Counter)
    for row in last.values():
        found[row.concept, row.language][row.decision] += 1
    return tuple(
        ReviewedCell(
            concept=concept,
            language=language,
            true_alerts=counts["true-alert"],
            false_alerts=counts["false-alert"],
            unsure=counts["unsure"],
            open=counts[None],
            precision=rate(
                counts["true-alert"], counts["true-alert"] + counts["false-alert"], level
            ),
        )
        for (concept, language), counts in sorted(found.items())
    )
