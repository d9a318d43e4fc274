"""The chapters on the instrument and the test sets: subject, plan, datasheets, methods."""

from compliance.records.base import digest_of
from compliance.records.plan import Cell, Rule
from compliance.records.report import (
    Fact,
    LimitRow,
    MethodView,
    ResultTable,
    SubjectBlock,
    SuiteView,
    TraceGroup,
    TraceRow,
)
from compliance.records.suite import SuiteFacts
from compliance.reports.cells import sentence_id
from compliance.reports.context import Context, anchor, cell_anchor
from compliance.reports.numbers import write_count, write_percent
from compliance.reports.sections import ITEM_COUNTS

WITHOUT_RESULT = ("max-statistic", "holm")
"""Methods behind every verdict that no single result names."""


def subject_blocks(ctx: Context) -> tuple[SubjectBlock, ...]:
    """The model and each autoencoder, with full digests."""
    words, model = ctx.words.facts, ctx.plan.model
    about_model = (
        _fact(ctx, "model", model.name),
        _fact(ctx, "revision", model.revision, code=True),
        _fact(ctx, "architecture", model.architecture),
        _fact(ctx, "parameters", write_count(model.parameters)),
        _fact(ctx, "dtype", model.dtype),
        _fact(ctx, "weights", model.weights_digest, code=True),
        _fact(ctx, "tokenizer", model.tokenizer_digest, code=True),
    )
    blocks = [SubjectBlock(title=words["model"], facts=about_model)]
    for sae in ctx.plan.saes:
        about_sae = (
            _fact(ctx, "sae", sae.name),
            _fact(ctx, "architecture", sae.architecture),
            _fact(ctx, "hook", sae.hook_name, code=True),
            _fact(ctx, "width", write_count(sae.d_sae)),
            _fact(
                ctx, "context", None if sae.context_size is None else write_count(sae.context_size)
            ),
            _fact(ctx, "sae_digest", sae.digest, code=True),
        )
        blocks.append(SubjectBlock(title=words["sae"], facts=about_sae))
    return tuple(blocks)


def plan_facts(ctx: Context) -> tuple[Fact, ...]:
    """What was fixed before the measurement, limits apart."""
    plan, words = ctx.plan, ctx.words.facts
    splits = words["splits_value"].format(**plan.splits.model_dump())
    controls = ", ".join(ctx.words.controls.get(key, key) for key in plan.controls)
    prevalences = ", ".join(write_percent(p) for p in plan.claims.prevalences)
    return (
        _fact(ctx, "plan_digest", digest_of(plan), code=True),
        _fact(ctx, "lock_digest", digest_of(ctx.evidence.lock), code=True),
        _fact(ctx, "fit_digest", ctx.evidence.lock.fit_digest, code=True),
        _fact(ctx, "reference", ctx.language(plan.claims.reference_language).name),
        *_searched(ctx),
        _fact(ctx, "splits", splits),
        _fact(ctx, "alpha", write_percent(plan.alpha)),
        _fact(ctx, "level", write_percent(plan.level)),
        _fact(ctx, "family", write_percent(plan.family_error)),
        _fact(ctx, "prevalences", prevalences or None),
        _fact(ctx, "controls", controls or None),
        _fact(ctx, "sinks", words["sinks_value"].format(ratio=f"{plan.sink_norm_ratio:g}")),
        _fact(ctx, "draws", write_count(plan.bootstrap_draws)),
        _fact(ctx, "random_latents", write_count(plan.random_latents)),
        _fact(ctx, "linear", words["linear_value"].format(l2=f"{plan.linear_l2:g}")),
        _fact(ctx, "ngrams", _ngrams(ctx)),
        _fact(ctx, "neighbour", f"{plan.neighbour_cosine:g}"),
        _fact(ctx, "robustness", words["robustness_value"].format(**_robustness(ctx))),
        _fact(ctx, "batch", write_count(plan.batch_tokens)),
        _fact(ctx, "seed", str(plan.seed)),
        _fact(ctx, "openings", str(ctx.evidence.confirm_openings)),
        _fact(ctx, "justification", plan.claims.justification),
    )


def _searched(ctx: Context) -> tuple[Fact, ...]:
    """On which items features were looked for, where there are several kinds of input."""
    plan = ctx.plan
    cell = Cell(
        concept="", language=plan.claims.reference_language, modality=plan.search_modality,
        rendering=plan.search_rendering,
    )  # fmt: skip
    value = f"{ctx.language(cell.language).name}, {ctx.kind(cell)}"
    return (_fact(ctx, "searched_in", value),) if ctx.has_pictures else ()


def limit_rows(ctx: Context) -> tuple[LimitRow, ...]:
    """The plan's rules, in its order."""
    return tuple(
        LimitRow(
            words=_rule_words(ctx, rule),
            kind=ctx.words.kinds.get(rule.kind, rule.kind),
            limit=ctx.condition_limit(rule.condition, rule.limit),
        )
        for rule in ctx.plan.rules
    )


def _rule_words(ctx: Context, rule: Rule) -> str:
    """What a rule asks for, and of which kinds of input if not of all."""
    cells = ctx.plan.cells
    mine = [c for c in cells if rule.needs is None or c.variant.shows(rule.needs)]
    modalities = dict.fromkeys(c.modality for c in mine) or ("text",)
    asked = (ctx.condition_words(rule.condition, rule.limit, m) for m in modalities)
    first, *others = dict.fromkeys(asked)
    words = " ".join([first, *(ctx.words.ui["or_pictures"].format(label=o) for o in others)])
    if not mine or len(mine) == len(cells):
        return words
    return f"{words} ({ctx.words.ui[f'needs_{rule.needs}']})"


def environment_facts(ctx: Context) -> tuple[Fact, ...]:
    """What the run was computed with."""
    environment = ctx.evidence.environment
    packages = ", ".join(f"{name} {version}" for name, version in environment.packages.items())
    return (
        _fact(ctx, "software", ctx.plan.software),
        _fact(ctx, "python", environment.python),
        _fact(ctx, "machine", environment.machine),
        _fact(ctx, "device", environment.device),
        _fact(ctx, "packages", packages or None),
    )


def suite_views(ctx: Context) -> tuple[SuiteView, ...]:
    """The datasheets of the test sets."""
    return tuple(_suite(ctx, suite) for suite in ctx.plan.suites)


def item_counts(ctx: Context) -> tuple[ResultTable, ...]:
    """Test items by cell."""
    return tuple(table for name in ITEM_COUNTS for table in ctx.cell_tables(name))


def method_views(ctx: Context) -> tuple[MethodView, ...]:
    """Each method the results name, in the order they first name it, then those of verdicts."""
    keys = dict.fromkeys([*(r.method for r in ctx.evidence.results), *WITHOUT_RESULT])
    return tuple(_method(ctx, key) for key in keys)


def trace_groups(ctx: Context) -> tuple[TraceGroup, ...]:
    """From each verdict sentence to finding, results and items; equal lists of results once.

    Results rest on all files of the confirm split.
    """
    groups: dict[tuple[str, ...], list[TraceRow]] = {}
    for cell in ctx.plan.cells:
        ids = dict.fromkeys(ctx.finding(cell).result_ids)
        names = tuple(result_id.removeprefix(f"{cell.key}/") for result_id in ids)
        groups.setdefault(names, []).append(_trace(ctx, cell))
    return tuple(TraceGroup(results=names, rows=tuple(rows)) for names, rows in groups.items())


def _ngrams(ctx: Context) -> str:
    shortest, longest = ctx.plan.ngram_sizes
    return ctx.words.facts["ngrams_value"].format(
        shortest=shortest, longest=longest, buckets=write_count(ctx.plan.ngram_buckets)
    )


def _robustness(ctx: Context) -> dict[str, int]:
    planned = ctx.plan.robustness
    return {
        "groups": planned.shifted_groups,
        "repeated": planned.repeated_items,
        "losses": planned.loss_items,
    }


def _fact(ctx: Context, key: str, value: str | None, *, code: bool = False) -> Fact:
    missing = value is None or not value.strip()
    shown = ctx.words.facts["missing"] if missing else value
    return Fact(label=ctx.words.facts[key], value=shown, code=code and not missing, missing=missing)


def _suite(ctx: Context, suite: SuiteFacts) -> SuiteView:
    sheet = suite.datasheet
    return SuiteView(
        title=sheet.title,
        description=sheet.description,
        facts=(
            _fact(ctx, "version", f"{suite.name} {suite.version}"),
            _fact(ctx, "items", write_count(suite.items)),
            _fact(ctx, "groups", write_count(suite.groups)),
            *_pictures(ctx, suite),
            _fact(ctx, "languages", ctx.language_names(list(sheet.languages))),
            _fact(ctx, "licence", sheet.licence),
            _fact(ctx, "translation", sheet.translation),
            _fact(ctx, "agreement", sheet.agreement),
            _fact(ctx, "suite_digest", suite.digest, code=True),
        ),
        sources=sheet.sources,
        reviewers=sheet.reviewers,
        known_gaps=sheet.known_gaps,
    )


def _pictures(ctx: Context, suite: SuiteFacts) -> tuple[Fact, ...]:
    """How many pictures a test set has, where any cell has some and they were counted."""
    if not ctx.has_pictures or ctx.gallery is None:
        return ()
    return (_fact(ctx, "pictures", write_count(ctx.gallery.counts.get(suite.name, 0))),)


def _method(ctx: Context, key: str) -> MethodView:
    words = ctx.words.methods.get(key)
    where = anchor("method", key)
    if words is None:
        return MethodView(
            key=key, anchor=where, title=key, plain=ctx.words.unknown["method"],
            why=None, misses=None, source=None,
        )  # fmt: skip
    return MethodView(
        key=key, anchor=where, title=words.title, plain=words.plain,
        why=words.why, misses=words.misses, source=words.source,
    )  # fmt: skip


def _trace(ctx: Context, cell: Cell) -> TraceRow:
    return TraceRow(
        sentence_id=sentence_id(ctx, cell),
        anchor=cell_anchor(cell),
        finding=cell.key,
        verdict=ctx.verdict(ctx.finding(cell).verdict),
        items=ctx.words.trace["items"].format(**cell.model_dump()),
    )
