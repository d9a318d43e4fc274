"""Each class of a miss, in the order in which they are asked about."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.worlds import NEAR, World, make_files, make_plan
from compliance.assessment.cells import CellData, read_cells
from compliance.assessment.misses import CLASSES, misses
from compliance.assessment.tables import ConfirmObservations
from compliance.records.finding import Result
from compliance.records.plan import CutOff, Lock

PLAN = make_plan(bootstrap_draws=200)
KEY = "danger/en/text/plain"
LATENT = f"latent/0/{NEAR}"
SCORERS = ("probe", "dense", "reconstruction", LATENT)

KINDS = {
    "below-threshold": (0.5, 0.0, 0.0, 0.0),
    "not-linear": (0.0, 1.0, 9.0, 9.0),
    "lost-in-error": (0.0, 9.0, 1.0, 9.0),
    "absorbed": (0.0, 9.0, 9.0, 9.0),
    "unexplained": (0.0, 9.0, 9.0, 1.0),
}
"""Scores of each scorer; every cut-off is 1, and a score that equals it is no alarm."""

HIT = (9.0, 9.0, 9.0, 1.0)


@pytest.fixture(scope="module")
def locked() -> tuple[Lock, CellData]:
    world = World(effect={"en": 5.0, "el": 5.0}, groups=12, benign=220)
    lock, files = make_files(PLAN, world)
    return lock, read_cells(PLAN, lock, ConfirmObservations.from_files(files))[KEY]


def found(
    locked: tuple[Lock, CellData], rows: list[tuple[float, ...]], **other: object
) -> dict[str, Result]:
    """Results for positives with these scores."""
    lock, data = locked
    positive = pd.DataFrame(rows, columns=list(SCORERS))
    positive.insert(0, "item", [f"p{i:03d}" for i in range(len(rows))])
    cut_offs = {s: CutOff(scorer=s, cell=data.cell, value=1.0, rank=1, n=100) for s in SCORERS}
    given = {"cell": data.cell, "positive": positive, "hard": data.hard, "benign": data.benign,
             "cut_offs": cut_offs, "unscored": 0} | other  # fmt: skip
    return {r.id.removeprefix(f"{KEY}/"): r for r in misses(PLAN, lock, CellData(**given))}


@pytest.mark.parametrize("kind", KINDS)
def test_a_miss_falls_into_the_first_class_that_fits(locked, kind):
    results = found(locked, [KINDS[kind], HIT])

    assert {c: results[f"misses.{c}"].successes for c in CLASSES} == {
        c: int(c == kind) for c in CLASSES
    }
    assert results[f"misses.{kind}"].n == 1


def test_shares_add_up_to_all_misses(locked):
    results = found(locked, [*KINDS.values(), *KINDS.values(), HIT])

    assert sum(results[f"misses.{c}"].value for c in CLASSES) == pytest.approx(1.0)
    assert {results[f"misses.{c}"].n for c in CLASSES} == {10}


def test_as_many_hits_are_drawn_and_none_is_below_its_threshold(locked):
    hits = [(9.0, 1.0, 9.0, 9.0), (9.0, 9.0, 9.0, 9.0)] * 20
    results = found(locked, [KINDS["unexplained"]] * 4 + hits)

    assert {r.n for name, r in results.items() if name.startswith("hits.")} == {4}
    assert "hits.below-threshold" not in results
    assert results["hits.not-linear"].successes + results["hits.absorbed"].successes == 4


def test_the_draw_is_that_of_the_seed(locked):
    hits = [(9.0, 1.0, 9.0, 9.0), (9.0, 9.0, 9.0, 9.0)] * 50
    from compliance.statistics.resampling import seed_of

    stream = np.random.RandomState(seed_of(PLAN.seed, f"{KEY}/hits"))
    expected = int((stream.permutation(100)[:30] % 2 == 0).sum())

    results = found(locked, [KINDS["unexplained"]] * 30 + hits)

    assert results["hits.not-linear"].successes == expected


def test_all_hits_are_taken_where_they_are_fewer(locked):
    results = found(locked, [KINDS["unexplained"]] * 5 + [HIT] * 2)

    assert {r.n for name, r in results.items() if name.startswith("hits.")} == {2}


def test_without_misses_there_is_no_share(locked):
    results = found(locked, [HIT] * 3)

    assert {(r.value, r.n, r.reason) for r in results.values()} == {(None, 0, "there are none")}


@pytest.mark.parametrize("scorer", ["dense", "reconstruction", LATENT])
def test_without_one_of_the_probes_nothing_is_put_into_classes(locked, scorer):
    lock, data = locked
    rows = [KINDS["unexplained"], HIT]
    whole = {s: CutOff(scorer=s, cell=data.cell, value=1.0, rank=1, n=100) for s in SCORERS}
    unset = whole | {scorer: CutOff(scorer=scorer, cell=data.cell, n=0, reason="too few")}
    positive = pd.DataFrame(rows, columns=list(SCORERS)).assign(item=["a", "b"])

    no_cut_off = found(locked, rows, cut_offs=unset)
    no_scores = found(locked, rows, positive=positive.drop(columns=scorer))

    assert {r.reason for r in no_cut_off.values()} == {f"the cut-off of {scorer} cannot be set"}
    assert {r.reason for r in no_scores.values()} == {f"no score of {scorer} for 2 items"}
    assert {r.value for r in (*no_cut_off.values(), *no_scores.values())} == {None}


def test_without_a_cut_off_of_the_probe_there_are_no_misses(locked):
    _, data = locked
    unset = {"probe": CutOff(scorer="probe", cell=data.cell, n=0, reason="too few")}

    results = found(locked, [HIT], cut_offs=unset)

    assert {r.reason for r in results.values()} == {"the cut-off cannot be set"}
    assert len(results) == 9
