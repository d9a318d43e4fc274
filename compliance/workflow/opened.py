"""A pack as what reports are made from, just as an audit's folder is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pandas as pd
from pydantic import ValidationError

from compliance.assessment.tables import read_table
from compliance.catalog.load import load_catalog
from compliance.errors import VerificationError
from compliance.packs.items import item_id
from compliance.packs.reading import OpenPack, shape_problem
from compliance.records.earlier import EarlierPack
from compliance.records.pack import PackedItem, PackItem, parse_canonical
from compliance.records.suite import Item
from compliance.trail import run_name
from compliance.workflow.documents import CHANGES, Origin, record_name, until_report
from compliance.workflow.observed import withheld_item


class PackFiles(Mapping[str, bytes]):
    """The observation files of a pack, each read when it is asked for."""

    def __init__(self, pack: OpenPack) -> None:
        self._pack = pack

    def __getitem__(self, path: str) -> bytes:
        if path not in self._pack.observed:
            raise KeyError(path)
        return self._pack.observation(path)

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
        items=items_of(pack.items, files),
        picture=lambda image: pack.file(f"data/{image.path}"),
        trail=until_report(pack.trail, said.version, run_name(evidence.plan)),
        earlier=_earlier(pack),
    )


def items_of(packed: Iterable[PackItem], files: Mapping[str, bytes]) -> list[Item]:
    """Items of a pack; in the place of one that is not shown whole what observations say of it.

    Args:
        packed: As in ``items.jsonl``.
        files: The observation files.
    """
    tables = [read_table(files, f"{stage}/items.csv") for stage in ("fit", "confirm")]
    rows = {row.item: row for row in pd.concat(tables).itertuples()}
    found = []
    for item in packed:
        if isinstance(item, PackedItem):
            found.append(item.item)
        elif (row := rows.get(item_id(item))) is not None:
            found.append(withheld_item(row))
    return found


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
