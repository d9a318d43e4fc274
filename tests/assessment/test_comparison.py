"""Two packs of one system side by side: fields, verdicts, and numbers on the items of both."""

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from compliance.assessment.comparison import compare
from compliance.errors import PlanError
from compliance.records.audit import Declared
from compliance.records.base import canonical_bytes, digest_of
from compliance.records.comparison import (
    LEAST_GROUPS,
    Comparison,
    MeasureChange,
    Reading,
    WhyNot,
)
from compliance.records.finding import Verdict
from compliance.records.subject import SaeFacts
from tests.assessment.compared import (
    BENIGN,
    CELLS,
    HARD,
    POSITIVE,
    exact,
    items_of,
    moved,
    world,
    world_items,
)

EN, JA = CELLS


def change(comparison, cell, measure):
    (found,) = [c for c in comparison.measures if (c.cell, c.measure) == (cell, measure)]
    return found


def of(table, cell, label):
    return table[(table["language"] == cell.language) & (table["label"] == label)]


@pytest.fixture(scope="module")
def table():
    return world_items()


@pytest.fixture(scope="module")
def worse(table):
    """Half of the Japanese positives have lower scores now."""
    halved = (
        (table["language"] == "ja")
        & (table["label"] == POSITIVE)
        & (table["group"].str[-1].astype(int) % 2 == 0)
    )
    return moved(table, halved, -3.0)


@pytest.fixture(scope="module")
def found(table, worse):
    return compare(*world(table), *world(worse))


def test_a_pack_beside_itself_has_no_change(table):
    same = compare(*world(table), *world(table))

    assert not (same.subject or same.suites or same.plan or same.probes or same.law)
    assert {c.reading for c in same.measures} == {Reading.NO_CHANGE}
    assert {(c.difference, c.low, c.high, c.p, c.method) for c in same.measures} == {
        (0.0, 0.0, 0.0, 1.0, "identical")
    }


def test_every_measure_that_either_pack_has_in_a_cell_is_there_once(found):
    assert [(c.cell.language, c.measure) for c in found.measures] == [
        *[(tag, m) for m in ("auroc-hard", "auroc-benign", "sensitivity", "fpr-benign", "fpr-hard")
          for tag in ("en", "ja")],
        ("ja", "gap"),
    ]  # fmt: skip


def test_both_sides_are_what_sklearn_and_a_mean_give(found, table, worse):
    for measure, negative in (("auroc-hard", HARD), ("auroc-benign", BENIGN)):
        for side, scores in (("before", table), ("now", worse)):
            parts = [of(scores, JA, label)["score"] for label in (POSITIVE, negative)]
            labels = np.repeat((1, 0), [len(part) for part in parts])
            expected = roc_auc_score(labels, np.concatenate(parts))
            assert getattr(change(found, JA, measure), side) == pytest.approx(expected)
    sensitivity = change(found, JA, "sensitivity")
    assert sensitivity.before == (of(table, JA, POSITIVE)["score"] > 1).mean()
    assert sensitivity.now == (of(worse, JA, POSITIVE)["score"] > 1).mean()
    assert sensitivity.difference == pytest.approx(sensitivity.now - sensitivity.before)


def test_the_p_value_of_a_share_is_that_of_the_changed_groups(found, table, worse):
    before, now = (of(t, JA, POSITIVE)["score"] > 1 for t in (table, worse))
    lost = int((before & ~now).sum())

    assert lost > 5 and not (now & ~before).any()
    expected = binomtest(0, lost).pvalue
    assert change(found, JA, "sensitivity").p == pytest.approx(expected)


def test_a_gap_changes_as_the_sensitivity_where_the_reference_stays(found):
    gap, sensitivity = (change(found, JA, name) for name in ("gap", "sensitivity"))

    assert gap.difference == pytest.approx(sensitivity.difference)
    assert gap.p == pytest.approx(sensitivity.p)
    assert gap.reading is Reading.WORSE


def test_what_fell_reads_worse_and_what_stayed_does_not(found):
    assert change(found, JA, "auroc-hard").reading is Reading.WORSE
    assert change(found, JA, "sensitivity").reading is Reading.WORSE
    assert change(found, EN, "sensitivity").reading is Reading.NO_CHANGE
    assert change(found, JA, "fpr-benign").method == "identical"


def test_the_other_way_round_it_reads_better_by_as_much(found, table, worse):
    back = compare(*world(worse), *world(table))

    for measure in ("auroc-hard", "sensitivity", "gap"):
        there, here = change(found, JA, measure), change(back, JA, measure)
        assert here.reading is Reading.BETTER
        assert here.difference == pytest.approx(-there.difference)
        assert here.p == pytest.approx(there.p)
    # a stream is drawn again for the same groups, so the interval is mirrored
    assert (back.measures[1].low, back.measures[1].high) == pytest.approx(
        (-found.measures[1].high, -found.measures[1].low)
    )


def test_more_false_alarms_are_worse(table):
    louder = moved(table, (table["label"] == BENIGN) & (table["language"] == "en"), 2.0)

    found = compare(*world(table), *world(louder))

    assert change(found, EN, "fpr-benign").difference > 0
    assert change(found, EN, "fpr-benign").reading is Reading.WORSE


def test_each_side_has_its_own_locked_cut_off(table):
    found = change(compare(*world(table), *world(table, cut_off=2.5)), EN, "sensitivity")

    scores = of(table, EN, POSITIVE)["score"]
    assert (found.before, found.now) == ((scores > 1).mean(), (scores > 2.5).mean())
    assert found.method == "paired-bootstrap"


def test_p_values_are_adjusted_over_the_cells_of_one_measure(table):
    softer = moved(table, table["label"] == POSITIVE, -0.5)

    found = compare(*world(table), *world(softer))

    for measure in ("auroc-hard", "sensitivity"):
        pair = sorted((change(found, c, measure) for c in CELLS), key=lambda c: c.p)
        assert pair[0].p_holm == pytest.approx(min(1, 2 * pair[0].p))
        assert pair[1].p_holm == pytest.approx(max(pair[0].p_holm, pair[1].p))


def test_a_change_that_is_small_for_its_family_is_not_shown(table):
    """Six groups lost have p = 0.03 alone and 0.06 among two cells."""
    hits = of(table, EN, POSITIVE)
    six = hits[hits["score"] > 1]["item"].iloc[:6]
    found = compare(*world(table), *world(moved(table, table["item"].isin(six), -9.0)))

    one = change(found, EN, "sensitivity")
    assert one.p == pytest.approx(2 / 64) and one.p_holm == pytest.approx(4 / 64)
    assert one.reading is Reading.NO_CHANGE


def test_only_items_of_both_packs_count_and_how_many_is_said(table, worse):
    kept = table[~table["group"].isin([f"d-{g:03d}" for g in range(15)])]
    found = change(compare(*world(kept), *world(worse)), JA, "sensitivity")

    shared = of(worse, JA, POSITIVE)
    shared = shared[shared["item"].isin(kept["item"])]
    assert (found.items_before, found.items_now, found.items_shared) == (25, 40, 25)
    assert found.now == (shared["score"] > 1).mean()


@pytest.mark.parametrize("column", ["group", "label"])
def test_an_item_of_another_group_or_label_is_not_the_same_item(table, column):
    row = table["item"] == "d-003-positive-en"
    other = {"group": "d-999", "label": HARD}[column]
    changed = table.assign(**{column: table[column].where(~row, other)})

    found = change(compare(*world(changed), *world(table)), EN, "sensitivity")

    assert (found.items_now, found.items_shared, found.items_changed) == (40, 39, 1)


def test_an_item_with_another_text_is_not_the_same_item(table):
    digests = {item.id: digest_of(item) for item in items_of(table)}
    edited = digests | {"d-003-positive-en": "sha256:other"}

    found = compare(*world(table), *world(table), old_items=digests, new_items=edited)

    one = change(found, EN, "sensitivity")
    assert (one.items_shared, one.items_changed, one.items_unchecked) == (39, 1, 0)


def test_items_whose_texts_are_withheld_are_counted_as_unchecked(table):
    suite = world(table)[0].plan.suites[0].model_copy(update={"digest": "sha256:" + "0" * 64})
    digests = {item.id: digest_of(item) for item in items_of(table)}
    some = dict(list(digests.items())[1:])

    other = compare(
        *world(table), *world(table, suites=(suite,)), old_items=digests, new_items=some
    )
    same = compare(*world(table), *world(table), old_items=digests, new_items=some)

    assert change(other, EN, "sensitivity").items_unchecked == 1
    assert change(same, EN, "sensitivity").items_unchecked == 0  # one digest covers the suite


def reasons(comparison):
    assert all((c.reason is None) != (c.reading is Reading.NOT_COMPARABLE)
               for c in comparison.measures)  # fmt: skip
    return {(c.cell.language, c.measure): c.reason for c in comparison.measures if c.reason}


def test_other_items_altogether_are_not_comparable(table):
    renamed = table.assign(item=table["item"] + "-b")

    found = reasons(compare(*world(table), *world(renamed)))

    assert len(found) == 11 and set(found.values()) == {WhyNot.OTHER_ITEMS}


def test_fewer_shared_groups_than_stated_are_not_compared(table):
    def only(groups):
        kept = table["group"].str.startswith("n-") | (table["group"].str[2:].astype(int) < groups)
        return change(compare(*world(table), *world(table[kept])), EN, "sensitivity")

    assert only(LEAST_GROUPS - 1).reason is WhyNot.FEW_GROUPS
    assert only(LEAST_GROUPS - 1).p is None
    assert only(LEAST_GROUPS).reason is None


def test_a_small_pack_beside_itself_has_no_change_all_the_same(table):
    small = table[table["group"].str[2:].astype(int) < 3]

    found = compare(*world(small), *world(small))

    assert {(c.reading, c.method) for c in found.measures} == {(Reading.NO_CHANGE, "identical")}


def test_a_cell_that_one_pack_did_not_plan_is_not_comparable(table):
    fewer = world(table, cells=(EN,))

    assert reasons(compare(*fewer, *world(table)))[("ja", "sensitivity")] is (
        WhyNot.NOT_PLANNED_BEFORE
    )
    assert reasons(compare(*world(table), *fewer))[("ja", "gap")] is WhyNot.NOT_PLANNED_NOW


def test_a_measure_that_one_pack_lacks_is_not_comparable(table):
    evidence, files = world(table)
    results = tuple(
        r.model_copy(update={"value": None}) if r.id == f"{EN.key}/fpr-hard" else r
        for r in evidence.results if not r.id.endswith("gap")
    )  # fmt: skip
    lacking = evidence.model_copy(update={"results": results}), files

    assert reasons(compare(*lacking, *world(table))) == {
        ("en", "fpr-hard"): WhyNot.ABSENT_BEFORE, ("ja", "gap"): WhyNot.ABSENT_BEFORE
    }  # fmt: skip
    assert set(reasons(compare(*world(table), *lacking)).values()) == {WhyNot.ABSENT_NOW}


def test_a_concept_that_means_something_else_is_not_comparable(table):
    evidence, _ = world(table)
    (probe,) = evidence.plan.probes
    other = probe.model_copy(update={"definition": "To flatter."})

    found = reasons(compare(*world(table), *world(table, probes=(other,))))

    assert set(found.values()) == {WhyNot.OTHER_CONCEPT}


def test_features_with_another_label_are_not_comparable(table):
    before = world(table, labels=("lies",))

    assert set(reasons(compare(*before, *world(table, labels=("jokes",)))).values()) == {
        WhyNot.OTHER_LABEL
    }
    assert not reasons(compare(*before, *before))
    assert not reasons(compare(*before, *world(table)))


def test_a_plan_that_asks_for_all_memory_is_refused(table):
    with pytest.raises(PlanError, match="bootstrap_draws: found 1000000000"):
        compare(*world(table), *world(table, bootstrap_draws=10**9))


def test_tables_that_cannot_be_read_are_said_and_end_nothing(table):
    evidence, files = world(table)

    found = compare(evidence, {**files, "confirm/items.csv": b"other\n"}, evidence, files)

    assert set(reasons(found).values()) == {WhyNot.UNREADABLE}


def test_fields_that_differ_are_named_with_both_values(table):
    old, files = world(table)
    sae = old.plan.saes[0]
    added = SaeFacts.model_validate({**sae.model_dump(), "name": "second"})
    new, _ = world(table, alpha=0.02, seed=9, saes=(sae.model_copy(update={"d_sae": 32}), added))
    new = new.model_copy(
        update={
            "law": new.law.model_copy(update={"instrument": "2027/1"}),
            "system": new.system.model_copy(update={"title": "Other"}),
        }
    )

    found = compare(old, files, new, files)

    def rows(changes):
        return {c.field: (c.before, c.now) for c in changes}

    assert rows(found.subject) == {
        "system.title": ("Demo", "Other"),
        "saes.sae.d_sae": ("16", "32"),
        "saes.second.digest": (None, sae.digest),
    }
    assert rows(found.plan) == {"alpha": ("0.01", "0.02"), "seed": ("7", "9")}
    assert rows(found.law) == {"instrument": ("2024/1689", "2027/1")}


def test_declared_facts_that_differ_are_named_and_not_quoted(table):
    def declaring(**facts):
        evidence, files = world(table)
        declared = {key: Declared(**fact) for key, fact in facts.items()}
        system = evidence.system.model_copy(update={"declared": declared})
        return evidence.model_copy(update={"system": system}), files

    digest = "sha256:" + "0" * 64
    old = declaring(a={"text": "Secret."}, b={"text": "Secret."}, c={"text": "Same."},
                    d={"withheld": digest}, e={"withheld": digest}, f={"text": " "})  # fmt: skip
    new = declaring(b={"not_applicable": "no use"}, c={"text": "Same."}, d={"text": "Shown."},
                    e={"withheld": digest}, g={"text": "New."})  # fmt: skip

    found = compare(*old, *new)

    assert {row.key: row.change for row in found.declared} == {
        "a": "removed", "b": "changed", "d": "withheld", "g": "added"
    }  # fmt: skip
    assert "Secret" not in found.model_dump_json()


def test_every_cell_of_either_pack_has_its_verdicts(table):
    found = compare(
        *world(table, cells=(EN,), verdict=Verdict.INCONCLUSIVE), *world(table, cells=(EN, JA))
    )

    assert [(v.cell.language, v.before, v.now) for v in found.verdicts] == [
        ("en", Verdict.INCONCLUSIVE, Verdict.SUPPORTED),
        ("ja", None, Verdict.SUPPORTED),
    ]


def test_the_same_packs_give_the_same_comparison_and_another_seed_other_intervals(table, worse):
    first, again = (compare(*world(table), *world(worse)) for _ in range(2))
    other = compare(*world(table), *world(worse, seed=8))

    assert first == again
    assert change(other, JA, "auroc-hard").low != change(first, JA, "auroc-hard").low
    assert change(other, JA, "sensitivity").p == change(first, JA, "sensitivity").p


def test_the_order_of_the_tables_rows_and_of_packs_languages_changes_nothing(table, worse):
    shuffled = worse.sample(frac=1, random_state=3)

    assert compare(*world(table), *world(worse)) == compare(*world(table), *world(shuffled))


def test_by_chance_alone_a_family_reads_otherwise_in_about_one_of_twenty():
    """Scores of both packs are drawn anew about the same centres: nothing changed but noise."""
    rng = np.random.default_rng(20261123)
    base = world_items(groups=60, benign=60)
    centre = np.where(base["label"] == POSITIVE, 1.5, 0.0)
    errors = dict.fromkeys(("auroc-hard", "sensitivity", "fpr-hard"), 0)
    trials = 40
    for trial in range(trials):
        common = rng.standard_normal(len(base))
        sides = [
            base.assign(score=exact(centre + common + 0.5 * rng.standard_normal(len(base))))
            for _ in range(2)
        ]
        found = compare(*world(sides[0]), *world(sides[1], seed=trial))
        for measure in errors:
            family = [c for c in found.measures if c.measure == measure]
            errors[measure] += any(c.reading is not Reading.NO_CHANGE for c in family)

    most = 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / trials)
    assert all(count / trials <= most for count in errors.values()), errors
    assert sum(errors.values()) > 0, "a test that never errs shows nothing"


@pytest.mark.parametrize(
    "fields",
    [
        {"low": None},
        {"p_holm": None},
        {"reason": "few-groups"},
        {"reading": "not-comparable"},
        dict.fromkeys(("before", "now", "difference", "low", "high", "p", "p_holm", "method")),
    ],
)
def test_a_stored_entry_that_is_half_there_is_refused(found, fields):
    whole = found.measures[0].model_dump(mode="json")
    assert MeasureChange.model_validate(whole) == found.measures[0]

    with pytest.raises(ValidationError):
        MeasureChange.model_validate({**whole, **fields})


def test_a_comparison_is_read_back_as_it_was_written(found):
    assert Comparison.model_validate_json(canonical_bytes(found)) == found
