"""From evidence to `Report`: a pure function, so that the same evidence gives the same pages.

    report = build_report(evidence, load_catalog(), pack_id="demo-1.0.0", version="1.0.0",
                          built_at=datetime(2027, 1, 15, tzinfo=UTC))

The report states what the evidence shows and what is missing; it adds no number of its own.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from compliance.catalog import Catalog, display, gaps
from compliance.errors import ReportError
from compliance.records.audit import Subset
from compliance.records.evidence import Evidence
from compliance.records.finding import Verdict
from compliance.records.observation import MITIGATION_FILES, applies
from compliance.records.plan import Cell, Plan
from compliance.records.report import (
    Fact,
    Heading,
    Matrix,
    MatrixCell,
    MatrixRow,
    Number,
    Passage,
    Report,
    VerdictCount,
)
from compliance.records.trail import Entry
from compliance.reports.cells import concept_chapters
from compliance.reports.changes import Earlier, changes
from compliance.reports.context import Context, anchor, cell_anchor
from compliance.reports.features import feature_cards
from compliance.reports.fidelity import fidelity_sections
from compliance.reports.instrument import (
    environment_facts,
    item_counts,
    limit_rows,
    method_views,
    plan_facts,
    subject_blocks,
    suite_views,
    trace_groups,
)
from compliance.reports.known_answers import error_sentence, false_claims_plot, known_answers
from compliance.reports.law import (
    also_serves,
    common_source,
    law_glance,
    missing_declarations,
    provision_anchor,
    provision_sections,
)
from compliance.reports.locales import in_words
from compliance.reports.locked import probe_sections
from compliance.reports.messages import load_messages
from compliance.reports.mode import mode_sentence
from compliance.reports.numbers import in_sentence, write_count, write_percent, written_in
from compliance.reports.observed import Observed
from compliance.reports.tables import shown_ids
from compliance.reports.trail import deviation_notices, shortened, trail_section
from compliance.reports.translated import catalog_in, passages


def build_report(
    evidence: Evidence, catalog: Catalog, *, pack_id: str, version: str, built_at: datetime,
    observed: Observed | None = None, trail: Sequence[Entry] | None = None,
    earlier: Earlier | None = None, language: str = "en",
) -> Report:  # fmt: skip
    """Make everything a report shows.

    Args:
        evidence: The assessment.
        catalog: The law and the mapping, as the evidence names them.
        pack_id: Name of the pack the report will stand in.
        version: Of the pack.
        built_at: Moment the report is dated with, time zone included.
        observed: What a run saw of single items. None: the report says that it has none at hand.
        trail: Its entries up to this report. None: the report says that it was not at hand.
        earlier: The pack before, of the same system. None: this is the first.
        language: Of the report's own words; one of `compliance.reports.translation.languages`.

    Raises:
        ReportError: ``built_at`` has no time zone, the evidence names another catalog, or there are
            no words in this language.
    """
    _check(evidence, catalog, built_at)
    words = load_messages(language)
    shown, untranslated = catalog_in(catalog, language)
    with written_in(words):
        return _report(
            Context(evidence, shown, words, observed),
            pack_id, version, built_at, passages(words, words.untranslated + untranslated),
            trail, earlier,
        )  # fmt: skip


def _report(
    ctx: Context, pack_id: str, version: str, built_at: datetime, translated: tuple[Passage, ...],
    trail: Sequence[Entry] | None, earlier: Earlier | None,
) -> Report:  # fmt: skip
    evidence, catalog = ctx.evidence, ctx.catalog
    contents = _contents(ctx)
    headings = {heading.key: heading for heading in contents}
    missing = frozenset(gap.key for gap in gaps(evidence.system, catalog))
    law = catalog.law.meta
    moment = built_at.astimezone(UTC)
    errs = headings["known-answers"]
    report = Report(
        language=ctx.words.language,
        pack_id=pack_id,
        version=version,
        built_on=_moment(ctx, moment),
        built_at=moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        title=evidence.system.title,
        translated=translated,
        identity=_identity(ctx, pack_id, version, _moment(ctx, moment)),
        lead=_lead(ctx),
        error=error_sentence(ctx, errs.number),
        mode=mode_sentence(ctx),
        notices=(*deviation_notices(ctx, trail), *_notices(ctx, len(missing))),
        matrices=_matrices(ctx),
        counts=_counts(ctx),
        any_qualified=any(finding.qualifiers for finding in evidence.findings),
        gaps=missing_declarations(ctx, missing),
        glance=law_glance(ctx, headings),
        contents=contents,
        chapters=tuple(headings),
        confidence=write_percent(ctx.plan.level),
        family_error=write_percent(ctx.plan.family_error),
        law_title=catalog.mapping.title,
        law_authorship=catalog.mapping.authorship,
        law_compiled=ctx.words.ui["law_compiled"].format(
            compiled=law.compiled.isoformat(),
            instrument=law.instrument,
            base=law.base_oj,
            amended=law.amended_by,
            consolidated=law.consolidated,
        ),
        law_caution=law.caution,
        law_source=common_source(ctx),
        provisions=provision_sections(ctx, headings),
        also=also_serves(ctx, headings),
        concepts=concept_chapters(ctx, headings["concepts"].number),
        features=feature_cards(ctx),
        subject=subject_blocks(ctx),
        plan=plan_facts(ctx),
        limits=limit_rows(ctx),
        probes=probe_sections(ctx),
        fidelity=fidelity_sections(ctx),
        environment=environment_facts(ctx),
        suites=suite_views(ctx),
        item_counts=item_counts(ctx),
        methods=method_views(ctx),
        known_answers=known_answers(ctx, anchor("known-answers", "body"), errs.title),
        null_plot=false_claims_plot(ctx),
        changes=changes(ctx, earlier),
        trace=trace_groups(ctx),
        files=tuple(
            Fact(label=name, value=digest, code=True)
            for name, digest in sorted(evidence.observations.items())
        ),
        trail=trail_section(ctx, trail),
        example_id=f"{ctx.plan.cells[0].key}/sensitivity" if ctx.plan.cells else "",
        remainder=(),
    )
    return report.model_copy(update={"remainder": _remainder(ctx, report)})


def _remainder(ctx: Context, report: Report) -> tuple[Number, ...]:
    """Results that no chapter has a place for, such as those of a newer version."""
    shown = set(shown_ids(report))
    return tuple(ctx.numbers.of(i) for i in ctx.numbers.ids() if i not in shown)


def _check(evidence: Evidence, catalog: Catalog, built_at: datetime) -> None:
    if built_at.tzinfo is None:
        raise ReportError(
            f"built_at: {built_at.isoformat()} has no time zone",
            hint="give a moment with its zone, such as datetime(..., tzinfo=UTC)",
        )
    if evidence.law != catalog.facts():
        raise ReportError(
            "the evidence was assessed against another catalog of provisions and rules",
            hint="use the catalog whose digests evidence.json names under 'law'",
        )


def _moment(ctx: Context, moment: datetime) -> str:
    return f"{in_words(moment.date(), ctx.words.language)}, {moment:%H:%M} UTC"


def _contents(ctx: Context) -> tuple[Heading, ...]:
    children = {
        "law": [
            (provision_anchor(ctx.catalog.provision(rule.provision)), display(rule.provision), "")
            for rule in ctx.catalog.mapping.rules
        ],
        "concepts": [(anchor("concept", p.concept), "", p.title) for p in ctx.plan.probes],
    }
    found = []
    for index, (key, title) in enumerate(ctx.words.chapters.items(), start=1):
        parts = tuple(
            Heading(
                key=key,
                anchor=where,
                number=f"{index}.{place}" if name else citation,
                title=name or ctx.catalog.provision(citation).title,
            )
            for place, (where, citation, name) in enumerate(children.get(key, ()), start=1)
        )
        found.append(Heading(key=key, anchor=key, number=str(index), title=title, children=parts))
    return tuple(found)


def _identity(ctx: Context, pack_id: str, version: str, moment: str) -> tuple[Fact, ...]:
    words, plan, system = ctx.words.facts, ctx.plan, ctx.evidence.system
    revision = plan.model.revision
    revised = f", {in_sentence(words['revision'])} {revision}" if revision else ""
    facts = [
        ("pack", f"{pack_id}, {in_sentence(words['version'])} {version}", False),
        ("built", moment, False),
        ("system", f"{system.title}, {in_sentence(words['version'])} {system.version}", False),
        ("model", f"{plan.model.name}{revised}", False),
        *_lock_facts(plan),
        ("weights", shortened(plan.model.weights_digest), True),
        *((("sae", f"{sae.name} ({sae.hook_name})", False)) for sae in plan.saes),
        *((("sae_digest", shortened(sae.digest), True)) for sae in plan.saes),
        ("law", ctx.evidence.law.instrument, False),
        ("software", plan.software, False),
    ]
    return tuple(Fact(label=words[key], value=value, code=code) for key, value, code in facts)


def _lock_facts(plan: Plan) -> Iterable[tuple[str, str, bool]]:
    """The pack that a lock was taken from."""
    if (by := plan.locked_by) is not None:
        yield "locked_by", f"{by.pack_id}, {by.model.name}", False
        yield "locked_by_root", shortened(by.root_digest), True


def _lead(ctx: Context) -> tuple[str, ...]:
    words, plan = ctx.words, ctx.plan
    openings = ctx.evidence.confirm_openings
    of_pictures = "probes_by_input" if "text" in ctx.modalities else "probes_of_pictures"
    return (
        words.lead[of_pictures if ctx.has_pictures else "probes"].format(
            probes=words.count("probes", len(plan.probes)),
            languages=words.count("languages", len(plan.languages)),
            language_names=ctx.language_names(list(plan.languages)),
            cells=words.count("cells", len(plan.cells)),
        ),
        words.lead["rule"],
        words.lead["once" if openings == 1 else "often"].format(count=openings),
    )


def _benign_words(subset: Subset) -> str:
    """One number for all suites, or one for each that is named."""
    if not isinstance(subset.benign_groups, dict):
        return write_count(subset.benign_groups)
    groups = sorted(subset.benign_groups.items())
    return ", ".join(f"{write_count(n)} ({suite})" for suite, n in groups)


def _notices(ctx: Context, missing: int) -> Iterable[str]:
    words, plan = ctx.words.notices, ctx.plan
    if plan.subset is not None:
        yield words["subset"].format(
            groups=write_count(plan.subset.groups_per_concept), benign=_benign_words(plan.subset)
        )
    if ctx.evidence.confirm_openings > 1:
        yield words["openings"].format(count=ctx.evidence.confirm_openings)
    yield from _qualifier_notices(ctx)
    expected = (key for key in ctx.words.expected_controls
                if any(applies(key, cell.variant) for cell in plan.cells))  # fmt: skip
    skipped = [key for key in expected if key not in plan.controls]
    if skipped:
        yield words["controls"].format(
            controls=", ".join(ctx.words.controls[key] for key in skipped)
        )
    if not (plan.claims.justification or "").strip():
        yield words["justification"]
    yield from _withheld(ctx)
    if missing:
        yield words["gaps"].format(missing=missing, all=len(ctx.catalog.declared_keys()))
    yield words["caution"].format(caution=ctx.catalog.law.meta.caution)


def _withheld(ctx: Context) -> Iterable[str]:
    """How much is not shown, of the items and of what was declared."""
    words, declared = ctx.words.notices, ctx.evidence.system.declared.values()
    facts = sum(fact.withheld is not None for fact in declared)
    seen = ctx.observed
    if seen is not None and seen.withheld:
        yield words["withheld_items"].format(
            count=write_count(seen.withheld), all=write_count(seen.run)
        )
    for path in seen.withheld_files if seen is not None else ():
        is_replies = path.endswith(f"/{MITIGATION_FILES[0]}")
        name = "withheld_replies" if is_replies else "withheld_file"
        yield words[name].format(path=path)
    if facts:
        yield words["withheld_facts"].format(count=facts, all=len(declared))


def _qualifier_notices(ctx: Context) -> Iterable[str]:
    """Each qualifier once, with the languages it is about."""
    found: dict[str, dict[str, None]] = {}
    for finding in ctx.evidence.findings:
        for qualifier in finding.qualifiers:
            found.setdefault(qualifier, {})[finding.cell.language] = None
    for qualifier, languages in found.items():
        names = ctx.language_names([t for t in ctx.plan.languages if t in languages])
        words = ctx.words.notices.get(qualifier)
        plain = ctx.words.qualifiers.get(qualifier, qualifier)
        yield words.format(languages=names) if words else f"{names}: {plain}"


def _matrices(ctx: Context) -> tuple[Matrix, ...]:
    return tuple(
        Matrix(
            caption=ctx.words.ui["verdicts_by_input" if ctx.has_pictures else "verdicts_caption"],
            languages=tuple(ctx.language(tag) for tag in languages),
            rows=tuple(_matrix_row(ctx, title, cells, languages) for title, cells in ctx.rows),
        )
        for languages in ctx.language_columns
        if ctx.rows
    )


def _matrix_row(
    ctx: Context, title: str, cells: dict[str, Cell], languages: tuple[str, ...]
) -> MatrixRow:
    concept = next(iter(cells.values())).concept
    return MatrixRow(
        title=title,
        anchor=anchor("concept", concept),
        cells=tuple(_matrix_cell(ctx, cells.get(tag)) for tag in languages),
    )


def _matrix_cell(ctx: Context, cell: Cell | None) -> MatrixCell | None:
    if cell is None:
        return None
    finding = ctx.finding(cell)
    return MatrixCell(
        anchor=cell_anchor(cell),
        verdict=ctx.verdict(finding.verdict),
        qualified=bool(finding.qualifiers),
    )


def _counts(ctx: Context) -> tuple[VerdictCount, ...]:
    """Every verdict, in the order of the message catalog: best first."""
    verdicts = [ctx.finding(cell).verdict for cell in ctx.plan.cells]
    return tuple(
        VerdictCount(verdict=ctx.verdict(Verdict(verdict)), count=verdicts.count(verdict))
        for verdict in ctx.words.verdicts
    )
