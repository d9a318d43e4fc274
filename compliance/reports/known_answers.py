"""How often the method errs where the answer is known, and the error of all verdicts together."""

from collections.abc import Iterator

from compliance.records.chart import Chart
from compliance.records.report import (
    Entry,
    RowGroup,
    Section,
    Sentence,
    Table,
    TableRow,
)
from compliance.records.validation import KnownAnswer
from compliance.reports.context import Context, sentence
from compliance.reports.numbers import write, write_count, write_interval, write_percent
from compliance.reports.plot import null_plot
from compliance.reports.tables import EMPTY, plain

ERROR_BOUND = "audit/error-bound"
TOLERANCE = 0.05
"""How much less often than predicted a planted effect may be found: PROTOCOL section 12."""

NULLS = ("boundary-null", "null")
"""Simulated kinds where every claim is false; models are too few for a plot."""


def error_sentence(ctx: Context, chapter: str) -> Sentence:
    """The error of all verdicts together, and the number of the chapter on known answers."""
    words = ctx.words.sections["known-answers"]
    bound = ctx.numbers.of(ERROR_BOUND)
    key = "error" if ctx.evidence.validation else "error_unvalidated"
    return sentence(words[key], bound=bound, chapter=chapter)


def known_answers(ctx: Context, anchor: str, title: str) -> Section:
    """The chapter; without a record, it says that there is none."""
    words, validation = ctx.words.sections["known-answers"], ctx.evidence.validation
    bound = sentence(words["bound"], bound=ctx.numbers.of(ERROR_BOUND))
    if validation is None:
        return Section(
            anchor=anchor, title=title, intro=(*plain(words["intro"]), bound), note=words["absent"]
        )
    return Section(
        anchor=anchor,
        title=title,
        intro=(*plain(words["intro"]), *plain(*_in_words(ctx, validation.answers)), bound),
        tables=(_table(ctx, validation.answers),),
        note=words["made"].format(
            software=validation.software, command=validation.command, settings=validation.settings
        ),
    )


def false_claims_plot(ctx: Context) -> Chart | None:
    """False claims by kind of null, with intervals and the limit."""
    answers = ctx.evidence.validation.answers if ctx.evidence.validation else ()
    nulls = [a for a in answers if a.kind in NULLS]
    return null_plot(ctx, nulls) if nulls else None


def _in_words(ctx: Context, answers: tuple[KnownAnswer, ...]) -> Iterator[str]:
    words = ctx.words.sections["known-answers"]
    limit = write_percent(ctx.plan.family_error)
    for kind, key in (("boundary-null", "boundary"), ("clean-twin", "twins")):
        those = [a for a in answers if a.kind == kind]
        if those:
            worst = max(those, key=lambda a: a.found / a.audits)
            beyond = any(a.low > ctx.plan.family_error for a in those)
            template = words[f"{key}_beyond" if beyond else key]
            yield template.format(
                limit=limit, share=_share(worst), found=write_count(worst.found),
                audits=write_count(worst.audits), name=worst.name,
            )  # fmt: skip
    predicted = [a for a in answers if a.predicted is not None]
    if predicted:
        worst = max(predicted, key=_shortfall)
        key = "planted" if _shortfall(worst) <= TOLERANCE else "planted_short"
        yield words[key].format(
            name=worst.name, predicted=write(worst.predicted or 0.0, "share"), found=_share(worst)
        )
    models = [a for a in answers if a.kind == "planted-model"]
    for model in models:
        yield words["model"].format(name=model.name, found=model.found, audits=model.audits)


def _shortfall(answer: KnownAnswer) -> float:
    """By how much an effect was found less often than predicted."""
    return (answer.predicted or 0.0) - answer.found / answer.audits


def _table(ctx: Context, answers: tuple[KnownAnswer, ...]) -> Table:
    words = ctx.words.sections["known-answers"]
    groups = []
    for kind, term in ctx.words.answer_kinds.items():
        rows = tuple(_row(ctx, answer) for answer in answers if answer.kind == kind)
        if rows:
            groups.append(RowGroup(heading=f"{term.label}. {term.meaning}", rows=rows))
    return Table(
        caption=words["caption"],
        corner=words["tried"],
        columns=tuple(words[key] for key in ("audits", "found", "share", "predicted", "truth")),
        groups=tuple(groups),
        absent=words["none"],
    )


def _row(ctx: Context, answer: KnownAnswer) -> TableRow:
    interval = write_interval(answer.low, answer.high, "share")
    predicted = answer.predicted
    return TableRow(
        title=answer.name,
        entries=(
            Entry(text=write_count(answer.audits)),
            Entry(text=write_count(answer.found)),
            Entry(text=f"{_share(answer)} ({interval})"),
            EMPTY if predicted is None else Entry(text=write(predicted, "share")),
            Entry(text=answer.truth),
        ),
    )


def _share(answer: KnownAnswer) -> str:
    return write(answer.found / answer.audits, "share")
