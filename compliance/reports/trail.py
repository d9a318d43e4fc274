"""The chapter on the audit trail: what was recorded, in which order, and what that does not prove.

The trail is read before the entry that records the report itself can be written, so it ends there.
"""

from collections.abc import Sequence

from compliance.records.base import digest_of
from compliance.records.report import TrailRow, TrailSection, TrailStep
from compliance.records.trail import Entry
from compliance.reports.context import Context
from compliance.reports.numbers import write_count

KINDS = (
    "suite-registered",
    "plan-frozen",
    "run-started",
    "run-finished",
    "locked",
    "confirmation-opened",
    "assessed",
    "report-built",
    "torn-tail",
)
"""Kinds of entries that there are words for."""

PASSES = ("fit", "confirm")
NAMED = ("digest", "lock", "evidence")
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
            steps=(), order=words["absent"], openings="", rows=(), notes=(words["chain"],)
        )
    steps = _steps(ctx, entries)
    return TrailSection(
        steps=tuple(_step(ctx, key, entry) for key, entry in steps.items()),
        order=_order(ctx, steps),
        openings=_openings(ctx, entries),
        rows=tuple(_row(ctx, entry) for entry in entries),
        notes=(words["chain"], words["ends"]),
    )


def _steps(ctx: Context, entries: Sequence[Entry]) -> dict[str, Entry | None]:
    """The entry of each step, in the order the steps need.

    Of the plan and the lock it is the one that names this evidence's own; of what must not come
    too early the first, of the assessment the last.
    """
    plan, lock = digest_of(ctx.plan), digest_of(ctx.evidence.lock)
    return {
        "step_plan": _first(entries, "plan-frozen", digest=plan),
        "step_fit": _first(entries, "run-started"),
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


def _openings(ctx: Context, entries: Sequence[Entry]) -> str:
    """How often the test items were opened, and where this trail says so."""
    words, count = ctx.words.trail, ctx.evidence.confirm_openings
    openings = [entry for entry in entries if entry.kind == "confirmation-opened"]
    here = [words["entry"].format(number=entry.sequence) for entry in openings]
    if not here:
        return words["opened_unseen"].format(count=count)
    key = "opened_once" if count == 1 else "opened_often"
    return words[key].format(count=count, here=", ".join(here))


def _step(ctx: Context, key: str, entry: Entry | None) -> TrailStep:
    words = ctx.words.trail
    return TrailStep(
        label=words[key],
        entry=None if entry is None else words["entry"].format(number=entry.sequence),
        at=None if entry is None else _moment(entry.at),
    )


def _row(ctx: Context, entry: Entry) -> TrailRow:
    named = next((entry.facts[key] for key in NAMED if key in entry.facts), None)
    return TrailRow(
        number=str(entry.sequence),
        at=_moment(entry.at),
        what=_what(ctx, entry),
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
