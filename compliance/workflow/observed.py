"""What a report shows of single items, from a run's tables and the files of suites."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from compliance.assessment.planning import planned_items
from compliance.assessment.tables import read_table
from compliance.errors import PlanError, SuiteError
from compliance.records.evidence import Evidence
from compliance.records.plan import Plan
from compliance.records.suite import Item, Label
from compliance.reports.gallery import Gallery, Patches, shown_items
from compliance.reports.observed import Observed
from compliance.suites.load import Suite
from compliance.suites.pictures import read_picture


def observed_of(
    evidence: Evidence, suites: Sequence[Suite], observations: Mapping[str, bytes]
) -> Observed:
    """Items, scores, activations and pictures of the confirm split.

    Args:
        evidence: The assessment.
        suites: Of its plan, from their folders.
        observations: Files by path below ``observations/``.

    Raises:
        PlanError: A suite is not as it was planned, or a table cannot be read.
        SuiteError: A picture to be shown is not there or is not the one that its item names.
    """
    _refuse_changed(evidence, suites)
    items = tuple(planned_items(evidence.plan, suites)["confirm"])
    scores = read_table(observations, "confirm/scores.csv")
    fit = read_table(observations, "fit/scores.csv")
    before = read_table(observations, "fit/items.csv")
    benign = before.loc[before["label"] == Label.NEGATIVE, "item"]
    observed = Observed(
        items=items,
        scores=scores,
        calibration=fit[fit["item"].isin(benign)],
        tokens=read_table(observations, "confirm/tokens.parquet"),
        cofiring=read_table(observations, "confirm/cofiring.parquet"),
        features=read_table(observations, "confirm/features.csv"),
        firing=read_table(observations, "confirm/firing.parquet"),
    )
    if not _has_pictures(evidence.plan):
        return observed
    return replace(observed, gallery=_gallery(evidence, suites, observations, observed))


def _gallery(
    evidence: Evidence, suites: Sequence[Suite], observations: Mapping[str, bytes],
    observed: Observed,
) -> Gallery:  # fmt: skip
    probe = observed.scores[observed.scores["scorer"] == "probe"]
    patches = read_table(observations, "confirm/patches.parquet")
    gallery = Gallery(
        items=[item for item in observed.items if item.image],
        scores={(row.item, row.concept): row.score for row in probe.itertuples()},
        patches={
            (row.item, row.concept): Patches(row.rows, row.columns, row.activations.tolist())
            for row in patches.itertuples()
        },
        counts={suite.datasheet.name: len(picture_files(suite.items, [suite])) for suite in suites},
    )
    shown = shown_items(evidence, gallery)
    paths = picture_files(shown, suites)
    return replace(gallery, pictures={i.image.digest: _read(i, paths) for i in shown if i.image})


def _has_pictures(plan: Plan) -> bool:
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
                hint="put the planned suite back; its items are shown in the report",
            )
