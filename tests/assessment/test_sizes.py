"""A plan whose tables could not be read back is refused, and says how many items fit."""

from collections import Counter

import pytest

from compliance.assessment import sizes
from compliance.assessment.sizes import refuse_too_large
from compliance.errors import PlanError
from compliance.records.suite import Label, Variant
from tests.assessment import fit_tables
from tests.assessment.test_planning import planned
from tests.assessment.test_planning import suite as suite

PLAN = fit_tables.make_plan()
TEXT = Variant("en", "text", "plain")
PICTURE = Variant("en", "image", "depicted")


def counted(number: int, split: str, variant: Variant = TEXT):
    labels = Counter({Label.POSITIVE: number, Label.HARD_NEGATIVE: number})
    return {(split, "danger", variant): labels}


def widths() -> int:
    return sum(sae.d_in for sae in PLAN.saes)


def test_vectors_that_could_not_be_read_back_are_refused_with_what_fits():
    with pytest.raises(PlanError, match="fit/vectors.parquet: 200,000 items would give") as e:
        refuse_too_large(PLAN, counted(100_000, "discover"), 0)

    fits = int(e.value.hint.split("at most ")[1].split(" such")[0].replace(",", ""))
    refuse_too_large(PLAN, counted(fits // 2, "discover"), 0)
    with pytest.raises(PlanError):
        refuse_too_large(PLAN, counted(fits // 2 + 1, "discover"), 0)


def test_items_without_words_have_no_vectors_of_words():
    refuse_too_large(PLAN, counted(100_000, "discover", PICTURE), 0)


def test_means_count_by_their_bytes(monkeypatch):
    monkeypatch.setattr(sizes, "MAX_UNPACKED", 8 * widths() * 1000)

    refuse_too_large(PLAN, {}, 1000)
    with pytest.raises(PlanError, match=r"confirm/fidelity.parquet: 1,001 items .* bytes"):
        refuse_too_large(PLAN, {}, 1001)


def test_scores_count_by_item_and_concept(monkeypatch):
    monkeypatch.setattr(sizes, "MAX_VALUES", 20 * 50)

    refuse_too_large(PLAN, counted(25, "confirm"), 0)
    with pytest.raises(PlanError, match="confirm/scores.csv: 52 items would give at least 1,040"):
        refuse_too_large(PLAN, counted(26, "confirm"), 0)


def test_a_plan_is_refused_before_anything_runs(suite, monkeypatch):
    monkeypatch.setattr(sizes, "MAX_VALUES", 10_000)

    with pytest.raises(PlanError, match="fit/vectors.parquet: .* at most 10,000 can be read back"):
        planned(suite)
