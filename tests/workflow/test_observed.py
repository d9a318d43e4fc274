"""From a run's tables and a suite's folder to the pictures of a report."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image as pillow

from compliance.assessment.planning import planned_items
from compliance.assessment.tables import empty_table, table_bytes
from compliance.errors import PlanError, SuiteError
from compliance.records.observation import (
    COFIRING_COLUMNS,
    FEATURE_COLUMNS,
    FIRING_COLUMNS,
    ITEM_COLUMNS,
    PATCH_COLUMNS,
    SCORE_COLUMNS,
    TOKEN_COLUMNS,
)
from compliance.records.suite import Item
from compliance.suites.load import Suite, suite_digest
from compliance.suites.pictures import store_picture
from compliance.workflow.observed import observed_of, picture_files, pictures_of, used_items
from tests.reports.picture_example import picture_evidence

GROUPS = 12


@pytest.fixture
def suite(tmp_path):
    """Pictures of one concept in English, each of its own colour."""
    sheet = picture_evidence().plan.suites[0].datasheet
    items = tuple(
        Item(
            id=f"i{n:02}-{label}", group=f"g{n}", concept="deception", label=label,
            language="en", modality="image", rendering="depicted",
            image=store_picture(
                pillow.new("RGB", (8, 8), (20 * n, len(label), 0)), tmp_path, description=label
            ),
            origin="authored", source="tests", licence="CC0-1.0",
        )
        for n in range(GROUPS)
        for label in ("positive", "hard-negative")
    )  # fmt: skip
    return Suite(sheet, items, suite_digest(sheet, items), tmp_path)


@pytest.fixture
def evidence(suite):
    found = picture_evidence()
    facts = found.plan.suites[0].model_copy(update={"digest": suite.digest})
    plan = found.plan.model_copy(update={"suites": (facts,), "subset": None})
    return found.model_copy(update={"plan": plan})


@pytest.fixture
def observations(suite, evidence):
    placed = {i.id: (i, s) for s, i in _planned(evidence, suite)}
    items = sorted(name for name, (_, split) in placed.items() if split == "confirm")
    scores = pd.DataFrame(
        [(item, "deception", scorer, place + (scorer == "tokens"))
         for place, item in enumerate(items) for scorer in ("probe", "tokens")],
        columns=SCORE_COLUMNS,
    )  # fmt: skip
    patches = pd.DataFrame(
        [(item, "deception", 1, 2, np.array([place, 0.5], np.float32))
         for place, item in enumerate(items)],
        columns=PATCH_COLUMNS,
    )  # fmt: skip
    benign = pd.DataFrame([("b1", "deception", "probe", 0.25)], columns=SCORE_COLUMNS)
    rows = [
        (i.id, suite.datasheet.name, i.group, split, i.concept, i.label.value, i.language,
         i.modality, i.rendering, i.format, "", i.origin, i.source, "", 1, 0, 0)
        for i, split in placed.values()
    ]  # fmt: skip
    rows.append(("b1", "", "g", "calibrate", "", "negative", "en", "text", *[""] * 6, 1, 0, 0))
    seen = pd.DataFrame(rows, columns=ITEM_COLUMNS)
    tables = {
        "confirm/items.csv": seen[seen["split"] == "confirm"],
        "confirm/scores.csv": scores,
        "confirm/patches.parquet": patches,
        "fit/scores.csv": pd.concat([benign, scores.head(1)]),
        "fit/items.csv": seen[seen["split"] != "confirm"],
        "confirm/tokens.parquet": empty_table(TOKEN_COLUMNS),
        "confirm/cofiring.parquet": empty_table(COFIRING_COLUMNS),
        "confirm/features.csv": empty_table(FEATURE_COLUMNS),
        "confirm/firing.parquet": empty_table(FIRING_COLUMNS),
    }
    return {path: table_bytes(table, path) for path, table in tables.items()}


def _planned(evidence, suite):
    planned = planned_items(evidence.plan, [suite])
    return [(split, item) for split, items in planned.items() for item in items]


def observed_from(evidence, suites, observations):
    items = used_items(evidence.plan, suites)
    return observed_of(evidence, items, observations, pictures_of(suites))


@pytest.fixture
def gallery_of():
    return lambda *arguments: observed_from(*arguments).gallery


def test_scores_activations_and_files_come_from_the_run_and_the_suite(
    suite, evidence, observations, gallery_of
):
    found = gallery_of(evidence, [suite], observations)

    items = sorted(found.items, key=lambda item: item.id)
    assert items == sorted(planned_items(evidence.plan, [suite])["confirm"], key=lambda i: i.id)
    assert found.scores == {(item.id, "deception"): n for n, item in enumerate(items)}
    patches = found.patches[items[3].id, "deception"]
    assert (patches.rows, patches.columns, patches.activations) == (1, 2, [3.0, 0.5])
    assert found.counts == {"made-up-suite": 2 * GROUPS}
    for digest, data in found.pictures.items():
        (item,) = [i for i in items if i.image.digest == digest]
        assert data == (suite.folder / item.image.path).read_bytes()


def test_only_pictures_that_are_shown_are_read(suite, evidence, observations, gallery_of):
    found = gallery_of(evidence, [suite], observations)

    for item in found.items:
        if item.image.digest not in found.pictures:
            (suite.folder / item.image.path).unlink()
    assert 0 < len(found.pictures) < len(found.items)
    assert gallery_of(evidence, [suite], observations) == found


def test_an_audit_of_texts_has_no_gallery(suite, evidence, observations, gallery_of):
    texts = tuple(c for c in evidence.plan.cells if c.modality == "text")
    plan = evidence.plan.model_copy(update={"cells": texts})

    assert gallery_of(evidence.model_copy(update={"plan": plan}), [suite], observations) is None


def test_a_picture_that_was_changed_is_refused(suite, evidence, observations, gallery_of):
    digest = next(iter(gallery_of(evidence, [suite], observations).pictures))
    path = suite.folder / "images" / f"{digest.removeprefix('sha256:')}.png"
    path.write_bytes(path.read_bytes() + b"x")

    with pytest.raises(SuiteError, match="digest differs"):
        gallery_of(evidence, [suite], observations)


def test_a_suite_that_is_not_as_planned_is_refused(suite, evidence, observations, gallery_of):
    other = Suite(suite.datasheet, suite.items, "sha256:" + "0" * 64, suite.folder)

    with pytest.raises(PlanError, match="not as it was planned"):
        gallery_of(evidence, [other], observations)


def test_files_are_those_of_the_items_asked_for(suite):
    found = picture_files(suite.items[:3], [suite])

    assert found == {i.image.path: suite.folder / i.image.path for i in suite.items[:3]}


def test_only_confirm_items_and_scores_of_the_probe_are_shown(suite, evidence, observations):
    found = observed_from(evidence, [suite], observations)

    assert set(found.scores["scorer"]) == {"probe"}
    assert set(found.scores["item"]) == {item.id for item in found.items}
    assert set(found.items) == set(planned_items(evidence.plan, [suite])["confirm"])


def test_an_item_that_is_restricted_or_missing_is_known_by_its_observations_alone(
    suite, evidence, observations
):
    items, confirm = used_items(evidence.plan, [suite]), planned_items(evidence.plan, [suite])
    hidden = confirm["confirm"][0].id, confirm["confirm"][-1].id
    marked = [i.model_copy(update={"restricted": True}) if i.id in hidden else i for i in items]
    missing = [i for i in items if i.id not in hidden]

    here, there = (
        observed_of(evidence, known, observations, pictures_of([suite]))
        for known in (marked, missing)
    )

    assert tuple(here.items) == tuple(there.items)
    assert here.gallery == there.gallery
    assert here.gallery.counts == {"made-up-suite": 2 * GROUPS}
    assert {item.id for item in here.items if item.restricted} == set(hidden)
    for item in here.items:
        assert item.restricted is None or item.image.description == "withheld"


def test_what_a_table_says_of_items_is_what_they_say(suite, evidence, observations):
    found = observed_from(evidence, [suite], observations)

    own = replace(found, rows=None).facts

    assert len(own) and found.facts.to_dict("list") == own.to_dict("list")
    assert found.items[1:3] == [found.items[1], found.items[2]]
