"""The chapter on the law: what this pack holds on each point, and what it cannot show.

Points with a rule of the mapping get a section. Provisions on which the same evidence bears too
get a line in "Where this evidence also serves", inside the same bounds.
"""

import fnmatch
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import date

from compliance.catalog import answer, display
from compliance.records.catalog import AlsoServes, MappingRule, Provision
from compliance.records.finding import Verdict
from compliance.records.plan import Cell
from compliance.records.report import (
    AlsoGroup,
    AlsoRow,
    AlsoSection,
    CellNote,
    Declaration,
    GapView,
    GlanceRow,
    Heading,
    ProvisionSection,
    RelatedProvision,
    ResultRow,
    ResultTable,
)
from compliance.reports.cells import why
from compliance.reports.context import Context, anchor, cell_anchor
from compliance.reports.fidelity import gate
from compliance.reports.locales import in_words
from compliance.reports.numbers import name_of
from compliance.reports.translated import citation, wording


def provision_sections(
    ctx: Context, headings: Mapping[str, Heading]
) -> tuple[ProvisionSection, ...]:
    """One section for each rule of the mapping, in its order.

    Args:
        ctx: Evidence, law and words.
        headings: Chapters of the report, by key, for the rules that point at them.
    """
    sections = (_section(ctx, rule, headings) for rule in ctx.catalog.mapping.rules)
    return tuple(_without_repetition(ctx, sections))


def _without_repetition(
    ctx: Context, sections: Iterable[ProvisionSection]
) -> Iterator[ProvisionSection]:
    """A table that bears on several points is printed under the first of them."""
    printed: dict[str, ProvisionSection] = {}
    for section in sections:
        repeated = dict.fromkeys(t.title for t in section.tables if t.title in printed)
        yield section.model_copy(
            update={
                "tables": tuple(t for t in section.tables if t.title not in printed),
                "repeated": tuple(_printed(ctx, title, printed[title]) for title in repeated),
            }
        )
        printed |= {t.title: section for t in section.tables if t.title not in printed}


def _printed(ctx: Context, title: str, section: ProvisionSection) -> RelatedProvision:
    text = ctx.words.ui["printed_under"].format(table=title, where=section.citation)
    return RelatedProvision(citation=text, anchor=section.anchor)


def law_glance(ctx: Context, headings: Mapping[str, Heading]) -> tuple[GlanceRow, ...]:
    """One line for each point that carries content, for the first pages.

    Args:
        ctx: Evidence, law and words.
        headings: Chapters of the report, by key, that the lines lead to.
    """
    rows = []
    for rule in ctx.catalog.mapping.rules:
        if rule.container:
            continue
        provision = ctx.catalog.provision(rule.provision)
        declarations = _declarations(ctx, rule)
        status = _status(ctx, rule, declarations)
        rows.append(
            GlanceRow(
                anchor=provision_anchor(provision),
                citation=display(provision.id),
                title=provision.title,
                status=status,
                status_label=_status_label(ctx, provision, status),
                behind=_behind(ctx, rule, declarations),
                chapters=_headings(rule.chapters, headings),
            )
        )
    return tuple(rows)


def also_serves(ctx: Context, headings: Mapping[str, Heading]) -> AlsoSection:
    """Further provisions on which the evidence bears, by the dates they apply from.

    Args:
        ctx: Evidence, law and words.
        headings: Chapters of the report, by key, that the lines lead to.
    """
    groups: dict[str, list[AlsoRow]] = {}
    for also in ctx.catalog.mapping.also:
        provision = ctx.catalog.provision(also.provision)
        groups.setdefault(_dates(ctx, provision), []).append(_also_row(ctx, also, headings))
    return AlsoSection(
        anchor="also-serves",
        groups=tuple(AlsoGroup(dates=dates, rows=tuple(rows)) for dates, rows in groups.items()),
    )


def common_source(ctx: Context) -> str:
    """Where most points of the mapping were read, so that it is printed once."""
    rules = ctx.catalog.mapping.rules
    sources = [wording(ctx.catalog.provision(r.provision), ctx.words).source for r in rules]
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


def _section(ctx: Context, rule: MappingRule, headings: Mapping[str, Heading]) -> ProvisionSection:
    provision = ctx.catalog.provision(rule.provision)
    declarations = _declarations(ctx, rule)
    status = "" if rule.container else _status(ctx, rule, declarations)
    quoted = wording(provision, ctx.words)
    return ProvisionSection(
        anchor=provision_anchor(provision),
        citation=citation(provision.id, ctx.words),
        title=provision.title,
        container=rule.container,
        law_text=quoted.text,
        law_language=quoted.language,
        law_note=quoted.note,
        summary=provision.summary,
        source=None if quoted.source == common_source(ctx) else quoted.source,
        dates=_dates(ctx, provision),
        amendments=_amendments(ctx, provision),
        where_appropriate=rule.where_appropriate,
        status=status,
        status_label=_status_label(ctx, provision, status),
        declarations=declarations,
        declarations_given=_given(declarations),
        tables=tuple(table for pattern in rule.results for table in _tables(ctx, pattern)),
        repeated=(),
        measurable=bool(rule.results or rule.findings),
        lists_findings=bool(rule.findings),
        findings=_findings(ctx, rule),
        chapters=_headings(rule.chapters, headings),
        supplies=rule.supplies,
        cannot_show=rule.cannot_show,
        related=tuple(
            RelatedProvision(citation=citation(link, ctx.words), anchor=_where_else(ctx, link))
            for link in provision.links
        ),
    )


def _also_row(ctx: Context, also: AlsoServes, headings: Mapping[str, Heading]) -> AlsoRow:
    return AlsoRow(
        anchor=_also_anchor(also.provision),
        citation=citation(also.provision, ctx.words),
        about=also.about,
        supplies=also.supplies,
        chapters=_headings(also.chapters, headings),
        cannot_show=also.cannot_show,
    )


def _also_anchor(provision_id: str) -> str:
    return anchor("also", provision_id)


def _where_else(ctx: Context, link: str) -> str | None:
    """Where the report says more about a provision: its own line, or the first of its points."""
    found = [
        a.provision for a in ctx.catalog.mapping.also if f"{a.provision}.".startswith(f"{link}.")
    ]
    return _also_anchor(found[0]) if found else None


def _behind(ctx: Context, rule: MappingRule, declarations: tuple[Declaration, ...]) -> str:
    """What a point's status rests on, counted."""
    words = ctx.words.ui
    kinds = {name_of(result_id) for result_id in _measured(ctx, rule)}
    parts = [ctx.words.count("result_kinds", len(kinds))] if kinds else []
    if declarations:
        given = _given(declarations)
        parts.append(words["declared_facts"].format(given=given, all=len(declarations)))
    return ctx.joined(parts)


def _declarations(ctx: Context, rule: MappingRule) -> tuple[Declaration, ...]:
    return tuple(_declaration(ctx, declared.key, declared.prompt) for declared in rule.declared)


def _given(declarations: tuple[Declaration, ...]) -> int:
    return sum(bool(d.text or d.not_applicable or d.withheld) for d in declarations)


def _declaration(ctx: Context, key: str, prompt: str) -> Declaration:
    given = answer(ctx.evidence.system, key)
    if given is None:
        return Declaration(key=key, prompt=prompt)
    return Declaration(
        key=key,
        prompt=prompt,
        text=given.text,
        not_applicable=given.not_applicable,
        withheld=given.withheld,
    )


def _status(ctx: Context, rule: MappingRule, declarations: tuple[Declaration, ...]) -> str:
    """Measured before declared before not applicable; nothing at all is not covered."""
    if _measured(ctx, rule):
        return "measured"
    if any(declaration.text for declaration in declarations):
        return "declared"
    if any(declaration.withheld for declaration in declarations):
        return "withheld"
    if declarations and all(declaration.not_applicable for declaration in declarations):
        return "not-applicable"
    return "not-covered"


def _measured(ctx: Context, rule: MappingRule) -> list[str]:
    """Ids of the results with a value that a rule names."""
    ids = [i for i in ctx.numbers.ids() if ctx.numbers.has_value(i) and not _is_count(i)]
    return [i for i in ids if any(fnmatch.fnmatchcase(i, pattern) for pattern in rule.results)]


def _headings(keys: tuple[str, ...], headings: Mapping[str, Heading]) -> tuple[Heading, ...]:
    return tuple(headings[key] for key in keys if key in headings)


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
    """Cells with one of the rule's verdicts, worst first as the rule lists them.

    Languages with one verdict for one reason are told of once.
    """
    found: dict[tuple[str, Verdict, str], list[Cell]] = {}
    for verdict in rule.findings:
        for cell in ctx.plan.cells:
            finding = ctx.finding(cell)
            if finding.verdict is verdict:
                key = (ctx.row_title(cell), Verdict(verdict), why(ctx, finding))
                found.setdefault(key, []).append(cell)
    return tuple(
        CellNote(
            anchor=cell_anchor(cells[0]),
            title=f"{title}, {ctx.language_names([cell.language for cell in cells])}",
            verdict=ctx.verdict(verdict),
            why=reason,
        )
        for (title, verdict, reason), cells in found.items()
    )


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
    return tuple(_filled(ctx, t) for name in names for t in ctx.cell_tables(name))


def _filled(ctx: Context, table: ResultTable) -> ResultTable:
    """Without rows that hold no number; why they do not is said below the table."""
    rows = [row for row in table.rows if any(n and n.text is not None for n in row.numbers)]
    reasons: dict[str, list[str]] = {}
    for row in table.rows:
        if row not in rows:
            said = {n.short: None for n in row.numbers if n is not None and n.short}
            reasons.setdefault(", ".join(said), []).append(row.title)
    left_out = ctx.joined(f"{', '.join(titles)} ({said})" for said, titles in reasons.items())
    note = ctx.words.ui["rows_left_out"].format(rows=left_out) if left_out else None
    return table.model_copy(update={"rows": tuple(rows), "note": note})


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
        return words["one"].format(date=in_words(found, ctx.words.language))
    systems = ctx.catalog.mapping.application
    dates, *others = (
        words["each"].format(date=in_words(day, ctx.words.language), systems=systems[kind])
        for kind, day in found.items()
    )
    for other in others:
        dates = words["then"].format(before=dates, date=other)
    return words["several"].format(dates=dates)


def _amendments(ctx: Context, provision: Provision) -> str | None:
    if not provision.amendments:
        return None
    changed = [number for number, touched in provision.amendments.items() if touched]
    words = ctx.words.dates["amended" if changed else "unamended"]
    return words.format(regulations=", ".join(changed or provision.amendments))
