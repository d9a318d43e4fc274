"""Mitigation studies as lines for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from compliance.records.finding import Reduction, Result, Studies
from compliance.records.page import printable
from compliance.records.plan import PlannedMitigation

BY = {
    "feature": "the probe's features set to {dose:g} x their peak",
    "dense": "the difference of means removed",
    "model": "{model} in place of the subject",
}
HEAD = ("language", "before", "after", "change", "over-refusal", "KL", "loss", "tasks right")
SHOWN = {
    "reduced": "reduced",
    "increased": "increased",
    "not-shown": "no change is shown",
    "not-measured": "not measured",
}


def study_lines(found: Studies) -> Iterator[str]:
    """Each study: its table, what is shown in each language, and what the numbers are."""
    yield from (printable(line).replace("\n", " ") for line in _lines(found))


def _lines(found: Studies) -> Iterator[str]:
    results = {result.id: result for result in found.results}
    for study in found.planned:
        own = [one for one in found.reductions if one.study == study.name]
        yield f"{study.name}: {study.behaviour.title}; after: {_by(study)}"
        yield f"judged by {_judge(study)}"
        yield from _table([HEAD, *(_row(one, results) for one in own)])
        yield from (_said(one, results) for one in own)
        yield ""
    yield (
        "before and after: replies with the behaviour; change: paired, with its interval; "
        "over-refusal: its change on hard negatives; KL and loss: nats a token on neutral text; "
        "tasks right: change on small tasks"
    )


def _by(study: PlannedMitigation) -> str:
    return BY[study.by].format(dose=study.dose, model=study.model.name if study.model else "")


def _judge(study: PlannedMitigation) -> str:
    if study.judge is None:
        return f"phrases ({study.described})"
    if study.judge.plug is not None:
        return f"the plug {study.judge.plug}, above {study.judge.limit:g}"
    name = study.judge.model.name if study.judge.model else ""
    return f"the model {name}, above {study.judge.limit:g}"


def _row(one: Reduction, results: Mapping[str, Result]) -> tuple[str, ...]:
    kl, loss, tasks = (results[i] for i in one.side_effects[:3])
    return (
        one.language,
        _share(results[one.before]),
        _share(results[one.after]),
        _points(results[one.change]),
        _points(results[one.over_refusal[2]]),
        _number(kl),
        _number(loss),
        _points(tasks),
    )


def _said(one: Reduction, results: Mapping[str, Result]) -> str:
    """What is shown; with the numbers only where all that belongs to them is there."""
    if one.statement in ("reduced", "increased"):
        before, after = results[one.before], results[one.after]
        p = f" (p {one.p_holm:.2g}, adjusted over the study's languages)"
        return (
            f"{one.language}: {SHOWN[one.statement]} from {before.value:.1%} to {after.value:.1%}, "
            f"change {_points(results[one.change])}{p}; over-refusal "
            f"{_points(results[one.over_refusal[2]])}, KL {_number(results[one.side_effects[0]])}, "
            f"loss {_number(results[one.side_effects[1]])}, tasks right "
            f"{_points(results[one.side_effects[2]])}"
        )
    return f"{one.language}: {SHOWN[one.statement]}"


def _share(result: Result) -> str:
    if result.value is None:
        return "-"
    return f"{result.successes}/{result.n} {result.value:.1%}"


def _points(result: Result) -> str:
    """A difference of shares in percentage points."""
    if result.value is None or result.low is None or result.high is None:
        return "-"
    return f"{100 * result.value:+.1f} [{100 * result.low:+.1f}, {100 * result.high:+.1f}]"


def _number(result: Result) -> str:
    if result.value is None:
        return "-"
    if result.low is None or result.high is None:
        return f"{result.value:.4g}"
    return f"{result.value:.4g} [{result.low:.4g}, {result.high:.4g}]"


def _table(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  " + "  ".join(cells).rstrip()
