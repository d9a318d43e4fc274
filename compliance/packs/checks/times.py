"""Time stamps by others: what of a pack was there at which moment, whoever says so."""

from collections.abc import Iterator

from compliance.packs import layout
from compliance.packs.checks.contents import Contents, not_checked
from compliance.packs.trust import Trust
from compliance.records.verification import Check


def check_times(pack: Contents, trust: Trust) -> Iterator[Check]:
    """The time stamps of a pack against the authorities that the verifier knows."""
    stamp = layout.TIME_STAMP if layout.TIME_STAMP in pack.folder.digests else None
    absent = "the times are the signer's own: there is no time stamp"
    yield not_checked("time-stamp", "it was not looked at" if stamp else absent, stamp)
