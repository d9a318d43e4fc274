"""What a report shows of pictures: a run's tables and a suite's files as the values it takes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from compliance.assessment.planning import planned_items
from compliance.assessment.tables import read_table
from compliance.errors import PlanError, SuiteError
from compliance.records.evidence import Evidence
from compliance.records.plan import Plan
from compliance.records.suite import Item
from compliance.reports.gallery import Gallery, Patches, shown_items
from compliance.suites.load import Suite
from compliance.suites.pictures import read_picture


def gallery_of(
    evidence: Evidence, suites: Sequence[Suite], observations: Mapping[str, bytes]
) -> Gallery | None:
    """Scores, activations and pictures of the confirm split; None for an audit without pictures.

    Args:
        evidence: The assessment.
        suites: Of its plan, from their folders.
        observations: Files by path below ``observations/``.

    Raises:
        PlanError: A suite is not as it was planned, or a table cannot be read.
        SuiteError: A picture to be shown is not there or is not the one that its item names.
    """
    plan = evidence.plan
    if not has_pictures(plan):
        return None
    _refuse_changed(evidence, suites)
    scores = read_table(observations, "confirm/scores.csv")
    scores = scores[scores["scorer"] == "probe"]
    patches = read_table(observations, "confirm/patches.parquet")
    gallery = Gallery(
        items=[item for item in planned_items(plan, suites)["confirm"] if item.image],
        scores={(row.item, row.concept): row.score for row in scores.itertuples()},
        patches={
            (row.item, row.concept): Patches(row.rows, row.columns, row.activations.tolist())
            for row in patches.itertuples()
        },
        counts={suite.datasheet.name: len(picture_files(suite.items, [suite])) for suite in suites},
    )
    shown = shown_items(evidence, gallery)
    paths = picture_files(shown, suites)
    return replace(gallery, pictures={i.image.digest: _read(i, paths) for i in shown if i.image})


def has_pictures(plan: Plan) -> bool:
    """Whether any cell is of pictures; a report needs the suites only then."""
    return any(cell.modality != "text" for cell in plan.cells)


def picture_files(items: Sequence[Item], suites: Sequence[Suite]) -> dict[str, Path]:
    """The files of the pictures of some items, by `Image.path`."""
    wanted = {item.id for item in items}
    return {
        item.image.path: _folder(suite) / item.image.path
        for suite in suites
        for item in suite.items
        if item.image is not None and item.id in wanted
    }


def _read(item: Item, paths: Mapping[str, Path]) -> bytes:
    """The file as it is, once it was checked."""
    assert item.image is not None  # only pictures are shown
    path = paths[item.image.path]
    read_picture(path.parent.parent, item.image)
    return path.read_bytes()


def _folder(suite: Suite) -> Path:
    if suite.folder is None:
        raise SuiteError(f"suite {suite.datasheet.name}: its pictures are in no folder")
    return suite.folder


def _refuse_changed(evidence: Evidence, suites: Sequence[Suite]) -> None:
    planned = {facts.name: facts.digest for facts in evidence.plan.suites}
    for suite in suites:
        if planned.get(suite.datasheet.name) != suite.digest:
            raise PlanError(
                f"suite {suite.datasheet.name} is not as it was planned",
                hint="put the planned suite back; its pictures belong to the report",
            )
