"""What a build may lose: each tolerance, and what happens where there is none."""

import pytest

from compliance.assessment.comparison import compare
from compliance.assessment.gating import judge
from compliance.documents import parse_yaml
from compliance.errors import ConfigError
from compliance.records.base import digest_bytes
from compliance.records.comparison import (
    ALL_MEASURES,
    AllowedVerdict,
    PackDiff,
    PackName,
    Tolerance,
    Tolerances,
    VersionChange,
)
from compliance.records.finding import Verdict
from tests.assessment.compared import BENIGN, CELLS, POSITIVE, moved, world, world_items

EN, JA = CELLS
NAME = PackName(pack_id="demo-1.0.0", version="1.0.0", root_digest=digest_bytes(b""))


def beside(old, new) -> PackDiff:
    decided = VersionChange(version="1.1.0", change="measurements", reasons=())
    return PackDiff(old=NAME, new=NAME, follows=True, decided=decided,
                    comparison=compare(*old, *new))  # fmt: skip


@pytest.fixture(scope="module")
def table():
    return world_items()


@pytest.fixture(scope="module")
def fallen(table):
    """Four of forty English positives are no longer hit: sensitivity falls by 0.1."""
    hits = table[(table["language"] == "en") & (table["label"] == POSITIVE) & (table["score"] > 1)]
    return moved(table, table["item"].isin(hits["item"].iloc[:4]), -6.0)


@pytest.fixture(scope="module")
def lost(table, fallen):
    return beside(world(table), world(fallen))


def held(measure="sensitivity", **tolerance):
    more = {key: tolerance.pop(key) for key in ("allowed_verdicts", "not_comparable")
            if key in tolerance}  # fmt: skip
    return Tolerances(measures={measure: Tolerance(**tolerance)}, **more)


def places(gate):
    return [(v.cell, v.measure) for v in gate.violations]


def test_the_same_pack_passes_where_nothing_is_tolerated(table):
    gate = judge(beside(world(table), world(table)), Tolerances())

    assert gate.passed and gate.violations == () and gate.held == 11


def test_without_a_file_any_fall_fails_and_is_named(lost):
    gate = judge(lost, Tolerances())

    assert gate.passed is False
    assert (EN.key, "sensitivity") in places(gate) and (JA.key, "sensitivity") not in places(gate)
    (line,) = (v for v in gate.violations if v.measure == "sensitivity")
    assert line.message.startswith("fell by 0.1000, allowed 0: from 0.8000 to 0.7000 on 40 shared")


@pytest.mark.parametrize(("allowed", "passed"), [(0.1, True), (0.0999, False), (0.2, True)])
def test_a_fall_is_held_against_what_is_allowed(lost, allowed, passed):
    assert judge(lost, held(allowed=allowed)).passed is passed


def test_an_interval_must_lie_within_what_is_allowed(lost):
    (change,) = [c for c in lost.comparison.measures
                 if (c.measure, c.cell) == ("sensitivity", EN)]  # fmt: skip

    assert judge(lost, held(allowed=0.1, mode="interval")).passed is False
    assert judge(lost, held(allowed=-change.low - 1e-6, mode="interval")).passed is False
    assert judge(lost, held(allowed=-change.low, mode="interval")).passed is True
    assert judge(lost, Tolerances(mode="interval", measures={"sensitivity": Tolerance(allowed=0.1)})
                 ).passed is False  # fmt: skip


def test_false_alarms_are_held_the_other_way_round(table):
    louder = moved(table, (table["label"] == BENIGN) & (table["item"].str[2:5] < "006"), 9.0)
    more, fewer = (beside(world(a), world(b)) for a, b in ((table, louder), (louder, table)))

    gate = judge(more, held("fpr-benign", allowed=0.01))
    assert places(gate) == [(c.key, "fpr-benign") for c in (EN, JA)]
    assert "rose by" in gate.violations[0].message
    assert judge(fewer, held("fpr-benign", allowed=0.0)).passed


def test_what_gets_better_passes_and_a_gap_falls_as_its_reference_rises(table, fallen):
    back = judge(beside(world(fallen), world(table)), Tolerances())

    assert places(back) == [(JA.key, "gap")]


def test_measures_without_a_tolerance_are_listed(lost):
    gate = judge(lost, held("fpr-benign"))

    assert gate.passed and gate.held == 2
    assert gate.not_held == ("auroc-hard", "auroc-benign", "sensitivity", "fpr-hard", "gap")


@pytest.mark.parametrize(
    ("before", "now", "passed"),
    [
        (Verdict.SUPPORTED, Verdict.SUPPORTED_WITH_LIMITS, False),
        (Verdict.SUPPORTED_WITH_LIMITS, Verdict.INCONCLUSIVE, False),
        (Verdict.INCONCLUSIVE, Verdict.NOT_SUPPORTED, False),
        (Verdict.NOT_SUPPORTED, Verdict.CONTRADICTED, False),
        (Verdict.CONTRADICTED, Verdict.NOT_COVERED, False),
        (Verdict.INCONCLUSIVE, Verdict.SUPPORTED, True),
        (Verdict.NOT_COVERED, Verdict.CONTRADICTED, True),
        (Verdict.SUPPORTED, Verdict.SUPPORTED, True),
    ],
)
def test_a_worse_verdict_fails_unless_it_is_allowed(table, before, now, passed):
    diff = beside(world(table, verdict=before), world(table, verdict=now))
    allowed = Tolerances(allowed_verdicts=(AllowedVerdict(before=before, now=now),))

    gate = judge(diff, Tolerances())

    assert gate.passed is passed
    assert places(gate) == ([] if passed else [(c.key, "verdict") for c in CELLS])
    assert judge(diff, allowed).passed


def test_a_cell_that_is_gone_fails_unless_that_is_ignored(table):
    diff = beside(world(table), world(table, cells=(EN,)))

    gate = judge(diff, Tolerances())

    assert gate.passed is False
    assert (JA.key, "verdict") in places(gate) and (JA.key, "gap") in places(gate)
    assert "no longer planned" in gate.violations[0].message
    ignored = judge(diff, Tolerances(not_comparable="ignore"))
    assert ignored.passed and ignored.ignored == 6


def test_a_cell_that_is_new_fails_nothing(table):
    gate = judge(beside(world(table, cells=(EN,)), world(table)), Tolerances())

    assert gate.passed and gate.ignored == 6


def test_other_test_sets_fail_and_where_that_is_ignored_nobody_can_tell(table):
    others = world(table.assign(item=table["item"] + "-b"), cells=(EN,))
    diff = beside(world(table, cells=(EN,)), others)

    assert judge(diff, Tolerances()).passed is False
    # verdicts of one cell on other items are still compared
    assert judge(diff, Tolerances(not_comparable="ignore")).passed is True
    nothing = beside(world(table, cells=(JA,)), others)
    assert judge(nothing, Tolerances(not_comparable="ignore")).passed is None


def test_all_measures_are_held_without_a_file():
    from compliance.assessment.comparison import MEASURES

    assert tuple(ALL_MEASURES) == MEASURES == tuple(Tolerances().measures)
    assert {tolerance.allowed for tolerance in ALL_MEASURES.values()} == {0.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mode: point\nmode2: x\n", "line 2: unknown key 'mode2'"),
        ("measures:\n  sensitivty: {allowed: 0.1}\n", "line 2: measures.sensitivty"),
        ("measures:\n  gap: {allowed: -0.1}\n", "line 2: measures.gap.allowed"),
        ("measures:\n  gap: {mode: strict}\n", "line 2: measures.gap.mode"),
        ("not_comparable: pass\n", "line 1: not_comparable"),
        (
            "allowed_verdicts:\n  - {before: supported, now: good}\n",
            "line 2: allowed_verdicts.0.now",
        ),
    ],
)
def test_a_mistake_in_a_file_is_refused_with_its_line(text, message):
    with pytest.raises(ConfigError, match=r"tolerances\.yaml, " + message.replace(".", r"\.")):
        parse_yaml(text, "tolerances.yaml", Tolerances)
