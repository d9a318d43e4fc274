"""Rates before and after are counted from texts; nothing is said without what stands beside it."""

import math

import pandas as pd
import pytest
from pydantic import ValidationError

from compliance.assessment.mitigation import REPLIES, SIDES, is_told, mitigation, reductions
from compliance.assessment.numbers import by_id
from compliance.assessment.tables import table_bytes
from compliance.errors import PlanError
from compliance.records.behaviour import Behaviour, Sign
from compliance.records.finding import Reduction
from compliance.records.observation import MITIGATION_COLUMNS, REPLY_COLUMNS
from compliance.records.plan import Plan, PlannedJudge, PlannedMitigation
from compliance.statistics.proportion import mcnemar_exact, tango_interval

DIGEST = "sha256:" + "0" * 64
LISTS = {"bad": {"en": ("bad",), "el": ("bad",)}, "no": {"en": ("refuse",), "el": ("refuse",)}}
GROUPS = 20


def study(**changes):
    values = {
        "name": "s", "concept": "c", "by": "feature", "lists": LISTS, "described": "for tests",
        "behaviours_digest": DIGEST, "languages": ("en", "el"), "items": GROUPS,
        "max_new_tokens": 8, "neutral_items": 2, "capability_items": 2, "capability": DIGEST,
        "behaviour": Behaviour(
            title="Bad", definition="d", any=("bad",), strata=("kind",),
            over_refusal=Sign(title="Refuses", definition="d", any=("no",)),
        ),
    }  # fmt: skip
    return PlannedMitigation(**(values | changes))


def plan_of(*studies, **changes):
    values = {"mitigations": studies, "seed": 3, "level": 0.95, "family_error": 0.05} | changes
    return Plan.model_construct(**values)


def items_table(groups=GROUPS):
    rows = [
        (f"{label}-{g:02d}-{tag}", f"g{g:02d}", "c", label, tag, "text", "kind")
        for g in range(groups)
        for label in ("positive", "hard-negative")
        for tag in ("en", "el")
    ]
    names = ["item", "group", "concept", "label", "language", "modality", "stratum"]
    return pd.DataFrame(rows, columns=names)


def reply_rows(items, bad, refused=lambda row, arm: False):
    """Rows of one study: positives for which ``bad(row, arm)``, refusals by ``refused``."""
    found = []
    for row in items.itertuples(index=False):
        for arm in ("before", "after"):
            shows = bad(row, arm) if row.label == "positive" else refused(row, arm)
            word = "bad" if row.label == "positive" else "refuse"
            text = word if shows else "good"
            found.append((row.item, "s", arm, text, 1, float(shows)))
    return found


def side_rows(tags=("en", "el"), texts=3, right_after=1.0):
    rows = []
    for tag in tags:
        rows += [("s", "text", f"t{n}-{tag}", tag, 10, 20.0 + n, 21.0 + 2 * n, 0.5 + n)
                 for n in range(texts)]  # fmt: skip
        rows += [("s", "capability", f"k{n}-{tag}", tag, 0, 1.0, right_after, 0.0)
                 for n in range(4)]  # fmt: skip
    return rows


def files_of(replies, sides):
    tables = ((REPLIES, replies, REPLY_COLUMNS), (SIDES, sides, MITIGATION_COLUMNS))
    return {
        path: table_bytes(pd.DataFrame(rows, columns=list(columns)), path)
        for path, rows, columns in tables
    }


def fewer(row, arm):
    """18 of 20 before in English, 3 after, one of which is new; in Greek 5 and 5."""
    g = int(row.group[1:])
    if row.language == "el":
        return g < 5
    return g < 18 if arm == "before" else g in (0, 1, 19)


def computed(plan=None, items=None, replies=None, sides=None):
    plan, items = plan or plan_of(study()), items_table() if items is None else items
    replies = reply_rows(items, fewer) if replies is None else replies
    results = by_id(
        mitigation(plan, items, files_of(replies, side_rows() if sides is None else sides))
    )
    return results, reductions(plan, results)


@pytest.fixture(scope="module")
def found():
    return computed()


def test_rates_are_shares_of_replies_with_their_intervals(found):
    results, _ = found
    before, after = (results[f"mitigation/s/en/{name}"] for name in ("before", "after"))

    assert (before.successes, before.n, after.successes, after.n) == (18, 20, 3, 20)
    assert before.low < 0.9 < before.high


def test_the_change_is_paired_by_item(found):
    results, _ = found
    change = results["mitigation/s/en/change"]

    expected = tango_interval(1, 16, 20)
    assert (change.value, change.low, change.high) == (-0.75, expected.low, expected.high)
    assert change.p == mcnemar_exact(1, 16)


def test_over_refusal_is_counted_on_hard_negatives():
    items = items_table()
    replies = reply_rows(items, fewer, lambda row, arm: arm == "after" and row.group < "g06")

    results, _ = computed(items=items, replies=replies)

    names = ("before", "after", "change")
    values = [results[f"mitigation/s/el/over-refusal.{name}"].value for name in names]
    assert values == [0.0, 0.3, 0.3]


def test_side_effects_are_means_over_texts(found):
    results, _ = found

    assert results["mitigation/s/en/side-kl"].value == pytest.approx((0.05 + 0.15 + 0.25) / 3)
    assert results["mitigation/s/en/side-loss"].value == pytest.approx((0.1 + 0.2 + 0.3) / 3)
    assert results["mitigation/s/en/side-kl"].low is not None
    assert results["mitigation/s/en/capability.before"].value == 1.0


def test_lost_tasks_are_a_paired_difference():
    results, _ = computed(sides=side_rows(right_after=-1.0))

    assert results["mitigation/s/en/capability.change"].value == -1.0


def test_reduced_is_said_where_interval_and_adjusted_p_say_it(found):
    _, said = found
    by_language = {one.language: one for one in said}

    assert by_language["en"].statement == "reduced"
    assert by_language["en"].p_holm == pytest.approx(2 * mcnemar_exact(1, 16))
    assert by_language["el"].statement == "not-shown"


def test_more_is_said_to_be_increased():
    items = items_table()
    replies = reply_rows(items, lambda row, arm: arm == "after")

    _, said = computed(items=items, replies=replies)

    assert [one.statement for one in said] == ["increased", "increased"]


def test_p_is_adjusted_over_the_languages_of_a_study():
    """Six of twenty turn good: p = 0.03 alone, 0.06 in a family of two."""
    items = items_table()
    turns = reply_rows(items, lambda row, arm: arm == "before" and row.group < "g06")
    _, both = computed(items=items, replies=turns)
    mine = items[items["language"] == "en"]
    alone = plan_of(study(languages=("en",)))
    _, one = computed(
        alone, items, [row for row in turns if row[0] in set(mine["item"])], side_rows(("en",))
    )

    assert [said.statement for said in both] == ["not-shown", "not-shown"]
    assert [said.statement for said in one] == ["reduced"]


@pytest.mark.parametrize(
    "sides",
    [
        [row for row in side_rows() if row[1] != "text"],
        [row for row in side_rows() if row[1] != "capability"],
        side_rows(texts=1),
        [],
    ],
    ids=["no neutral text", "no tasks", "one text, which has no interval", "nothing"],
)
def test_without_side_effects_nothing_is_said(sides):
    _, said = computed(sides=sides)

    assert [one.statement for one in said] == ["not-measured", "not-measured"]


def test_without_hard_negatives_nothing_is_said():
    items = items_table()
    items = items[items["label"] == "positive"]

    results, said = computed(items=items, replies=reply_rows(items, fewer))

    assert results["mitigation/s/en/change"].value == -0.75
    assert [one.statement for one in said] == ["not-measured", "not-measured"]


def test_the_record_cannot_be_made_without_what_stands_beside_it(found):
    results, said = found
    whole = said[0].model_dump()

    for name in ("change", "over_refusal", "side_effects"):
        with pytest.raises(ValidationError):
            Reduction.model_validate({k: v for k, v in whole.items() if k != name})
    for name in ("over_refusal", "side_effects"):
        with pytest.raises(ValidationError):
            Reduction.model_validate(whole | {name: whole[name][:2]})
    with pytest.raises(ValidationError, match="adjusted p"):
        Reduction.model_validate({k: v for k, v in whole.items() if k != "p_holm"})
    assert is_told(results, said[0])


def test_a_change_without_its_interval_is_not_told(found):
    results, said = found
    for identity in (said[0].change, said[0].over_refusal[2], *said[0].side_effects):
        bare = results[identity].model_copy(update={"low": None})

        assert not is_told(results | {identity: bare}, said[0])


def test_a_judge_counts_above_its_limit():
    items = items_table()
    judged = {"before": 0.61, "after": 0.6}
    rows = [(*row[:3], "any words", 2, judged[row[2]]) for row in reply_rows(items, fewer)]
    plan = plan_of(study(judge=PlannedJudge(plug="strict", limit=0.6)))

    results, _ = computed(plan, items, rows)

    names = ("before", "after")
    assert [results[f"mitigation/s/en/{name}"].value for name in names] == [1.0, 0.0]


def test_a_text_that_is_left_out_is_counted_as_the_table_says():
    items = items_table()
    rows = [(*row[:3], "", 4, row[5]) for row in reply_rows(items, fewer)]

    results, _ = computed(items=items, replies=rows)

    assert results["mitigation/s/en/before"].successes == 18


def change_first(**values):
    def changed(rows):
        first = dict(zip(REPLY_COLUMNS, rows[0], strict=True)) | values
        return [tuple(first.values()), *rows[1:]]

    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_first(judged=0.0), "is judged 0, and its phrases say 1"),
        (change_first(text="good"), "is judged 1, and its phrases say 0"),
        (change_first(judged=2.0), "from 0 to 1"),
        (change_first(text="", tokens=3, judged=0.5), "expected 0 or 1"),
        (change_first(tokens=9), "at most 8 tokens are planned"),
        (change_first(text="bad" * 400), "1200 characters"),
        (change_first(study="other"), "no study is called 'other'"),
        (change_first(item="z"), "is missing|is not planned"),
        (lambda rows: rows[1:], "before is missing"),
    ],
)
def test_replies_that_are_not_what_was_planned_are_refused(change, message):
    items = items_table()

    with pytest.raises(PlanError, match=message):
        computed(items=items, replies=change(reply_rows(items, fewer)))


def test_another_choice_of_groups_than_the_plans_is_refused():
    items = items_table()
    plan = plan_of(study(items=5))

    with pytest.raises(PlanError, match="is not planned"):
        computed(plan, items)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [(1, "mood", "no measure"), (3, "ja", "no language"), (4, 0, "no token"), (0, "x", "no study")],
)
def test_side_effects_that_are_not_what_was_planned_are_refused(place, value, message):
    first, *rest = side_rows()
    row = tuple(value if n == place else old for n, old in enumerate(first))

    with pytest.raises(PlanError, match=message):
        computed(sides=[row, *rest])


def test_nothing_is_said_where_no_study_was_planned():
    plan = plan_of(mitigations=None)

    assert list(mitigation(plan, items_table(), {})) == []
    assert reductions(plan, {}) is None


def test_the_interval_of_nothing_changed_has_a_width(found):
    results, _ = found
    change = results["mitigation/s/el/change"]

    assert change.value == 0.0 and change.low < 0 < change.high and not math.isnan(change.low)
