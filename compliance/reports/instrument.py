"""The chapters on the instrument and the test sets: subject, plan, probes, fidelity, datasheets."""

from compliance.records.base import digest_of
from compliance.records.plan import Cell, PlannedProbe
from compliance.records.report import (
    Fact,
    FidelityRow,
    LimitRow,
    MethodView,
    ProbeRow,
    ResultTable,
    SubjectBlock,
    SuiteView,
    TraceRow,
)
from compliance.records.suite import SuiteFacts
from compliance.reports.cells import cell_anchor, describe_features, locked_probe, sentence_id
from compliance.reports.context import Context, anchor
from compliance.reports.numbers import write, write_percent

FIDELITY = ("ev", "l0", "tokens")
COUNTS = ("n-positive", "n-hard", "n-benign", "n-calibrate")


def subject_blocks(ctx: Context) -> tuple[SubjectBlock, ...]:
    """The model and each autoencoder, with full digests."""
    words, model = ctx.words.facts, ctx.plan.model
    about_model = (
        _fact(ctx, "model", model.name),
        _fact(ctx, "revision", model.revision, code=True),
        _fact(ctx, "architecture", model.architecture),
        _fact(ctx, "parameters", f"{model.parameters:,}"),
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
            _fact(ctx, "width", f"{sae.d_sae:,}"),
            _fact(ctx, "context", None if sae.context_size is None else f"{sae.context_size:,}"),
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
        _fact(ctx, "splits", splits),
        _fact(ctx, "alpha", write_percent(plan.alpha)),
        _fact(ctx, "level", write_percent(plan.level)),
        _fact(ctx, "family", write_percent(plan.family_error)),
        _fact(ctx, "prevalences", prevalences or None),
        _fact(ctx, "controls", controls or None),
        _fact(ctx, "sinks", words["sinks_value"].format(ratio=f"{plan.sink_norm_ratio:g}")),
        _fact(ctx, "draws", f"{plan.bootstrap_draws:,}"),
        _fact(ctx, "batch", f"{plan.batch_tokens:,}"),
        _fact(ctx, "seed", str(plan.seed)),
        _fact(ctx, "openings", str(ctx.evidence.confirm_openings)),
        _fact(ctx, "justification", plan.claims.justification),
    )


def limit_rows(ctx: Context) -> tuple[LimitRow, ...]:
    """The plan's rules, in its order."""
    return tuple(
        LimitRow(
            words=ctx.condition_words(rule.condition, rule.limit),
            kind=ctx.words.kinds.get(rule.kind, rule.kind),
            limit=ctx.condition_limit(rule.condition, rule.limit),
        )
        for rule in ctx.plan.rules
    )


def probe_rows(ctx: Context) -> tuple[ProbeRow, ...]:
    """The locked probe of each concept and how it was chosen."""
    return tuple(_probe(ctx, probe) for probe in ctx.plan.probes)


def fidelity_columns(ctx: Context) -> tuple[str, ...]:
    """What the columns of the fidelity table are called."""
    return tuple(ctx.numbers.describe(name)[1] for name in FIDELITY)


def fidelity_rows(ctx: Context) -> tuple[FidelityRow, ...]:
    """The autoencoder in each planned language, missing numbers included."""
    return tuple(
        FidelityRow(
            language=ctx.language(tag),
            sae=sae.name,
            numbers=tuple(
                ctx.numbers.of(f"fidelity/{tag}/text/sae{index}/{name}") for name in FIDELITY
            ),
        )
        for index, sae in enumerate(ctx.plan.saes)
        for tag in ctx.plan.languages
    )


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
    return tuple(table for name in COUNTS for table in ctx.cell_tables(name))


def method_views(ctx: Context) -> tuple[MethodView, ...]:
    """Each method the results name, in the order they first name it."""
    keys = dict.fromkeys(result.method for result in ctx.evidence.results)
    return tuple(_method(ctx, key) for key in keys)


def trace_rows(ctx: Context) -> tuple[TraceRow, ...]:
    """From each verdict sentence to finding, results, observations and items."""
    files = [name for name in sorted(ctx.evidence.observations) if name.startswith("confirm/")]
    return tuple(_trace(ctx, cell, tuple(files)) for cell in ctx.plan.cells)


def _fact(ctx: Context, key: str, value: str | None, *, code: bool = False) -> Fact:
    missing = value is None or not value.strip()
    shown = ctx.words.facts["missing"] if missing else value
    return Fact(label=ctx.words.facts[key], value=shown, code=code and not missing, missing=missing)


def _probe(ctx: Context, probe: PlannedProbe) -> ProbeRow:
    locked = locked_probe(ctx, probe.concept)
    words = ctx.words.features
    origin = words["discovered" if probe.features == "discover" else "given"]
    facts: tuple[Fact, ...] = ()
    if locked is not None and locked.selection is not None:
        selection = locked.selection
        facts = tuple(
            Fact(label=ctx.words.selection[key], value=f"{getattr(selection, key):,}")
            for key in ("searched", "active", "positives", "hard_negatives", "ties")
        )
        auroc = Fact(label=ctx.words.selection["auroc"], value=write(selection.auroc, "auroc"))
        facts = (*facts, auroc)
    return ProbeRow(
        title=probe.title, probe=describe_features(ctx, locked), origin=origin, facts=facts
    )


def _suite(ctx: Context, suite: SuiteFacts) -> SuiteView:
    sheet = suite.datasheet
    return SuiteView(
        title=sheet.title,
        description=sheet.description,
        facts=(
            _fact(ctx, "version", f"{suite.name} {suite.version}"),
            _fact(ctx, "items", f"{suite.items:,}"),
            _fact(ctx, "groups", f"{suite.groups:,}"),
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


def _method(ctx: Context, key: str) -> MethodView:
    words = ctx.words.methods.get(key)
    if words is None:
        plain = ctx.words.unknown["method"]
        return MethodView(
            key=key, anchor=anchor("method", key), title=key, plain=plain, source=None
        )
    return MethodView(
        key=key,
        anchor=anchor("method", key),
        title=words.title,
        plain=words.plain,
        source=words.source,
    )


def _trace(ctx: Context, cell: Cell, files: tuple[str, ...]) -> TraceRow:
    finding = ctx.finding(cell)
    ids = dict.fromkeys(finding.result_ids)
    names = [result_id.removeprefix(f"{cell.key}/") for result_id in ids]
    return TraceRow(
        sentence_id=sentence_id(ctx, cell),
        anchor=cell_anchor(cell),
        finding=cell.key,
        verdict=ctx.verdict(finding.verdict),
        results=tuple(names),
        files=files,
        items=ctx.words.trace["items"].format(**cell.model_dump()),
    )
