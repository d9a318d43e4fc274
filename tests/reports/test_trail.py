from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from compliance import trail
from compliance.catalog import load_catalog
from compliance.records.base import digest_of
from compliance.reports.context import Context
from compliance.reports.messages import load_messages
from compliance.reports.render import _namespace, templates
from compliance.reports.trail import KINDS, trail_section

START = datetime(2027, 1, 15, 9, 30, tzinfo=UTC)


@pytest.fixture
def ctx(evidence):
    once = evidence.model_copy(update={"confirm_openings": 1})
    return Context(once, load_catalog(), load_messages())


@pytest.fixture
def events(ctx):
    """What an audit appends, in its order."""
    lock = digest_of(ctx.evidence.lock)
    return [
        ("suite-registered", {"suite": "ours", "digest": "sha256:" + "a" * 64}),
        ("plan-frozen", {"digest": digest_of(ctx.plan), "record": {}}),
        ("run-started", {"pass": "fit", "items": 1776}),
        ("run-finished", {"pass": "fit", "observations": {}}),
        ("locked", {"digest": lock, "record": {}}),
        ("confirmation-opened", {"lock": lock, "groups": ["g"], "opening": 1}),
        ("run-started", {"pass": "confirm", "items": 2688}),
        ("run-finished", {"pass": "confirm", "observations": {}}),
        ("assessed", {"evidence": digest_of(ctx.evidence)}),
    ]


@pytest.fixture
def section(ctx, tmp_path):
    """The chapter on a trail of some events, ten seconds apart."""

    def section(events, ctx=ctx):
        path = tmp_path / "trail.jsonl"
        for number, (kind, facts) in enumerate(events):
            at = START + timedelta(seconds=10 * number)
            own = {"run": trail.run_name(ctx.plan), **facts}
            trail.append(path, kind, own, at=at, actor="a person")
        return trail_section(ctx, trail.read(path))

    return section


def page(section):
    """The chapter as HTML."""
    words = load_messages().ui
    template = templates().get_template("report/trail.html.j2")
    return template.render(report=SimpleNamespace(trail=section), w=_namespace(words))


def test_entries_are_told_in_words_with_time_actor_and_digests(section, events, ctx):
    found = section(events)

    assert [row.number for row in found.rows] == [str(n) for n in range(1, 10)]
    assert found.rows[2].what == "Run of the fitting items began, 1,776 items"
    assert found.rows[2].at == "2027-01-15 09:30:20"
    assert {row.actor for row in found.rows} == {"a person"}
    assert found.rows[1].about == digest_of(ctx.plan)[:19] + "…"
    assert found.rows[2].about is None


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_entry_has_words_that_its_facts_fill(section, kind):
    facts = {"suite": "s", "digest": "sha256:0", "pass": "fit", "items": 3, "opening": 1,
             "version": "1.0.0", "pack": "demo-1.0.0", "text": "why", "size": 4,
             "role": "preparer"}  # fmt: skip

    (row,) = section([(kind, facts)]).rows

    assert row.what and "{" not in row.what and "?" not in row.what
    assert "no words" not in row.what


@pytest.mark.parametrize("kind", ["recalled", "chain", "in-order"])
def test_a_kind_of_a_newer_version_is_named(section, kind):
    (row,) = section([(kind, {})]).rows

    assert f"“{kind}”" in row.what


def test_a_fact_that_is_missing_or_strange_breaks_nothing(section):
    found = section([("run-started", {"pass": ["x"], "items": "many"}), ("suite-registered", {})])

    assert [row.what for row in found.rows] == [
        "Run of the ['x'] began, ? items",
        "Test set “?” registered",
    ]


def test_the_order_of_plan_run_lock_and_opening_is_shown(section, events):
    found = section(events)

    assert [step.entry for step in found.steps] == [
        "entry 2", "entry 3", "entry 5", "entry 6", "entry 7", "entry 9",
    ]  # fmt: skip
    assert found.order.startswith("The entries stand in this order")


@pytest.mark.parametrize(
    ("late", "early", "said"),
    [
        (1, 3, "The fitting items are run” comes before “The plan is frozen"),
        (4, 6, "The test items are opened” comes before “Probe, cut-offs and controls are locked"),
        (2, 5, "Probe, cut-offs and controls are locked” comes before “The fitting items are run"),
        (8, 5, "Results and verdicts are computed” comes before “The test items are run"),
    ],
)
def test_a_step_that_comes_too_early_is_named(section, events, late, early, said):
    event = events.pop(late)
    events.insert(early, event)

    found = section(events)

    assert "do not stand in this order" in found.order and said in found.order


@pytest.mark.parametrize("index", [1, 4, 5, 6, 8])
def test_a_step_without_an_entry_is_named(section, events, index):
    del events[index]

    found = section(events)

    (missing,) = [step for step in found.steps if step.entry is None]
    assert missing.label in found.order and "cannot be seen" in found.order
    assert "no such entry" in page(found)


@pytest.mark.parametrize("index", [1, 4])
def test_a_plan_or_a_lock_of_another_run_does_not_count(section, events, index):
    kind, facts = events[index]
    events[index] = (kind, {**facts, "digest": "sha256:" + "0" * 64})

    assert "cannot be seen" in section(events).order


def test_an_opening_before_the_lock_counts_even_if_another_follows(section, events):
    events.insert(4, ("confirmation-opened", {"lock": "sha256:0", "groups": ["g"], "opening": 1}))

    assert "do not stand in this order" in section(events).order


def test_openings_are_counted_from_the_evidence_and_found_in_the_trail(section, events, ctx):
    twice = ctx.evidence.model_copy(update={"confirm_openings": 2})

    often = section(events, Context(twice, ctx.catalog, ctx.words)).openings

    assert "opened 2 times" in often and "entry 6" in often and "caution" in often


def test_one_opening_is_no_reason_for_caution(section, events):
    once = section(events).openings

    assert "opened once" in once and "entry 6" in once and "caution" not in once


def test_an_opening_that_the_trail_does_not_have_is_said(section, events):
    del events[5]

    assert "no entry" in section(events).openings


def test_what_a_chain_does_not_prove_is_said_with_and_without_a_trail(section, events, ctx):
    for found in (section(events), trail_section(ctx, None)):
        html = page(found)
        assert "does not show that it was not written anew" in html
        assert "no outside time stamp" in html


def test_the_page_shows_every_entry_and_where_the_trail_ends(section, events):
    found = section(events)
    html = page(found)

    assert all(row.digest in html and row.what in html for row in found.rows)
    assert "just before the entry that records this report" in html


def test_without_a_trail_the_page_says_so_and_has_no_table(ctx):
    html = page(trail_section(ctx, None))

    assert "was not at hand" in html and "<table" not in html


def test_hostile_words_of_an_entry_stay_words(section):
    html = page(section([("suite-registered", {"suite": "<script>{0.__class__}\u202e"})]))

    assert "<script>" not in html and "{0.__class__}" in html and "\u202e" not in html


OTHER = "0123456789abcdef"


def other_run(events, *kinds):
    """The same events in another run, with a lock of its own."""
    return [(kind, {**facts, "run": OTHER}) for kind, facts in events if not kinds or kind in kinds]


def test_entries_of_another_run_neither_help_nor_harm(section, events):
    """Its opening comes before our lock, its plan after our lock, and its lock is not ours."""
    before = other_run(events, "run-started", "confirmation-opened", "assessed")
    found = section([*before, *events, *other_run(events, "plan-frozen", "locked")])

    assert found.order.startswith("The entries stand in this order")
    assert [step.entry for step in found.steps] == [
        f"entry {n + len(before)}" for n in (2, 3, 5, 6, 7, 9)
    ]


@pytest.mark.parametrize("index", [1, 4, 5, 8])
def test_an_entry_of_another_run_does_not_stand_in_for_a_missing_one(section, events, index):
    (other,) = other_run([events[index]])
    events[index] = other

    assert "cannot be seen" in section(events).order


def test_a_run_that_was_given_up_is_visible(section, events):
    reported = [("plan-frozen", {"run": "b" * 16}), ("report-built", {"run": "b" * 16})]
    found = section([*other_run(events), *reported, *events])

    assert "one run each: 3, this one included" in found.runs
    assert "Of the other runs 1 came to a report, and 1 did not" in found.runs
    assert found.runs.endswith("in all runs: 2.") and found.runs in page(found)
    assert found.rows[0].what == f"Test set “ours” registered; in another run, {OTHER}"
    assert found.rows[-1].what == "Results and verdicts computed"


def test_a_run_alone_is_said_to_be_alone(section, events):
    assert "the only run" in section(events).runs


def test_openings_of_other_runs_are_pointed_at_where_they_share_items(section, events, ctx):
    twice = ctx.evidence.model_copy(update={"confirm_openings": 2})
    apart = ("confirmation-opened", {"groups": ["h"], "opening": 1, "run": OTHER})
    first = [apart, *other_run(events, "confirmation-opened")]
    later = other_run(events, "confirmation-opened")

    often = section([*first, *events, *later], Context(twice, ctx.catalog, ctx.words)).openings

    assert "opened 2 times" in often and "entry 2, entry 8 of this trail" in often


def test_a_stated_deviation_stands_in_the_chapter_and_on_the_first_page(section, events, ctx):
    texts = ["One {0} item <b>was</b> left out.", "Before any plan.", "Of another run."]
    runs = [{}, {"run": None}, {"run": OTHER}]
    stated = [("deviation", {"text": text, **run}) for text, run in zip(texts, runs, strict=True)]
    found = section([*events, *stated])

    assert [line.split(": ", 1)[1] for line in found.deviations] == texts[:2]
    assert found.deviations[0].startswith("Deviation from the plan, entry 10, stated by a person:")
    assert found.none_stated == "" and "&lt;b&gt;was&lt;/b&gt;" in page(found)
    assert found.rows[-1].what.startswith("Deviation from the plan stated: Of another run.")


def test_the_first_page_begins_with_the_deviations(evidence, tmp_path):
    from compliance.reports.build import build_report

    path = tmp_path / "trail.jsonl"
    facts = {"text": "Two items were left out.", "run": trail.run_name(evidence.plan)}
    trail.append(path, "deviation", facts, at=START, actor="A. Person, QA")
    given = {"pack_id": "demo-1.0.0", "version": "1.0.0", "built_at": START}

    report = build_report(evidence, load_catalog(), trail=trail.read(path), **given)

    assert report.notices[0] == (
        "A deviation from the plan is stated (entry 1, A. Person, QA): Two items were left out."
    )
    assert not any(
        "deviation" in n for n in build_report(evidence, load_catalog(), **given).notices
    )


def test_without_a_deviation_that_is_said(section, events):
    found = section(events)

    assert found.deviations == () and found.none_stated in page(found)


def test_time_stamps_are_named_and_the_sentence_without_them_is_gone(section, events):
    stamped = ("time-stamped", {"size": 9, "token": "AAAA"})
    html = page(section([*events, stamped, stamped]))

    assert "stand in entry 10, entry 11; each shows" in html
    assert "The first 9 entries stamped with the time" in html
    assert "no outside time stamp" not in html
