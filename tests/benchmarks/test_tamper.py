"""Changed packs are noticed and named, and the benchmark would say so if they were not."""

from random import Random

import pytest

from benchmarks.mutations import KINDS, WITNESSED, Change, Kind, Samples
from benchmarks.sample_packs import make_packs
from benchmarks.tamper import (
    MISSED,
    NAMED,
    UNNAMED,
    Answer,
    Tally,
    drawn,
    outcome_of,
    read_samples,
    table,
    tally,
    witnessed,
)
from compliance.packs.trust import NOTHING
from compliance.records.verification import Check, Outcome, Verification

FILES = {"data/a": b"a", "data/b": b"b"}
NONE = Samples({"older": FILES}, b"", {}, NOTHING, {"older": "demo-1.0.0"})


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return read_samples(make_packs(tmp_path_factory.mktemp("samples")))


@pytest.mark.slow
def test_200_changes_are_noticed_and_named(samples):
    found = tally(samples, 200, seed=1, processes=1)

    assert found.changes == 200
    assert found.misses == []


@pytest.mark.slow
def test_every_kind_of_change_is_noticed_and_named(samples):
    for kind in KINDS:
        found = tally(samples, 2, seed=2, processes=1, kinds=(kind,))

        assert found.misses == [], kind.name


@pytest.mark.slow
def test_what_a_pack_cannot_show_alone_is_shown_by_what_somebody_kept(samples):
    rows = witnessed(samples, 1, changes=2)

    assert [(row.alone, row.known) for row in rows] == [(0, 2)] * len(WITNESSED)


def said(*failed: tuple[str, str | None, str]) -> Verification:
    checks = [Check(name=n, status=Outcome.FAILED, path=p, message=m) for n, p, m in failed]
    passed = Check(name="files", status=Outcome.PASSED, message="plain files")
    return Verification(pack="demo-1.0.0", level="integrity", checks=(passed, *checks))


def changed(**more) -> Change:
    return Change("a changed", FILES, places=frozenset({"data/a"}), **more)


def test_a_change_that_the_verifier_passes_is_missed():
    assert outcome_of(changed(), said()) == MISSED


@pytest.mark.parametrize(
    "failure",
    [("manifest", "data/b", "changed"), ("files", "data/a", "changed"), ("manifest", None, "x")],
)
def test_another_check_or_file_does_not_name_a_change(failure):
    change = changed(checks=frozenset({"manifest"}))

    assert outcome_of(change, said(failure)) == UNNAMED
    assert outcome_of(change, said(failure, ("manifest", "data/a", "changed"))) == NAMED


def test_a_message_must_say_which_number_it_is():
    change = changed(says="results.x")

    assert outcome_of(change, said(("numbers", "data/a", "results.y: 1"))) == UNNAMED
    assert outcome_of(change, said(("numbers", "data/a", "results.x: 1"))) == NAMED


def test_that_there_is_no_pack_names_no_file():
    assert outcome_of(changed(), "no pack here") == UNNAMED
    assert outcome_of(Change("anything", FILES), "no pack here") == NAMED


def test_a_change_that_changes_nothing_is_drawn_again():
    given = iter([None, dict(FILES), {**FILES, "data/a": b"c"}])
    kind = Kind("a kind", 1, lambda *_: (f := next(given)) and Change("x", f))

    assert drawn(kind, NONE, Random(1)).files["data/a"] == b"c"


def test_the_same_number_and_seed_give_the_same_change():
    kind = next(kind for kind in KINDS if kind.name == "file removed")

    first, second = (drawn(kind, NONE, Random("7/1")) for _ in range(2))

    assert first == second


def test_the_table_counts_by_kind():
    found = Tally(7)
    for outcome in (NAMED, NAMED, UNNAMED, MISSED):
        found.add(Answer(0, "file removed", "x", outcome, "", ()))

    assert table(found)[1].split() == ["file", "removed", "4", "3", "2"]
    assert len(found.misses) == 2
