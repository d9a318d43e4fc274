"""Every error this package raises on purpose.

ComplianceError
├── ConfigError               audit.yaml or system.yaml cannot be read
├── SuiteError                a suite cannot be read, or its items contradict each other
├── SubjectError              a model or tokenizer cannot be loaded
├── SaeError                  an SAE cannot be loaded, or does not fit the model
├── ProbeError                a run could not be done
├── StatisticsError           a number cannot be computed from these data
├── PlanError                 a plan or lock cannot be made, or does not match what was run
├── CatalogError              a provision or mapping is not there
├── ReportError               a report cannot be built or rendered
├── ResourceError             shipped data are missing
├── StorageError              a file cannot be written
├── TrailError                the audit trail is broken
├── TimeStampError            an authority gave no time stamp
├── MonitorError              a model cannot be watched, or there is no event log here
└── PackError                 there is no pack here
    └── VerificationError     it is here, and is not what was signed
        ├── DigestMismatch
        ├── SignatureMismatch
        └── NumberMismatch

A message is lower case and says the thing, what was found and what was expected;
``hint`` says what to do next.
"""


class ComplianceError(Exception):
    """Base class. The message says what happened, ``hint`` what to do next."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(ComplianceError):
    """``audit.yaml`` or ``system.yaml`` cannot be read."""


class SuiteError(ComplianceError):
    """A suite cannot be read, or its items contradict each other."""


class SubjectError(ComplianceError):
    """A model or tokenizer cannot be loaded."""


class SaeError(ComplianceError):
    """An SAE cannot be loaded, or does not fit the model it is asked to read."""


class ProbeError(ComplianceError):
    """A run could not be done."""


class StatisticsError(ComplianceError):
    """A number cannot be computed from these data."""


class PlanError(ComplianceError):
    """A plan or lock cannot be made, or does not match what was run."""


class CatalogError(ComplianceError):
    """A provision or a mapping is not in the catalog."""


class ReportError(ComplianceError):
    """A report cannot be built or rendered."""


class ResourceError(ComplianceError):
    """Data that ship with the package are missing."""


class StorageError(ComplianceError):
    """A file cannot be written."""


class TrailError(ComplianceError):
    """The audit trail is broken or cannot be extended."""


class TimeStampError(ComplianceError):
    """An authority gave no time stamp."""


class MonitorError(ComplianceError):
    """A serving model cannot be watched with a pack, or there is no event log here."""


class PackError(ComplianceError):
    """There is no pack here."""


class VerificationError(PackError):
    """The pack is here, and is not what was signed."""


class DigestMismatch(VerificationError):
    """A file differs from the manifest. ``path`` is relative to the pack."""

    def __init__(self, path: str, *, expected: str, actual: str) -> None:
        super().__init__(
            f"{path}: sha256 is {actual[:12]}, the manifest says {expected[:12]}",
            hint="the file changed after signing; ask the issuer for the original pack",
        )
        self.path = path


class SignatureMismatch(VerificationError):
    """A signature does not verify. ``path`` is relative to the pack."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"{path}: {reason}",
            hint="the pack or the key is not the issuer's; compare the key id with the issuer",
        )
        self.path = path


class NumberMismatch(VerificationError):
    """A stored number is not the one the observations give. ``where`` is its path."""

    def __init__(self, where: str, *, stored: object, computed: object) -> None:
        super().__init__(
            f"{where}: the pack says {stored}, the observations give {computed}",
            hint="the number was changed after it was computed; do not rely on this pack",
        )
        self.where, self.stored, self.computed = where, stored, computed
