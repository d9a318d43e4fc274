from types import SimpleNamespace

import pytest

from compliance.catalog import load_catalog
from compliance.records.audit import Claims, Declared, FeatureRef
from compliance.records.comparison import Comparison, MeasureChange, Reading, WhyNot
from compliance.records.finding import Verdict
from compliance.reports.changes import MAIN, Earlier, changes, declared_changes
from compliance.reports.context import Context
from compliance.reports.messages import load_messages
from compliance.reports.render import _namespace, templates
from compliance.reports.tables import shown_ids
from tests.reports.example import example_evidence, example_system

UNCHANGED = ("subject", "plan", "probes", "suites", "law", "declared")


@pytest.fixture(scope="module")
def ctx(evidence):
    return Context(evidence, load_catalog(), load_messages())


@pytest.fixture(scope="module")
def compare(ctx):
    """The chapter against this evidence with some fields as they were before."""

    def compare(plan=None, **fields):
        before = ctx.evidence.model_copy(update=fields)
        if plan:
            before = before.model_copy(update={"plan": before.plan.model_copy(update=plan)})
        digest = "sha256:" + "a" * 64
        declared = declared_changes(before.system, ctx.evidence.system)
        return changes(ctx, Earlier("1.0.0", "test-system-1.0.0", digest, before, declared))

    return compare


def part(section, key):
    return next(p for p in section.parts if p.anchor == f"changes-{key}")


def sides(section, key):
    """Rows of a part's table: title, then each entry as a reader sees it."""
    return {
        f"{group.heading}: {row.title}" if group.heading else row.title: [
            seen(entry) for entry in row.entries
        ]
        for table in part(section, key).tables
        for group in table.groups
        for row in group.rows
    }


def seen(entry):
    if entry.verdict:
        return entry.verdict.label
    return entry.text or entry.number.text or entry.number.short


def said(section, key):
    return "".join(f.text for s in part(section, key).intro for f in s.fragments)


def page(section):
    words = load_messages().ui
    template = templates().get_template("report/changes.html.j2")
    return template.render(report=SimpleNamespace(changes=section), w=_namespace(words))


def test_a_first_version_says_that_there_is_none_before(ctx):
    first = changes(ctx, None)

    assert first.parts == () and first.earlier == ()
    assert "no earlier version" in page(first)


def test_the_earlier_pack_is_named_by_version_and_root(compare):
    html = page(compare())

    assert "test-system-1.0.0" in html and "sha256:" + "a" * 64 in html


@pytest.mark.parametrize("key", UNCHANGED)
def test_a_part_without_a_difference_says_so(compare, key):
    section = compare()

    assert part(section, key).tables == ()
    assert said(section, key).startswith("The same") and said(section, key) in page(section)


def test_another_model_or_autoencoder_shows_by_its_digest(compare, ctx):
    model = ctx.plan.model.model_copy(update={"weights_digest": "sha256:old"})
    sae = ctx.plan.saes[0].model_copy(update={"name": "old-sae"})

    found = sides(compare(plan={"model": model, "saes": (sae,)}), "subject")

    assert found["Digest of the weights"] == ["sha256:old", ctx.plan.model.weights_digest]
    assert found["Autoencoder old-sae"][1] == "absent"
    assert found[f"Autoencoder {ctx.plan.saes[0].name}"][0] == "absent"
    assert len(found) == 3


def test_another_version_of_the_system_shows(compare):
    found = sides(compare(system=example_system().model_copy(update={"version": "0.1"})), "subject")

    assert [row[0] for row in found.values()] == ["0.1"]


def test_a_key_of_the_plan_shows_with_both_values(compare, ctx):
    claims = Claims(min_sensitivity=0.7)

    found = sides(compare(plan={"alpha": 0.05, "claims": claims}), "plan")

    assert found["alpha"] == ["0.05", "0.01"]
    assert found["claims.min_sensitivity"] == ["0.7", "0.5"]
    assert len(found) == 2


def test_a_key_that_is_new_or_gone_is_absent_on_the_other_side(compare, ctx):
    found = sides(compare(plan={"subset": None}), "plan")

    assert found["subset.groups_per_concept"] == ["absent", "240"]


def test_a_long_list_of_the_plan_is_told_by_its_length_and_digest(compare, ctx):
    found = sides(compare(plan={"cells": ctx.plan.cells[:-1]}), "plan")

    before, now = found["cells"]
    assert before.startswith("11 entries, sha256:") and now.startswith("12 entries, sha256:")


def test_the_plan_leaves_out_what_has_a_part_of_its_own(compare, ctx):
    suite = ctx.plan.suites[0].model_copy(update={"digest": "sha256:old"})

    section = compare(plan={"suites": (suite,)})

    assert sides(section, "plan") == {}
    (row,) = sides(section, "suites").values()
    assert "sha256:old" in row[0] and "sha256:old" not in row[1]


def test_another_feature_for_a_concept_shows(compare, ctx):
    first, *rest = ctx.evidence.lock.probes
    other = first.model_copy(update={"features": (FeatureRef(latent=1),)})
    lock = ctx.evidence.lock.model_copy(update={"probes": (other, *rest)})

    found = sides(compare(lock=lock), "probes")

    (row,) = found.items()
    assert row[0] == "Deception" and "feature 1 of" in row[1][0] and "4711" in row[1][1]


def test_another_catalog_shows_by_its_digests(compare, ctx):
    law = ctx.evidence.law.model_copy(update={"mapping_digest": "sha256:old"})

    assert sides(compare(law=law), "law") == {
        "Digest of the mapping": ["sha256:old", ctx.evidence.law.mapping_digest]
    }


@pytest.mark.parametrize(
    ("before", "change"),
    [
        ({"intended_purpose": None}, "added"),
        ({"intended_purpose": Declared(text="Something else.")}, "changed"),
        ({"intended_purpose": Declared(not_applicable="no reason")}, "changed"),
        ({"robustness": Declared(text="Tested in another way.")}, "removed"),
    ],
)
def test_declared_facts_that_differ_are_listed_and_not_quoted(compare, before, change):
    system = example_system()
    declared = {**system.declared, **before}
    declared = {key: value for key, value in declared.items() if value is not None}

    section = compare(system=system.model_copy(update={"declared": declared}))

    (table,) = part(section, "declared").tables
    (row,) = table.groups[0].rows
    assert (row.name, row.entries[0].text) == (next(iter(before)), change)
    assert row.anchor.startswith("law-art13-3-b-i")
    assert not any("else" in text or "another way" in text for text in [page(section)])


def test_a_blank_answer_is_no_declaration_on_either_side(compare):
    declared = {k: v for k, v in example_system().declared.items() if k != "robustness"}

    section = compare(system=example_system().model_copy(update={"declared": declared}))

    assert sides(section, "declared") == {}


def test_every_cell_of_either_pack_has_its_verdict_before_and_now(compare, ctx):
    flipped = ctx.evidence.findings[0].model_copy(update={"verdict": Verdict.INCONCLUSIVE})
    gone = ctx.plan.cells[0].model_copy(update={"language": "de"})
    cells = (*ctx.plan.cells[:-1], gone)

    section = compare(plan={"cells": cells}, findings=(flipped, *ctx.evidence.findings[1:-1]))

    found = sides(section, "verdicts")
    assert len(found) == 13
    assert found["Deception: English"] == ["Inconclusive", "Supported"]
    assert found["Deception: German"] == ["Not covered", "not planned"]
    assert found["Sycophancy: Russian"] == ["not planned", "Not covered"]
    assert "both packs planned: 11; of these with another verdict now: 1." in said(
        section, "verdicts"
    )
    assert "planned only before: 1; only now: 1." in said(section, "verdicts")


def test_main_numbers_stand_side_by_side_each_with_its_own_interval(compare, ctx):
    key = "deception/en/text/plain/sensitivity"
    results = tuple(
        r.model_copy(update={"value": 0.5, "low": 0.4, "high": 0.6}) if r.id == key else r
        for r in ctx.evidence.results
    )

    (table,) = part(compare(results=results), "numbers").tables

    assert table.columns[2:4] == ("Sensitivity, before", "Sensitivity, now")
    before, now = table.groups[0].rows[0].entries[2:4]
    assert before.text.replace("\N{NO-BREAK SPACE}", " ") == "50.0 % (40.0 to 60.0 %)"
    assert now.number == ctx.numbers.of(key)


def test_no_number_of_the_earlier_pack_has_an_address_of_this_one(compare, ctx):
    key = "deception/en/text/plain/sensitivity"
    results = tuple(r for r in ctx.evidence.results if r.id != key)

    section = compare(results=results)

    assert set(shown_ids(section)) <= {
        f"{cell.key}/{name}" for cell in ctx.plan.cells for name in MAIN
    }
    before, now = part(section, "numbers").tables[0].groups[0].rows[0].entries[2:4]
    assert before.text == "no value" and before.number is None
    assert now.number.result_id == key


def test_cells_that_neither_pack_covers_have_no_row_of_numbers(compare, ctx):
    first = ctx.evidence.findings[0].model_copy(update={"verdict": Verdict.NOT_COVERED})

    same = sides(compare(), "numbers")
    then_uncovered = sides(compare(findings=(first, *ctx.evidence.findings[1:])), "numbers")

    assert len(same) == 10 and "Deception: Russian" not in same
    assert then_uncovered.keys() == same.keys()


def test_packs_without_a_common_cell_have_no_numbers_to_compare(compare):
    section = compare(plan={"cells": ()}, findings=())

    assert part(section, "numbers").tables == ()
    assert said(section, "numbers").startswith("No cell that both packs planned")


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        (lambda p: {"suites": (p.suites[0].model_copy(update={"digest": "x"}),)}, "test sets"),
        (lambda p: {"splits": p.splits.model_copy(update={"confirm": 60})}, "the splits"),
        (lambda p: {"subset": None}, "the parts of the test sets"),
    ],
)
def test_numbers_on_other_items_are_not_compared(compare, ctx, plan, why):
    section = compare(plan=plan(ctx.plan))

    assert part(section, "numbers").tables == ()
    assert "Not comparable" in said(section, "numbers") and why in said(section, "numbers")


def test_the_page_says_that_no_difference_was_tested(compare):
    html = page(compare())

    assert "No paired test" in html and "interval of its own pack" in html
    assert "legal judgement" in html


def test_hostile_words_of_the_earlier_pack_stay_words(compare):
    system = example_system().model_copy(update={"title": "<script>\u202e"})

    html = page(compare(system=system))

    assert "<script>" not in html and "\u202e" not in html and "&lt;script&gt;" in html


def test_the_shipped_example_differs_from_itself_in_nothing(ctx):
    again = Earlier("1.0.0", "p", "sha256:0", example_evidence(validation=ctx.evidence.validation))

    assert all(sides(changes(ctx, again), key) == {} for key in UNCHANGED)


# Tests on the items of both packs


def comparison_of(*changes):
    return Comparison(
        verdicts=(), measures=changes, level=0.95, family_error=0.05, draws=200, seed=1
    )


def made(ctx, place=0, measure="sensitivity", **fields):
    return MeasureChange(
        **{
            "cell": ctx.plan.cells[place], "measure": measure, "reading": Reading.WORSE,
            "items_before": 168, "items_now": 168, "items_shared": 168, "groups": 168,
            "before": 0.91, "now": 0.8, "difference": -0.11, "low": -0.2, "high": -0.02,
            "p": 0.0001, "p_holm": 0.004, "method": "paired-bootstrap",
        } | fields
    )  # fmt: skip


def with_tests(ctx, *changes_):
    earlier = Earlier("1.0.0", "p", "sha256:0", ctx.evidence, comparison=comparison_of(*changes_))
    return changes(ctx, earlier)


def test_a_tested_difference_stands_with_interval_and_p_value(ctx):
    (found,) = sides(with_tests(ctx, made(ctx)), "tests").items()

    texts = [text.replace("\N{NO-BREAK SPACE}", " ") for text in found[1]]
    assert found[0] == "Sensitivity: Deception: English"
    assert texts == [
        "91.0 %", "80.0 %", "−11.0 points (−20.0 to −2.0 points)", "0.004",
        "168 of 168 before and 168 now", "worse",
    ]  # fmt: skip


def test_no_number_of_a_comparison_has_an_address(ctx):
    section = with_tests(ctx, made(ctx), made(ctx, measure="auroc-hard"))

    assert all(
        entry.number is None
        for table in part(section, "tests").tables
        for group in table.groups
        for row in group.rows
        for entry in row.entries
    )


@pytest.mark.parametrize("reason", list(WhyNot))
def test_what_is_not_comparable_says_why(ctx, reason):
    nothing = dict.fromkeys(("before", "now", "difference", "low", "high", "p", "p_holm", "method"))
    row = made(ctx, reading=Reading.NOT_COMPARABLE, reason=reason, **nothing)

    (found,) = sides(with_tests(ctx, row), "tests").values()

    assert found[0] == "no value" and found[-1].startswith("not comparable: ")
    assert load_messages().changes[f"why_{reason}"] in found[-1]


def test_readings_are_counted_and_what_the_items_are_is_said(ctx):
    section = with_tests(
        ctx,
        made(ctx),
        made(ctx, 1, reading=Reading.NO_CHANGE, items_shared=160, items_changed=3),
        made(ctx, 2, reading=Reading.BETTER, items_unchecked=1),
    )

    text = said(section, "tests")
    assert "worse: 1; better: 1; no change shown: 1. Not comparable: 0." in text
    assert "only items that both packs saw count" in text
    assert "other contents are left out" in text and "withheld in one of the packs" in text
    assert "only items that both" not in said(with_tests(ctx, made(ctx)), "tests")


def test_the_page_says_what_was_tested_and_how(ctx):
    html = page(with_tests(ctx, made(ctx)))

    assert "Differences on the items of both packs" in html and "No paired test" not in html
    assert "adjusted by Holm" in html and "less than these items can show" in html


def test_packs_without_a_main_number_say_so(ctx):
    assert said(with_tests(ctx), "tests") == "No main number is in either pack."


def test_a_cell_that_is_no_longer_planned_has_no_link(ctx):
    gone = ctx.plan.cells[0].model_copy(update={"language": "de"})

    (table,) = part(with_tests(ctx, made(ctx, cell=gone)), "tests").tables

    assert table.groups[0].rows[0].anchor is None
    assert table.groups[0].rows[0].title == "Deception: German"
