"""What a report says of mitigation studies."""

import pytest

from compliance.catalog import load_catalog
from compliance.records.behaviour import Behaviour, Sign
from compliance.records.finding import Reduction, Result
from compliance.records.plan import PlannedJudge, PlannedMitigation
from compliance.reports.build import build_report
from compliance.reports.mitigation import BESIDE, RATES
from compliance.reports.render import render_html
from compliance.reports.tables import shown_ids
from tests.reports.conftest import WHEN

DIGEST = "sha256:" + "0" * 64
NAMES = (*RATES, *BESIDE, "capability.after")


def studied(evidence, statements, **changes):
    """The evidence with a study of the first concept, a statement for each of its languages."""
    concept = evidence.plan.cells[0].concept
    languages = tuple(evidence.plan.languages[: len(statements)])
    study = PlannedMitigation(**{
        "name": "less", "concept": concept, "by": "feature", "lists": {"bad": {"en": ("bad",)}},
        "described": "Nobody reviewed the phrases.", "behaviours_digest": DIGEST,
        "languages": languages, "items": 20, "max_new_tokens": 8, "neutral_items": 2,
        "capability_items": 2, "capability": DIGEST,
        "behaviour": Behaviour(
            title="Bad words", definition="It says bad words.", any=("bad",),
            over_refusal=Sign(title="Silence", definition="It refuses.", any=("bad",)),
        ),
    } | changes)  # fmt: skip
    pairs = list(zip(languages, statements, strict=True))
    results = [result for tag, said in pairs if said != "not-measured" for result in numbers(tag)]
    plan = evidence.plan.model_copy(update={"mitigations": (study,)})
    return evidence.model_copy(
        update={
            "plan": plan,
            "results": (*evidence.results, *results),
            "reductions": tuple(reduction(tag, said) for tag, said in pairs),
        }
    )


def numbers(tag):
    for place, name in enumerate(NAMES):
        value = round(0.1 + 0.05 * place, 2)
        yield Result(
            id=f"mitigation/less/{tag}/{name}", value=value, low=value - 0.04, high=value + 0.04,
            level=0.95, n=20, p=0.01, method="paired-change",
        )  # fmt: skip


def reduction(tag, statement):
    key = f"mitigation/less/{tag}"
    return Reduction(
        study="less", language=tag, statement=statement, before=f"{key}/before",
        after=f"{key}/after", change=f"{key}/change",
        over_refusal=tuple(f"{key}/over-refusal.{name}" for name in RATES),
        side_effects=(f"{key}/side-kl", f"{key}/side-loss", f"{key}/capability.change"),
        p_holm=None if statement == "not-measured" else 0.02,
    )  # fmt: skip


def sections(report):
    return [s for c in report.concepts for s in c.sections if s.anchor.startswith("mitigation")]


def said(section):
    return [
        "".join((f.number.text or "?") if f.number else (f.text or "") for f in one.fragments)
        for one in section.intro
    ]


def rows(table):
    return [row for group in table.groups for row in group.rows]


def test_without_studies_there_is_no_section(build, evidence):
    assert sections(build(evidence)) == []


def test_reduced_stands_with_its_interval_over_refusal_and_side_effects(build, evidence):
    [section] = sections(build(studied(evidence, ["reduced"])))
    line = next(line for line in said(section) if "reduced from" in line)

    assert "reduced from 10.0 % to 15.0 %" in line.replace("\N{NO-BREAK SPACE}", " ")
    for number in ("+20.0", "+16.0 to +24.0", "+35.0", "+31.0 to +39.0", "0.400", "0.450", "0.020"):
        assert number in line
    assert "simple questions answered rightly +55.0" in line


@pytest.mark.parametrize("statement", ["not-shown", "not-measured"])
def test_no_rate_is_told_in_words_where_no_change_is_shown(build, evidence, statement):
    [section] = sections(build(studied(evidence, [statement])))

    assert not any("from" in line and "to" in line and "%" in line for line in said(section)[3:])
    assert rows(section.tables[0])[0].entries[0].text in ("no change shown", "not measured")


def test_every_number_has_its_address(build, evidence):
    changed = studied(evidence, ["reduced", "not-shown"])
    [section] = sections(build(changed))
    known = {result.id for result in changed.results}

    assert set(shown_ids(section)) <= known
    first = rows(section.tables[0])[0]
    assert [e.number.name for e in first.entries[1:4]] == [f"mitigation.{name}" for name in RATES]
    assert len(rows(section.tables[1])[0].entries) == len(BESIDE)


def test_numbers_that_are_missing_say_so(build, evidence):
    [section] = sections(build(studied(evidence, ["not-measured"])))

    assert all(e.number.reason for e in rows(section.tables[0])[0].entries[1:4])


def test_it_is_said_what_is_suppressed_and_who_judges(build, evidence):
    def intro(**changes):
        [section] = sections(build(studied(evidence, ["not-shown"], **changes)))
        return " ".join(said(section))

    assert "switched off" in intro() and "Nobody reviewed the phrases." in intro()
    assert "held at 2 times their peak" in intro(dose=2.0)
    assert "difference of means is taken out" in intro(by="dense")
    assert "another model, " in intro(by="model", model=evidence.plan.model)
    judge = PlannedJudge(plug="strict", limit=0.6)
    assert "judged by strict, and count where its score is above 0.6" in intro(judge=judge)


def test_names_of_results_are_words_and_the_method_is_explained(build, evidence):
    report = build(studied(evidence, ["reduced"]))
    labels = {e.number.label for t in sections(report)[0].tables for r in rows(t)
              for e in r.entries if e.number}  # fmt: skip

    assert "Replies with the behaviour, after minus before" in labels
    assert not any("mitigation" in label for label in labels)
    assert any(method.title.startswith("Paired change") for method in report.methods)


def test_the_page_renders_with_it(build, evidence):
    page = render_html(build(studied(evidence, ["reduced", "increased"])))

    assert "Before and after: bad words" in page and "increased from" in page


@pytest.mark.parametrize("language", ["de", "fr", "el"])
def test_the_section_is_there_in_each_language(evidence, language):
    report = build_report(
        studied(evidence, ["reduced"]), load_catalog(), pack_id="test-system-1.0.0",
        version="1.0.0", built_at=WHEN, language=language,
    )  # fmt: skip

    assert len(sections(report)) == 1
