"""What a verifier did, what it found, and first of all what it did not do."""

from enum import StrEnum
from typing import Literal

from compliance.records.base import Digest, Record


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
        return f"{self.status.value.replace('-', ' ')}: {place}{self.message}"


class Verification(Record):
    """All checks of one pack at one level."""

    pack: str
    """Name of the folder or file that was looked at."""

    level: Literal["integrity", "recompute", "reproduce"]
    checks: tuple[Check, ...]
    root_digest: Digest | None = None
    """As recomputed from the files; absent where they cannot be read."""

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
        """Lines for a reader: what was not checked, what failed, what passed, and the count."""
        ordered = (*self.not_checked, *self.failed, *self.passed)
        counts = (
            f"{len(self.failed)} failed, {len(self.passed)} passed, "
            f"{len(self.not_checked)} not checked"
        )
        return [*(check.line for check in ordered), f"{self.pack}: level {self.level}: {counts}"]

    def _with(self, status: Outcome) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.status is status)
