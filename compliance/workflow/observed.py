"""What a report shows of single items, from observation tables and the items themselves.

The items come from suites where an audit is at work, and from a pack where one is read; what is
withheld is left out in the same way in both, so that both give the same report.
"""

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, overload

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from compliance.assessment.planning import planned_items
from compliance.assessment.tables import empty_table, read_parts, read_table
from compliance.errors import PlanError, SuiteError
from compliance.records.base import digest_bytes
from compliance.records.evidence import Evidence
from compliance.records.observation import SCORE_COLUMNS
from compliance.records.plan import Plan
from compliance.records.suite import Image, Item
from compliance.reports.gallery import Gallery, Patches, shown_items
from compliance.reports.observed import Observed
from compliance.suites.chosen import ChosenItems, joined
from compliance.suites.load import Suite
from compliance.suites.pictures import read_picture

Picture = Callable[[Image], bytes]
"""Gives the file of a picture."""

WITHHELD = "withheld"


def observed_of(
    evidence: Evidence,
    items: Sequence[Item],
    observations: Mapping[str, bytes],
    picture: Picture,
) -> Observed:
    """Items, scores, activations and pictures of the confirm split.

    Args:
        evidence: The assessment.
        items: Of its plan. Of one that is restricted or missing nothing is known but what the
            observations say.
        observations: Files by path below ``observations/``.
        picture: Gives the file of a picture that is to be shown.

    Raises:
        PlanError: A table cannot be read.
        SuiteError: A picture to be shown is not there or is not the one that its item names.
    """
    known = _Known(items)
    rows = read_table(observations, "confirm/items.csv", compact=True)
    before = read_table(observations, "fit/items.csv", compact=True)
    observed = Observed(
        items=_RowItems(known, rows),
        rows=rows,
        scores=_probe_scores(observations),
        tokens=read_table(observations, "confirm/tokens.parquet", compact=True),
        cofiring=read_table(observations, "confirm/cofiring.parquet"),
        features=read_table(observations, "confirm/features.csv"),
        firing=read_table(observations, "confirm/firing.parquet"),
        withheld_files=tuple(sorted(evidence.observations.keys() - observations.keys())),
        run=len(before) + len(rows),
        withheld=sum(int((known.places(table["item"]) < 0).sum()) for table in (before, rows)),
    )
    if not _has_pictures(evidence.plan):
        return observed
    gallery = _gallery(evidence, observations, observed, picture)
    counts = _counts(evidence.plan, (before, rows), known)
    return replace(observed, gallery=replace(gallery, counts=counts))


def _probe_scores(observations: Mapping[str, bytes]) -> pd.DataFrame:
    """The rows of ``confirm/scores.csv`` that reports show."""
    found = [empty_table(SCORE_COLUMNS)]
    for part in read_parts(observations, "confirm/scores.csv"):
        probe = part[part["scorer"] == "probe"]
        found.append(probe.astype(dict.fromkeys(("item", "concept", "scorer"), "str")))
    return pd.concat(found, ignore_index=True)


def withheld_item(row: Any) -> Item:
    """An item that is not shown, from what its observations say of it.

    Args:
        row: Of ``items.csv``.
    """
    text = row.modality == "text"
    shown = None if text else Image(
        digest=digest_bytes(row.item.encode()), width=1, height=1, description=WITHHELD
    )  # fmt: skip
    return Item(
        id=row.item, group=row.group, concept=row.concept or None, label=row.label,
        language=row.language, modality=row.modality, rendering=row.rendering, format=row.format,
        stratum=row.stratum or None, text=None if row.modality == "image" else WITHHELD,
        image=shown, restricted=True, origin=row.origin, source=row.source,
        reviewed=row.reviewed or None, licence=WITHHELD,
    )  # fmt: skip


class _Known:
    """Items that may be shown, by their id; each is read when it is asked for."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items
        names, places = [], array("q")
        for place, item in enumerate(items):
            if not item.restricted:
                names.append(item.id.encode())
                places.append(place)
        ids = np.array(names, dtype=bytes)
        order = np.argsort(ids, kind="stable")
        self._names, self._places = ids[order], np.array(places, dtype=np.int64)[order]

    def places(self, names: pd.Series) -> NDArray[np.int64]:
        """Where the items of these ids are; -1 for those that are not shown."""
        wanted = np.array([name.encode() for name in names], dtype=bytes)
        if not len(self._names):
            return np.full(len(wanted), -1)
        found = np.minimum(np.searchsorted(self._names, wanted), len(self._names) - 1)
        return np.where(self._names[found] == wanted, self._places[found], -1)

    def get(self, name: str) -> Item | None:
        """The item of this id; None where it is not shown."""
        place = int(self.places(pd.Series([name]))[0])
        return None if place < 0 else self._items[place]

    def __getitem__(self, place: int) -> Item:
        return self._items[place]


class _RowItems(Sequence[Item]):
    """The item of each row of a table of items, or what the row says of one that is not shown."""

    def __init__(self, known: _Known, rows: pd.DataFrame) -> None:
        self._known, self._rows = known, rows
        self._places = known.places(rows["item"])

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, row: int) -> Item: ...
    @overload
    def __getitem__(self, row: slice) -> list[Item]: ...
    def __getitem__(self, row: int | slice) -> Item | list[Item]:
        if isinstance(row, slice):
            return [self[i] for i in range(*row.indices(len(self)))]
        place = int(self._places[row])
        if place >= 0:
            return self._known[place]
        return withheld_item(next(self._rows.iloc[[row]].itertuples()))


def used_items(plan: Plan, suites: Sequence[Suite]) -> ChosenItems:
    """The items that a plan runs, ordered by id.

    Raises:
        PlanError: A suite is not as it was planned.
    """
    planned = {facts.name: facts.digest for facts in plan.suites}
    for suite in suites:
        if planned.get(suite.datasheet.name) != suite.digest:
            raise PlanError(
                f"suite {suite.datasheet.name} is not as it was planned",
                hint="put the planned suite back; its items are shown in the report",
            )
    found = joined(planned_items(plan, suites).values())
    return found[np.argsort(found.ids, kind="stable")]


def pictures_of(suites: Sequence[Suite]) -> Picture:
    """What reads the pictures of suites, each checked against its item."""
    paths = picture_files((item for suite in suites for item in suite.items), suites)

    def read(image: Image) -> bytes:
        path = paths[image.path]
        read_picture(path.parent.parent, image)
        return path.read_bytes()

    return read


def picture_files(items: Iterable[Item], suites: Sequence[Suite]) -> dict[str, Path]:
    """The files of the pictures of some items, by `Image.path`."""
    wanted = {item.id for item in items if item.image is not None}
    return {
        item.image.path: _folder(suite) / item.image.path
        for suite in suites
        for item in suite.items
        if item.image is not None and item.id in wanted
    }


def _gallery(
    evidence: Evidence, observations: Mapping[str, bytes], observed: Observed, picture: Picture
) -> Gallery:
    probe = observed.scores[observed.scores["scorer"] == "probe"]
    patches = read_table(observations, "confirm/patches.parquet")
    gallery = Gallery(
        items=[item for item in observed.items if item.image],
        scores={(row.item, row.concept): row.score for row in probe.itertuples()},
        patches={
            (row.item, row.concept): Patches(row.rows, row.columns, row.activations.tolist())
            for row in patches.itertuples()
        },
    )
    shown = [item.image for item in shown_items(evidence, gallery) if item.image]
    return replace(gallery, pictures={image.digest: picture(image) for image in shown})


def _counts(plan: Plan, tables: Iterable[pd.DataFrame], known: _Known) -> dict[str, int]:
    """Different pictures that were run of each suite; a withheld one counts for itself."""
    found: dict[str, set[str]] = {suite.name: set() for suite in plan.suites}
    for row in chain(*(table[table["modality"] != "text"].itertuples() for table in tables)):
        item = known.get(row.item)
        image = item.image if item else None
        found.setdefault(row.suite, set()).add(image.digest if image else row.item)
    return {name: len(pictures) for name, pictures in found.items()}


def _has_pictures(plan: Plan) -> bool:
    return any(cell.modality != "text" for cell in plan.cells)


def _folder(suite: Suite) -> Path:
    if suite.folder is None:
        raise SuiteError(f"suite {suite.datasheet.name}: its pictures are in no folder")
    return suite.folder
