"""The chapter on the audit trail: what was recorded, in which order, and what that does not prove.

The trail is read before the entry that records the report itself can be written, so it ends there.
"""

from collections.abc import Iterator, Sequence

from compliance.records.base import digest_of
from compliance.records.report import TrailRow, TrailSection, TrailStep
from compliance.records.trail import Entry
from compliance.reports.context import Context
from compliance.reports.numbers import write_count
from compliance.trail import of_run, openings, openings_of, run_name

KINDS = (
    "suite-registered",
    "plan-frozen",
    "run-started",
    "run-finished",
    "fit-carried",
    "locked",
    "confirmation-opened",
    "assessed",
    "report-built",
    "deviation",
    "reviewed",
    "approved",
    "released",
    "signed",
    "superseded",
    "withdrawn",
    "time-stamped",
    "key-changed",
    "torn-tail",
)
"""Kinds of entries that there are words for."""

STAMPED = "time-stamped"
PASSES = ("fit", "confirm")
NAMED = ("digest", "lock", "evidence", "root")
"""Facts that hold the digest of what an entry is about."""

SHORT = len("sha256:") + 12
"""Characters of a digest in tables; the files themselves have the whole of it."""


def trail_section(ctx: Context, entries: Sequence[Entry] | None) -> TrailSection:
    """The trail's entries as a table, and whether the steps stand in the order they need.

    Args:
        ctx: Evidence, law and words.
        entries: The trail up to the report. None: it was not at hand, which is said.
    """
    words = ctx.words.trail
    if entries is None:
        return TrailSection(
            steps=(), order=words["absent"], openings="", runs="", deviations=(), none_stated="",
            rows=(), notes=(words["chain"], words["clock"]),
        )  # fmt: skip
    run = run_name(ctx.plan)
    steps = _steps(ctx, of_run(entries, run))
    stated = tuple(_stated(ctx, entries))
    return TrailSection(
        steps=tuple(_step(ctx, key, entry) for key, entry in steps.items()),
        order=_order(ctx, steps),
        openings=_openings(ctx, entries, run),
        runs=_runs(ctx, entries, run),
        deviations=tuple(words["deviation_stated"].format(**facts) for facts in stated),
        none_stated="" if stated else words["no_deviation"],
        rows=tuple(_row(ctx, entry, run) for entry in entries),
        notes=(words["chain"], _times(ctx, entries), words["ends"]),
    )


def deviation_notices(ctx: Context, entries: Sequence[Entry] | None) -> Iterator[str]:
    """What the first page says of deviations that were stated."""
    for facts in _stated(ctx, entries or ()):
        yield ctx.words.notices["deviation"].format(**facts)


def _stated(ctx: Context, entries: Sequence[Entry]) -> Iterator[dict[str, object]]:
    """Deviations of this run, and those stated for no run in particular."""
    for entry in entries:
        if entry.kind == "deviation" and entry.facts.get("run") in (None, run_name(ctx.plan)):
            number = ctx.words.trail["entry"].format(number=entry.sequence)
            yield {"entry": number, "actor": entry.actor, "text": entry.facts.get("text", "?")}


def _runs(ctx: Context, entries: Sequence[Entry], run: str) -> str:
    """Runs that were begun in this folder. One that was given up stays visible."""
    words = ctx.words.trail
    begun = {str(e.facts.get("run")) for e in entries if e.kind == "plan-frozen"} - {run}
    if not begun:
        return words["run_alone"]
    built = {str(e.facts.get("run")) for e in entries if e.kind == "report-built"}
    return words["run_others"].format(
        plans=write_count(1 + len(begun)),
        reported=write_count(len(begun & built)),
        abandoned=write_count(len(begun - built)),
        openings=write_count(len(openings(entries))),
    )


def _times(ctx: Context, entries: Sequence[Entry]) -> str:
    """Whether an outside authority stamped heads of the trail."""
    words = ctx.words.trail
    stamped = [words["entry"].format(number=e.sequence) for e in entries if e.kind == STAMPED]
    return words["stamped"].format(here=", ".join(stamped)) if stamped else words["clock"]


def _steps(ctx: Context, entries: Sequence[Entry]) -> dict[str, Entry | None]:
    """The entry of each step of a run, in the order the steps need.

    Of the plan and the lock it is the one that names this evidence's own; of what must not come
    too early the first, of the assessment the last.
    """
    plan, lock = digest_of(ctx.plan), digest_of(ctx.evidence.lock)
    carried = ctx.plan.locked_by is not None
    return {
        "step_plan": _first(entries, "plan-frozen", digest=plan),
        "step_carried" if carried else "step_fit": _first(
            entries, "fit-carried" if carried else "run-started"
        ),
        "step_lock": _first(entries, "locked", digest=lock),
        "step_open": _first(entries, "confirmation-opened"),
        "step_confirm": _first(entries, "run-started", **{"pass": "confirm"}),
        "step_assess": _first(entries[::-1], "assessed"),
    }


def _first(entries: Sequence[Entry], kind: str, **facts: str) -> Entry | None:
    found = (e for e in entries if e.kind == kind and facts.items() <= e.facts.items())
    return next(found, None)


def _order(ctx: Context, steps: dict[str, Entry | None]) -> str:
    words = ctx.words.trail
    missing = [words[key] for key, entry in steps.items() if entry is None]
    if missing:
        return words["incomplete"].format(steps=ctx.joined(missing))
    found = [(key, entry.sequence) for key, entry in steps.items() if entry is not None]
    for (before, earlier), (step, later) in zip(found, found[1:], strict=False):
        if later <= earlier:
            return words["out_of_order"].format(step=words[step], before=words[before])
    return words["in_order"]


def _openings(ctx: Context, entries: Sequence[Entry], run: str) -> str:
    """How often the test items were opened, and where this trail says so."""
    words, count = ctx.words.trail, ctx.evidence.confirm_openings
    own = openings(of_run(entries, run))
    if not own:
        return words["opened_unseen"].format(count=count)
    last, facts = own[-1]
    lines = {*(line for line, _ in own), *openings_of(entries[:last], facts.get("groups") or ())}
    here = [words["entry"].format(number=line) for line in sorted(lines)]
    key = "opened_once" if count == 1 else "opened_often"
    return words[key].format(count=count, here=", ".join(here))


def _step(ctx: Context, key: str, entry: Entry | None) -> TrailStep:
    words = ctx.words.trail
    return TrailStep(
        label=words[key],
        entry=None if entry is None else words["entry"].format(number=entry.sequence),
        at=None if entry is None else _moment(entry.at),
    )


def _row(ctx: Context, entry: Entry, run: str) -> TrailRow:
    what, other = _what(ctx, entry), entry.facts.get("run", run)
    named = next((entry.facts[key] for key in NAMED if key in entry.facts), None)
    return TrailRow(
        number=str(entry.sequence),
        at=_moment(entry.at),
        what=what if other == run else ctx.words.trail["of_run"].format(what=what, run=other),
        actor=entry.actor,
        about=None if named is None else shortened(str(named)),
        digest=shortened(entry.digest),
    )


def _what(ctx: Context, entry: Entry) -> str:
    """What happened, in words; a kind of a newer version by its name."""
    words, facts = ctx.words.trail, entry.facts
    if entry.kind not in KINDS:
        return words["unknown"].format(kind=entry.kind)
    name = facts.get("pass")
    written = {
        "pass": words[str(name)] if name in PASSES else name,
        "items": _count(facts.get("items")),
        "size": _count(facts.get("size")),
    }
    return words[entry.kind].format_map(_Facts({**facts, **written}))


class _Facts(dict[str, object]):
    """Facts of an entry; one that is missing is shown as a question mark."""

    def __missing__(self, key: str) -> str:
        return "?"


def _count(value: object) -> str:
    return write_count(value) if isinstance(value, int) else "?"


def shortened(digest: str) -> str:
    """The beginning of a digest, enough to tell digests of one pack apart."""
    return digest if len(digest) <= SHORT else digest[:SHORT] + "…"


def _moment(at: str) -> str:
    """``2026-11-22T15:42:43Z`` as ``2026-11-22 15:42:43``; the column says that it is UTC."""
    return at.replace("T", " ").removesuffix("Z")
