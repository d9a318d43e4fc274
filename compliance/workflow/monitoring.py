"""What a monitor left behind: its event log, checked, reported and reviewed.

::

    log = check_log(Path("log"))
    log.damage, log.gaps
    found = report_monitoring([Path("log")], Path("packs/helpdesk-1.0.0"))
    queue_alerts(Path("log"), Path("queue.csv"))
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from compliance.errors import MonitorError
from compliance.progress import SILENT, Progress
from compliance.storage import write_text

if TYPE_CHECKING:
    from collections import Counter

    from compliance.assessment.monitoring import LockedCell
    from compliance.monitor.locked import Locked
    from compliance.monitor.reading import Log
    from compliance.records.monitoring import Event
    from compliance.records.monitoring_report import (
        ChainHead,
        Labels,
        MonitoringReport,
        QueueRow,
        Reasoned,
    )

LEVEL = 0.95
"""Of intervals."""

FAMILY_ERROR = 0.05
"""What adjusted p values of drift are held against."""

TOLD = 1000
"""Events after which progress is told."""


def check_log(folder: Path) -> Log:
    """Read a whole event log and check every chain in it. Needs no torch.

    Args:
        folder: That of an event log, which may still be written.

    Raises:
        MonitorError: It is no log, or cannot be read.
    """
    from compliance.monitor.reading import read_log

    return read_log(folder)


@dataclass(frozen=True)
class Queued:
    """What was written for review."""

    alerts: int
    damage: tuple[str, ...]
    """What is wrong with the log; alerts of chains with damage are left out."""


def report_monitoring(
    logs: Sequence[Path], pack: Path, *, reviewed: Sequence[Path] = (), page: Path | None = None,
    progress: Progress = SILENT,
) -> MonitoringReport:  # fmt: skip
    """Say what event logs show of the probes of a pack. Needs no torch.

    Args:
        logs: Folders of event logs.
        pack: The pack whose probes watched, a folder or a ZIP.
        reviewed: Queues with what people decided about alerts.
        page: Where to write the report as an HTML file. None: nowhere.
        progress: Told what is being done.

    Raises:
        MonitorError: There is no log, one is given twice, or the pack was changed.
        PackError: There is no pack.
        SuiteError: A queue cannot be read.
        StorageError: The page cannot be written.
    """
    from compliance.assessment import monitoring
    from compliance.monitor.locked import read_locked
    from compliance.packs.reading import read_pack
    from compliance.records.monitoring_report import MonitoringReport, OtherPack
    from compliance.suites.reviewed import read_queue

    progress.stage(f"checking {pack.name}")
    locked = read_locked(pack)
    with read_pack(pack) as opened:
        pack_id = opened.statement.predicate.pack_id
    rows = [row for path in reviewed for row in read_queue(path) if row.pack == locked.root]
    found = _read(logs, progress)
    cells = _cells(locked)
    seen = monitoring.count_events(_events(found, progress), cells, pack=locked.root)
    assessed = monitoring.assess_cells(
        seen, cells, model=locked.model.weights_digest, level=LEVEL, family_error=FAMILY_ERROR
    )
    report = MonitoringReport(
        pack=locked.root,
        pack_id=pack_id,
        model=locked.model.weights_digest,
        damage=tuple(_named(log, one) for log in found for one in log.damage),
        gaps=tuple(_named(log, one) for log in found for one in log.gaps),
        dropped=sum(log.dropped for log in found),
        chains=tuple(head for log in found for head in _heads(log)),
        since=seen.since,
        until=seen.until,
        sequences=seen.sequences,
        undeclared=seen.undeclared,
        without_language=seen.without_language,
        unfinished=len(seen.begun),
        failures=seen.failed_for.total(),
        failed_for=_reasoned(seen.failed_for),
        without_cut_off=_reasoned(seen.without_cut_off),
        contradictions=seen.contradictions,
        clock_changes=seen.clock_changes,
        models=monitoring.models_seen(seen),
        other_packs=tuple(
            OtherPack(pack=digest, sequences=n) for digest, n in sorted(seen.packs.items())
        ),
        level=LEVEL,
        alpha=locked.alpha,
        family_error=FAMILY_ERROR,
        tests=len(assessed),
        cells=assessed,
        reviewed=monitoring.reviewed_cells(rows, level=LEVEL) if reviewed else None,
        cannot_show=monitoring.CANNOT_SHOW,
    )
    if page is not None:
        from compliance.reports.monitoring_page import render_monitoring_page

        write_text(page, render_monitoring_page(report))
    return report


def queue_alerts(folder: Path, out: Path) -> Queued:
    """Write the alerts of a log to a new file, for people to review. It holds no words.

    Args:
        folder: That of an event log.
        out: A ``.csv`` or ``.jsonl`` file that is not there yet.

    Raises:
        MonitorError: It is no log.
        SuiteError: The file's name ends otherwise.
        StorageError: The file is there, since it may hold decisions, or cannot be written.
    """
    from compliance.suites.reviewed import write_queue

    log = check_log(folder)
    alerts = write_queue(out, _alerts(_intact(log)))
    return Queued(alerts=alerts, damage=tuple(str(one) for one in log.damage))


def label_alerts(queue: Path, pack: Path, target: Path) -> Labels:
    """Make a suite of the false alerts of a queue, and say why other rows give no item.

    Args:
        queue: With what reviewers decided.
        pack: The pack whose probes watched; the suite takes its concepts from there.
        target: Folder of the suite; must not be there. Nothing is made where no row gives an item.

    Raises:
        MonitorError: The pack was changed.
        PackError: There is no pack.
        SuiteError: The queue cannot be read, or the folder's name is no name of a suite.
        StorageError: ``target`` is there already, or cannot be written.
    """
    from compliance.assessment.monitoring import reviewed_cells
    from compliance.monitor.locked import read_locked
    from compliance.packs.reading import read_pack
    from compliance.records.monitoring_report import Labels
    from compliance.suites.reviewed import read_queue, reviewed_items, write_reviewed_suite

    root = read_locked(pack).root
    with read_pack(pack) as opened:
        datasheets = [suite.datasheet for suite in opened.evidence.plan.suites]
    rows = read_queue(queue)
    sheets = {name: one for sheet in datasheets for name, one in sheet.concepts.items()}
    found = reviewed_items(rows, sheets, pack=root)
    if found.items:
        paired = {sheet.paired for sheet in datasheets if set(found.concepts) & set(sheet.concepts)}
        if len(paired) > 1:
            raise MonitorError(
                f"{queue.name}: alerts of concepts with pairs and of concepts without",
                hint="make a queue, and a suite, for each",
            )
        write_reviewed_suite(target, found, sheets, paired=paired.pop())
    return Labels(
        suite=target.name if found.items else None,
        items=len(found.items),
        unused=found.unused,
        reviewed=reviewed_cells(rows, level=LEVEL),
    )


def _read(logs: Sequence[Path], progress: Progress) -> list[Log]:
    found: list[Log] = []
    for folder in logs:
        progress.stage(f"checking the log in {folder.name}")
        found.append(check_log(folder))
    chains = [chain.id for log in found for chain in log.chains]
    if len(set(chains)) < len(chains):
        twice = next(chain for chain in chains if chains.count(chain) > 1)
        raise MonitorError(
            f"chain {twice} is in two of the logs, so that its events would count twice",
            hint="give each log once, and no copies",
        )
    return found


def _intact(log: Log) -> Log:
    """The log without its damaged chains: of these no line can be believed."""
    return replace(log, chains=[chain for chain in log.chains if chain.id not in _damaged(log)])


def _damaged(log: Log) -> set[str]:
    files = {one.file for one in log.damage}
    return {chain.id for chain in log.chains if files & {path.name for path in chain.paths}}


def _events(logs: Sequence[Log], progress: Progress) -> Iterator[Event]:
    """Events of all chains without damage, told as they come."""
    intact = [_intact(log) for log in logs]
    total = sum(chain.events for log in intact for chain in log.chains)
    progress.stage(f"counting {total:,} events")
    began = time.monotonic()
    events = (event for log in intact for event in log.events())
    for done, event in enumerate(events, start=1):
        yield event
        if done % TOLD == 0 and done < total:
            passed = time.monotonic() - began
            progress.advance(done, total, passed / done * (total - done))


def _heads(log: Log) -> Iterator[ChainHead]:
    from compliance.records.monitoring_report import ChainHead

    damaged = _damaged(log)
    for chain in log.chains:
        yield ChainHead(
            log=_folder(log), chain=chain.id, first=chain.first, last=chain.last, head=chain.head,
            closed=chain.closed, damaged=chain.id in damaged,
        )  # fmt: skip


def _cells(locked: Locked) -> list[LockedCell]:
    import numpy as np

    from compliance.assessment.monitoring import LockedCell

    return [
        LockedCell(
            concept=probe.concept,
            language=language,
            cut_off=cut_off.value,
            calibration=probe.calibration.get(language, np.empty(0)),
        )
        for probe in locked.probes
        for language, cut_off in probe.cut_offs.items()
    ]


def _alerts(log: Log) -> Iterator[QueueRow]:
    """Of sequences that came to their end."""
    from compliance.records.monitoring import Observed
    from compliance.records.monitoring_report import QueueRow

    for event in log.events():
        seen = event.what
        if not isinstance(seen, Observed) or not seen.complete or seen.language is None:
            continue
        for one in seen.scores:
            if one.alert and one.score is not None and one.cut_off is not None:
                yield QueueRow(
                    request=seen.request, at=event.at, concept=one.concept, language=seen.language,
                    score=one.score, cut_off=one.cut_off, item=seen.item, model=seen.model,
                    pack=seen.pack,
                )  # fmt: skip


def _reasoned(counts: Counter[str]) -> tuple[Reasoned, ...]:
    from compliance.records.monitoring_report import Reasoned

    ordered = sorted(counts.items(), key=lambda found: (-found[1], found[0]))
    return tuple(Reasoned(reason=reason, count=count) for reason, count in ordered)


def _named(log: Log, one: object) -> str:
    """With the folder, by its name alone: where it lies is nobody's business."""
    return f"{_folder(log)}/{one}"


def _folder(log: Log) -> str:
    from compliance.records.page import printable

    return printable(log.folder.resolve().name).replace("\n", " ")
