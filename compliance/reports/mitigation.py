"""What a concept's chapter says of mitigation studies: rates before and after, and what they cost.

That a rate was reduced is a sentence with the change's interval, the over-refusal and the side
effects in it, or there is no such sentence.
"""

from __future__ import annotations

from collections.abc import Sequence

from compliance.records.finding import Reduction
from compliance.records.plan import PlannedMitigation, PlannedProbe
from compliance.records.report import Entry, Fact, RowGroup, Section, Sentence, Table, TableRow
from compliance.reports.context import Context, anchor, sentence
from compliance.reports.numbers import in_sentence, write_p
from compliance.reports.tables import EMPTY, plain

STATEMENTS = ("reduced", "increased", "not-shown", "not-measured")
SAID = ("reduced", "increased")
RATES = ("before", "after", "change")
BESIDE = (
    "over-refusal.before", "over-refusal.after", "over-refusal.change", "side-kl", "side-loss",
    "capability.before", "capability.change",
)  # fmt: skip


def mitigation_sections(ctx: Context, probe: PlannedProbe) -> tuple[Section, ...]:
    """A section for each study that suppresses something of a concept.

    Args:
        ctx: Evidence and words.
        probe: The concept's.
    """
    studies = [s for s in ctx.plan.mitigations or () if s.concept == probe.concept]
    return tuple(_section(ctx, study) for study in studies)


def _section(ctx: Context, study: PlannedMitigation) -> Section:
    words = ctx.words.sections["mitigation"]
    found = [one for one in ctx.evidence.reductions or () if one.study == study.name]
    return Section(
        anchor=anchor("mitigation", study.name),
        title=words["title"].format(behaviour=in_sentence(study.behaviour.title)),
        intro=(
            *plain(words["intro"].format(name=study.name), _by(ctx, study), _judged(ctx, study)),
            *(_said(ctx, one) for one in found),
        ),
        tables=(_rates(ctx, found), _beside(ctx, found)),
        terms=(
            Fact(label=study.behaviour.title, value=study.behaviour.definition),
            Fact(
                label=study.behaviour.over_refusal.title,
                value=study.behaviour.over_refusal.definition,
            ),
            *(
                Fact(label=words[f"statement_{name}"], value=words[f"means_{name}"])
                for name in STATEMENTS
            ),
        ),
        note=words["note"],
    )


def _by(ctx: Context, study: PlannedMitigation) -> str:
    words = ctx.words.sections["mitigation"]
    if study.by == "model" and study.model is not None:
        return words["by_model"].format(model=study.model.name)
    if study.by == "feature" and study.dose:
        return words["by_dose"].format(dose=f"{study.dose:g}")
    return words[f"by_{study.by}"]


def _judged(ctx: Context, study: PlannedMitigation) -> str:
    words, judge = ctx.words.sections["mitigation"], study.judge
    if judge is None:
        return words["judged_phrases"].format(described=study.described)
    name = judge.plug if judge.model is None else judge.model.name
    return words["judged_other"].format(judge=name, limit=f"{judge.limit:g}")


def _said(ctx: Context, one: Reduction) -> Sentence:
    """What is shown in a language; with numbers where a change is, and then with all of them."""
    words, language = ctx.words.sections["mitigation"], ctx.language(one.language).name
    if one.statement not in SAID:
        return sentence(words[f"said_{one.statement}"], language=language)
    numbers = {
        name: ctx.numbers.of(address)
        for name, address in (
            ("before", one.before), ("after", one.after), ("change", one.change),
            ("refusals", one.over_refusal[2]), ("divergence", one.side_effects[0]),
            ("loss", one.side_effects[1]), ("tasks", one.side_effects[2]),
        )
    }  # fmt: skip
    intervals = {f"{name}_interval": number.interval or "" for name, number in numbers.items()}
    return sentence(
        words[f"said_{one.statement}"], language=language, p=write_p(one.p_holm or 0.0),
        **numbers, **intervals,
    )  # fmt: skip


def _rates(ctx: Context, found: Sequence[Reduction]) -> Table:
    words = ctx.words.sections["mitigation"]
    columns = (words["statement"], *(words[name] for name in RATES), words["p_holm"])
    rows = []
    for one in found:
        numbers = [ctx.numbers.of(i) for i in (one.before, one.after, one.change)]
        statement = Entry(text=words[f"statement_{one.statement}"])
        adjusted = EMPTY if one.p_holm is None else Entry(text=write_p(one.p_holm))
        entries = (statement, *(Entry(number=number) for number in numbers), adjusted)
        rows.append(TableRow(title=ctx.language(one.language).name, entries=entries))
    return _table(ctx, words["caption_rates"], columns, rows)


def _beside(ctx: Context, found: Sequence[Reduction]) -> Table:
    words = ctx.words.sections["mitigation"]
    rows = [
        TableRow(
            title=ctx.language(one.language).name,
            entries=tuple(
                Entry(number=ctx.numbers.of(f"mitigation/{one.study}/{one.language}/{name}"))
                for name in BESIDE
            ),
        )
        for one in found
    ]
    return _table(ctx, words["caption_beside"], tuple(words[name] for name in BESIDE), rows)


def _table(ctx: Context, caption: str, columns: Sequence[str], rows: Sequence[TableRow]) -> Table:
    return Table(
        caption=caption,
        corner=ctx.words.ui["language"],
        columns=tuple(columns),
        groups=(RowGroup(rows=tuple(rows)),),
        absent=ctx.words.ui["no_cells"],
    )
