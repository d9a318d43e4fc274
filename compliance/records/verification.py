"""What a verifier did, what it found, and first of all what it did not do."""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Literal

from compliance.records.base import Digest, Record
from compliance.records.finding import Verdict
from compliance.records.page import printable


class Outcome(StrEnum):
    """What became of one check."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_CHECKED = "not-checked"


class Check(Record):
    """One thing that was looked at. A check that fails in several files is there several times."""

    name: str
    """Such as ``manifest``, ``signature`` or ``issuer``."""

    status: Outcome
    path: str | None = None
    """The file it is about, relative to the pack."""

    message: str
    """One sentence for a reader; it does not repeat the path."""

    @property
    def line(self) -> str:
        """The check as one line of text."""
        place = f"{self.path}: " if self.path else ""
        return printable(f"{self.status.value.replace('-', ' ')}: {place}{self.message}")


class VerdictChange(Record):
    """A cell whose verdict would be another under an auditor's own limits."""

    cell: str
    """Its key: concept, language, modality and rendering."""

    before: Verdict
    after: Verdict
    reason: str
    """Which rule of the verdicts matched then."""

    conditions: tuple[str, ...] = ()
    """Those that fell out otherwise, with the status before and after."""

    @property
    def line(self) -> str:
        """The change as one line of text."""
        why = f" ({'; '.join(self.conditions)})" if self.conditions else ""
        return f"{self.cell}: {self.before} -> {self.after}, {self.reason}{why}"


class LawChange(Record):
    """A point of the law whose state would be another under an auditor's own mapping."""

    provision: str
    """As people cite it."""

    before: str
    """``measured``, ``declared``, ``not-applicable``, ``not-covered`` or ``not-mapped``."""

    after: str

    @property
    def line(self) -> str:
        """The change as one line of text."""
        return f"{self.provision}: {self.before} -> {self.after}"


class Verification(Record):
    """All checks of one pack at one level."""

    pack: str
    """Name of the folder or file that was looked at."""

    level: Literal["integrity", "recompute", "reproduce"]
    checks: tuple[Check, ...]
    root_digest: Digest | None = None
    """As recomputed from the files; absent where they cannot be read."""

    verdict_changes: tuple[VerdictChange, ...] | None = None
    """Under other limits. Absent: none were given."""

    law_changes: tuple[LawChange, ...] | None = None
    """Under another mapping. Absent: none was given."""

    @property
    def ok(self) -> bool:
        """Whether something was checked and nothing failed. See ``summary`` for what was not."""
        return any(check.status is Outcome.PASSED for check in self.checks) and not self.failed

    @property
    def failed(self) -> tuple[Check, ...]:
        return self._with(Outcome.FAILED)

    @property
    def not_checked(self) -> tuple[Check, ...]:
        return self._with(Outcome.NOT_CHECKED)

    @property
    def passed(self) -> tuple[Check, ...]:
        return self._with(Outcome.PASSED)

    def summary(self) -> list[str]:
        """Lines for a reader: what was not checked, what failed, what passed, and the count.

        After these what an auditor's own limits or mapping would change.
        """
        ordered = (*self.not_checked, *self.failed, *self.passed)
        counts = (
            f"{len(self.failed)} failed, {len(self.passed)} passed, "
            f"{len(self.not_checked)} not checked"
        )
        return [
            *(check.line for check in ordered),
            f"{self.pack}: level {self.level}: {counts}",
            *_listed("verdicts under the given limits, cut-offs as locked", self.verdict_changes),
            *_listed("points of the law under the given mapping", self.law_changes),
        ]

    def _with(self, status: Outcome) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.status is status)


def _listed(
    title: str, changes: Sequence[VerdictChange] | Sequence[LawChange] | None
) -> Iterator[str]:
    """Changes below their number; nothing where nothing was asked."""
    if changes is not None:
        yield f"{title}: {len(changes) or 'none'} changed"
        yield from (f"  {change.line}" for change in changes)
