"""Putting an extract of a pack into a model's README, and taking it out again."""

from __future__ import annotations

import difflib
import io
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from compliance.catalog.load import load_catalog
from compliance.errors import ReportError, StorageError, VerificationError
from compliance.keys import key_id, parse_public_key
from compliance.packs import layout
from compliance.packs.integrity import verify_integrity
from compliance.packs.reading import read_pack
from compliance.packs.trust import Trust
from compliance.progress import SILENT, Progress
from compliance.reports import model_card
from compliance.reports.model_card import EVAL_HEADER, EVAL_RESULTS
from compliance.storage import write_bytes

EVAL_FOLDER = ".eval_results"
"""Beside the README, where the hub looks for results."""


@dataclass(frozen=True)
class Edit:
    """What becomes of one file."""

    path: Path
    before: bytes | None
    """None: the file is not there."""

    after: bytes | None
    """None: it is not wanted."""

    @property
    def changes(self) -> bool:
        return self.before != self.after

    @property
    def outcome(self) -> str:
        """What was done, in a word."""
        if not self.changes:
            return "unchanged"
        return "deleted" if self.after is None else "written"

    def diff(self) -> str:
        """The change as a unified diff."""
        old, new = (_lines(data) for data in (self.before, self.after))
        names = [str(self.path) if data is not None else "/dev/null"
                 for data in (self.before, self.after)]  # fmt: skip
        lines = difflib.unified_diff(old, new, *names)
        return "".join(
            line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
            for line in lines
        )

    def apply(self) -> None:
        """Write the file, or delete it with the folder that it leaves empty.

        Raises:
            StorageError: It cannot be written or deleted.
        """
        if not self.changes:
            return
        if self.after is not None:
            write_bytes(self.path, self.after)
            return
        try:
            self.path.unlink()
            if not any(self.path.parent.iterdir()):
                self.path.parent.rmdir()
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise StorageError(f"{self.path}: cannot be deleted: {reason}") from error


def card(
    pack: Path,
    readme: Path,
    *,
    key: Path | None = None,
    url: str | None = None,
    write: bool = True,
    progress: Progress = SILENT,
) -> tuple[Edit, ...]:
    """Write a section, ``model-index`` and ``.eval_results`` into a model's repository.

    The digests and signatures of the pack are checked first. What an earlier pack left is replaced;
    everything else in the README keeps its bytes.

    Args:
        pack: A folder or a ZIP.
        readme: The model's ``README.md``.
        key: The issuer's public key, from outside the pack. Without it the card says that the
            issuer was not checked.
        url: Where readers can get the pack.
        write: False: only say what would change.
        progress: Told what is being done.

    Returns:
        What was done to the README, and to the file of results beside it.

    Raises:
        VerificationError: The pack is not what was signed; nothing was written.
        PackError: There is no pack.
        ReportError: The README cannot be edited safely, or the extra ``reports`` is missing.
        StorageError: A file cannot be read or written.
    """
    try:
        from compliance.reports.exports.card import Seal, make_card
    except ModuleNotFoundError as error:
        raise ReportError(
            f"writing a model card needs {error.name}, which is not installed",
            hint="install the extra: sae-compliance[reports]",
        ) from error
    progress.stage("checking digests and signature")
    pem = None if key is None else key.read_bytes()
    _refuse_damaged(pack, pem)
    progress.stage("writing the model card")
    with read_pack(pack) as opened:
        said = opened.statement.predicate
        own_key = parse_public_key(opened.file(layout.PUBLIC_KEY), name=layout.PUBLIC_KEY)
        made = make_card(
            opened.evidence,
            load_catalog(opened.folder.root / "data" / "law"),
            pack_id=said.pack_id,
            version=said.version,
            built_at=datetime.fromisoformat(said.signed_at),
            seal=Seal(said.root_digest, key_id(own_key), key is not None, url),
        )
    path, results = readme.resolve(), _results_beside(readme)
    before = _read(path)
    after = model_card.write_card(before, made.section, made.entry, name=readme.name)
    edits = (
        Edit(path, before, after),
        Edit(results, _own_results(results), made.eval_results),
    )
    return _applied(edits, write)


def remove_card(readme: Path, *, write: bool = True) -> tuple[Edit, ...]:
    """Take out what `card` wrote: the README becomes what it was before.

    Args:
        readme: The model's ``README.md``.
        write: False: only say what would change.

    Raises:
        ReportError: The markers in the README are damaged.
        StorageError: A file cannot be read, written or deleted.
    """
    path, results = readme.resolve(), _results_beside(readme)
    before = _read(path)
    edits = (
        Edit(path, before, model_card.remove_card(before, name=readme.name)),
        Edit(results, _own_results(results), None),
    )
    return _applied(edits, write)


def _applied(edits: tuple[Edit, ...], write: bool) -> tuple[Edit, ...]:
    """The README last: while it is as it was, the command can be run again."""
    for edit in reversed(edits if write else ()):
        edit.apply()
    return edits


def _refuse_damaged(pack: Path, key: bytes | None) -> None:
    failed = verify_integrity(pack, trust=Trust(issuer=key)).failed
    if failed:
        more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
        raise VerificationError(
            f"{pack.name}: {failed[0].line}{more}",
            hint="'compliance verify' lists all of it; nothing was written",
        )


def _results_beside(readme: Path) -> Path:
    return readme.resolve().parent / EVAL_FOLDER / EVAL_RESULTS


def _own_results(path: Path) -> bytes | None:
    """The file of results that is there.

    Raises:
        ReportError: It is somebody else's.
    """
    if not path.exists():
        return None
    data = _read(path)
    if not data.startswith(EVAL_HEADER.encode()):
        raise ReportError(
            f"{EVAL_FOLDER}/{EVAL_RESULTS}: was not written by this software",
            hint="rename it; nothing was written",
        )
    return data


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {(error.strerror or '').lower()}") from error


def _lines(data: bytes | None) -> list[str]:
    return list(io.StringIO((data or b"").decode("utf-8", "replace")))
