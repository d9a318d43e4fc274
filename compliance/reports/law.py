"""The chapter on the law: what this pack holds on each point, and what it cannot show."""

import fnmatch
from collections import Counter
from collections.abc import Mapping
from datetime import date

from compliance.catalog import answer, display
from compliance.catalog.citations import cited
from compliance.records.catalog import MappingRule, Provision
from compliance.records.finding import Verdict
from compliance.records.plan import Cell
from compliance.records.report import (
    CellNote,
    Declaration,
    GapView,
    Heading,
    ProvisionSection,
    ResultRow,
    ResultTable,
)
from compliance.reports.cells import why
from compliance.reports.context import Context, anchor, cell_anchor
from compliance.reports.fidelity import gate


def provision_sections(
    ctx: Context, headings: Mapping[str, Heading]
) -> tuple[ProvisionSection, ...]:
    """One section for each rule of the mapping, in its order.

    Args:
        ctx: Evidence, law and words.
        headings: Chapters of the report, by key, for the rules that point at them.
    """
    return tuple(_section(ctx, rule, headings) for rule in ctx.catalog.mapping.rules)


def common_source(ctx: Context) -> str:
    """Where most points of the mapping were read, so that it is printed once."""
    sources = [ctx.catalog.provision(rule.provision).source for rule in ctx.catalog.mapping.rules]
    return Counter(sources).most_common(1)[0][0]


def missing_declarations(ctx: Context, keys: frozenset[str]) -> tuple[GapView, ...]:
    """Missing declarations as the summary lists them."""
    return tuple(
        GapView(
            anchor=provision_anchor(provision),
            citation=display(provision.id),
            prompt=declared.prompt,
            key=declared.key,
        )
        for declared, provision in ctx.catalog.declared_keys()
        if declared.key in keys
    )


def provision_anchor(provision: Provision) -> str:
    """Where a provision's section starts."""
    return anchor("law", provision.id)


def in_words(ctx: Context, day: date) -> str:
    """A date without a chance to swap day and month."""
    return f"{day.day} {ctx.words.months[day.month - 1]} {day.year}"


def _section(ctx: Context, rule: MappingRule, headings: Mapping[str, Heading]) -> ProvisionSection:
    provision = ctx.catalog.provision(rule.provision)
    declarations = tuple(_declaration(ctx, d.key, d.prompt) for d in rule.declared)
    status = "" if rule.container else _status(ctx, rule, declarations)
    return ProvisionSection(
        anchor=provision_anchor(provision),
        citation=cited(provision.id),
        title=provision.title,
        container=rule.container,
        law_text=provision.official_text,
        summary=provision.summary,
        source=None if provision.source == common_source(ctx) else provision.source,
        dates=_dates(ctx, provision),
        amendments=_amendments(ctx, provision),
        where_appropriate=rule.where_appropriate,
        status=status,
        status_label=_status_label(ctx, provision, status),
        declarations=declarations,
        declarations_given=sum(bool(d.text or d.not_applicable) for d in declarations),
        tables=tuple(table for pattern in rule.results for table in _tables(ctx, pattern)),
        measurable=bool(rule.results or rule.findings),
        lists_findings=bool(rule.findings),
        findings=_findings(ctx, rule),
        chapters=tuple(headings[key] for key in rule.chapters if key in headings),
        supplies=rule.supplies,
        cannot_show=rule.cannot_show,
        related=tuple(cited(link) for link in provision.links),
    )


def _declaration(ctx: Context, key: str, prompt: str) -> Declaration:
    given = answer(ctx.evidence.system, key)
    if given is None:
        return Declaration(key=key, prompt=prompt)
    return Declaration(key=key, prompt=prompt, text=given.text, not_applicable=given.not_applicable)


def _status(ctx: Context, rule: MappingRule, declarations: tuple[Declaration, ...]) -> str:
    """Measured before declared before not applicable; nothing at all is not covered."""
    ids = [i for i in ctx.numbers.ids() if ctx.numbers.has_value(i) and not _is_count(i)]
    if any(fnmatch.fnmatchcase(i, pattern) for pattern in rule.results for i in ids):
        return "measured"
    if any(declaration.text for declaration in declarations):
        return "declared"
    if declarations and all(declaration.not_applicable for declaration in declarations):
        return "not-applicable"
    return "not-covered"


def _is_count(result_id: str) -> bool:
    """Counts of items exist without any measurement, so they alone measure nothing."""
    return result_id.rsplit("/", 1)[-1].startswith("n-")


def _status_label(ctx: Context, provision: Provision, status: str) -> str:
    if not status:
        return ""
    label = ctx.words.provision_statuses[status]
    level = provision.pack_role.level if provision.pack_role else None
    if status != "measured" or level is None:
        return label
    return f"{label}, {ctx.catalog.mapping.levels.get(level, level)}"


def _findings(ctx: Context, rule: MappingRule) -> tuple[CellNote, ...]:
    """Cells with one of the rule's verdicts, worst first as the rule lists them."""
    notes = []
    for verdict in rule.findings:
        for cell in ctx.plan.cells:
            finding = ctx.finding(cell)
            if finding.verdict is verdict:
                notes.append(
                    CellNote(
                        anchor=cell_anchor(cell),
                        title=ctx.words.ui["cell_title"].format(
                            concept=ctx.concept_title(cell.concept), language=ctx.place(cell)
                        ),
                        verdict=ctx.verdict(Verdict(verdict)),
                        why=why(ctx, finding),
                    )
                )
    return tuple(notes)


def _tables(ctx: Context, pattern: str) -> tuple[ResultTable, ...]:
    """The results a pattern names, over all that was planned, missing ones included."""
    name = pattern.rsplit("/", 1)[-1]
    if pattern.startswith("fidelity/"):
        return _fidelity_tables(ctx, name)
    wanted = [c for c in ctx.plan.cells if fnmatch.fnmatchcase(f"{c.key}/{name}", pattern)]
    if not wanted:
        return ()
    found = (n for cell in wanted for n in ctx.names(cell) if fnmatch.fnmatchcase(n, name))
    names = dict.fromkeys(found) if "*" in name else [name]
    return tuple(table for name in names for table in ctx.cell_tables(name))


def _fidelity_tables(ctx: Context, name: str) -> tuple[ResultTable, ...]:
    """On the text that the gate looks at; other strata stand in the chapter on the instrument."""
    return tuple(
        ResultTable(
            title=ctx.numbers.describe(name)[1],
            languages=tuple(ctx.language(tag) for tag in languages),
            rows=tuple(
                ResultRow(
                    title=_read_by(ctx, sae.name, cell),
                    numbers=tuple(
                        ctx.numbers.of(
                            f"fidelity/{tag}/{cell.modality}/sae{index}/{gate(ctx, cell)}/{name}"
                        )
                        for tag in languages
                    ),
                )
                for index, sae in enumerate(ctx.plan.saes)
                for cell, *_ in ctx.by_kind(ctx.plan.cells)
            ),
        )
        for languages in ctx.language_columns
    )


def _read_by(ctx: Context, sae: str, cell: Cell) -> str:
    """An autoencoder, and what it reads where that is more than texts."""
    return f"{sae}, {ctx.kind(cell)}" if ctx.has_pictures else sae


def _dates(ctx: Context, provision: Provision) -> str:
    words, found = ctx.words.dates, provision.applies_from
    if found is None:
        return words["none"]
    if isinstance(found, str):
        return words["one"].format(date=found)
    if isinstance(found, date):
        return words["one"].format(date=in_words(ctx, found))
    systems = ctx.catalog.mapping.application
    each = [
        words["each"].format(date=in_words(ctx, day), systems=systems[kind])
        for kind, day in found.items()
    ]
    return words["several"].format(dates="; from ".join(each))


def _amendments(ctx: Context, provision: Provision) -> str | None:
    if not provision.amendments:
        return None
    changed = [number for number, touched in provision.amendments.items() if touched]
    words = ctx.words.dates["amended" if changed else "unamended"]
    return words.format(regulations=", ".join(changed or provision.amendments))
