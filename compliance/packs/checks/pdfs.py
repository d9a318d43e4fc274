"""The signatures of PDFs (PAdES), by which a report speaks for itself outside its pack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from compliance.keys import PublicKey
from compliance.packs import layout
from compliance.packs.checks.contents import Contents, not_checked
from compliance.packs.checks.times import NAME as STAMP_NAME
from compliance.packs.checks.times import NOBODY, moment_text
from compliance.packs.folder import failed, printable
from compliance.packs.pdf import PdfSignature, read_signature
from compliance.packs.times import Stamp
from compliance.packs.trust import Trust
from compliance.records.verification import Check, Outcome

NAME = "pdf-signature"


def check_pdfs(pack: Contents, key: PublicKey | None, trust: Trust) -> Iterator[Check]:
    """Whether each PDF is signed as a whole, by the issuer's key or one that it certified.

    Raises:
        PackError: ``trust`` holds what is no certificate.
    """
    paths = [path for path in sorted(pack.folder.digests) if path.lower().endswith(".pdf")]
    signed: dict[str, PdfSignature] = {}
    unsigned, wrong = [], []
    for path in paths:
        try:
            found = read_signature(pack.folder.read(path, limit=layout.MAX_JSON_FILE))
        except ValueError as error:
            wrong.append(failed(NAME, path, str(error)))
            continue
        if found is None:
            unsigned.append(path)
        elif key is not None and not found.vouched_by(key):
            message = "signed with a key that is not the issuer's, and that it did not certify"
            wrong.append(failed(NAME, path, message))
        else:
            signed[path] = found
    yield from wrong
    if unsigned:
        says = f"{_have(len(unsigned))} no signature inside; the manifest covers every PDF"
        yield not_checked(NAME, says, unsigned[0] if len(unsigned) == 1 else None)
    if signed and key is None:
        yield not_checked(NAME, "there is no key to check the signatures of PDFs with")
    elif signed and not wrong:
        says = f"{_have(len(signed))} a signature over the whole file, by the issuer"
        yield Check(name=NAME, status=Outcome.PASSED, message=says)
    yield from _times(signed, trust.authorities)


def _times(signed: Mapping[str, PdfSignature], authorities: bytes | None) -> Iterator[Check]:
    """The time stamps inside PDFs, in one line where all are good."""
    stamps: list[Stamp] = []
    for path, found in signed.items():
        try:
            stamp = found.stamp(authorities)
        except ValueError as error:
            yield failed(STAMP_NAME, path, str(error))
            continue
        if stamp is not None:
            stamps.append(stamp)
    if not stamps:
        return
    last = max(stamps, key=lambda stamp: stamp.moment)
    says = (
        f"{_have(len(stamps))} a time stamp, the last of {moment_text(last)}, by {last.authority}"
    )
    if authorities is None:
        yield not_checked(STAMP_NAME, f"{says}; {NOBODY} them")
    else:
        yield Check(name=STAMP_NAME, status=Outcome.PASSED, message=printable(says))


def _have(count: int) -> str:
    return "1 PDF has" if count == 1 else f"{count} PDFs have"
