"""A pack as what reports are made from, just as an audit's folder is."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, BinaryIO, overload

from pydantic import ValidationError

from compliance.catalog.load import load_catalog
from compliance.errors import VerificationError
from compliance.packs.reading import OpenPack, shape_problem
from compliance.records.earlier import EarlierPack
from compliance.records.pack import PackedItem, PackItem, parse_canonical
from compliance.records.suite import Item
from compliance.trail import run_name
from compliance.workflow.documents import CHANGES, Origin, record_name, until_report


class PackFiles(Mapping[str, bytes]):
    """The observation files of a pack, each read when it is asked for."""

    def __init__(self, pack: OpenPack) -> None:
        self._pack = pack

    def __getitem__(self, path: str) -> bytes:
        if path not in self._pack.observed:
            raise KeyError(path)
        return self._pack.observation(path)

    def open(self, path: str) -> BinaryIO:
        """Open a file to be read piece by piece."""
        if path not in self._pack.observed:
            raise KeyError(path)
        return self._pack.open_observation(path)

    def __iter__(self) -> Iterator[str]:
        return iter(self._pack.observed)

    def __len__(self) -> int:
        return len(self._pack.observed)


def origin_of(pack: OpenPack) -> Origin:
    """What the reports of a pack were made from, from its own files.

    Raises:
        VerificationError: A file is missing or cannot be read.
        PlanError: A table cannot be read.
    """
    said, evidence, files = pack.statement.predicate, pack.evidence, PackFiles(pack)
    for name in ("provisions", "mapping"):
        pack.file(f"data/law/{name}.yaml")  # there, a plain file, and not too long
    return Origin(
        evidence=evidence,
        catalog=load_catalog(pack.folder.root / "data" / "law"),
        version=said.version,
        built_at=_report_date(pack) or datetime.fromisoformat(said.signed_at),
        observations=files,
        items=WholeItems(pack.items),
        picture=lambda image: pack.file(f"data/{image.path}"),
        trail=until_report(pack.trail, said.version, run_name(evidence.plan)),
        earlier=_earlier(pack),
    )


class WholeItems(Sequence[Item]):
    """The items that a pack shows whole, each read when it is asked for.

    Args:
        packed: As in ``items.jsonl``.
    """

    def __init__(self, packed: Sequence[PackItem]) -> None:
        self._packed = packed
        whole = (isinstance(item, PackedItem) for item in packed)
        self._places = array("Q", (place for place, shown in enumerate(whole) if shown))

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Item]:
        return (item.item for item in self._packed if isinstance(item, PackedItem))

    @overload
    def __getitem__(self, place: int) -> Item: ...
    @overload
    def __getitem__(self, place: slice) -> list[Item]: ...
    def __getitem__(self, place: int | slice) -> Item | list[Item]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        item = self._packed[self._places[place]]
        assert isinstance(item, PackedItem)  # else it had no place
        return item.item


def _report_date(pack: OpenPack) -> datetime | None:
    """What the report is dated with: a copy with things withheld was signed later."""
    path = f"data/{record_name('en')}"
    if path not in pack.folder.digests:
        return None
    try:
        return datetime.strptime(read_json(pack, path)["built_at"], "%Y-%m-%dT%H:%M:%SZ").replace(
            tzinfo=UTC
        )
    except (KeyError, TypeError, ValueError) as error:
        raise VerificationError(f"{path}: it has no date: {error}") from error


def read_json(pack: OpenPack, path: str) -> Any:
    """Any JSON file of the pack.

    Raises:
        VerificationError: It is missing, or is not canonical.
    """
    try:
        return parse_canonical(pack.file(path))
    except ValueError as error:
        raise VerificationError(f"{path}: {error}") from error


def _earlier(pack: OpenPack) -> EarlierPack | None:
    path = f"data/{CHANGES}"
    if path not in pack.folder.digests:
        return None
    read_json(pack, path)
    try:
        return EarlierPack.model_validate_json(pack.file(path), strict=True)
    except ValidationError as error:
        raise VerificationError(f"{path}: {shape_problem(error)}") from error
