"""What a Hugging Face model card says of a pack: a section, ``model-index`` and ``.eval_results``.

    card = make_card(evidence, catalog, pack_id=..., version=..., built_at=..., seal=seal)
    data = write_card(readme, card.section, card.entry)     # reports/model_card.py
    files = card_exports(evidence, catalog, pack_id=..., version=..., built_at=...)

Every text from outside is escaped where the template prints it, so that no title can become a link,
a table or a tag of the page it lands on.

Source: the specifications ``modelcard.md`` and ``eval_results.yaml`` of huggingface/hub-docs, as
huggingface_hub 2.4 reads them.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import jinja2
import yaml

from compliance.catalog import Catalog, gaps
from compliance.errors import ReportError
from compliance.records.evidence import Evidence
from compliance.records.finding import Result, Status, Verdict
from compliance.records.page import Number, printable
from compliance.records.plan import Cell
from compliance.records.report import Report
from compliance.records.suite import SuiteFacts
from compliance.records.trail import utc_text
from compliance.reports.build import build_report
from compliance.reports.context import Context
from compliance.reports.exports.plain import line
from compliance.reports.messages import load_messages
from compliance.reports.model_card import (
    EVAL_HEADER,
    EVAL_RESULTS,
    entry_between_markers,
    section_between_markers,
)
from compliance.reports.numbers import in_sentence, write_percent
from compliance.resources import data_dir

NUMBERS = ("sensitivity", "fpr-benign", "fpr-hard", "auroc-hard", "minus-dense")
"""Columns of the section's tables."""

METRICS = {
    "auroc-hard": "roc_auc",
    "sensitivity": "recall",
    "fpr-benign": "false_positive_rate",
    "fpr-hard": "false_positive_rate_hard",
}
"""Metrics of ``model-index``. hf.co/metrics has ids for the first two, and none for the others."""

TASKS = {"text": "text-classification"}
"""A cell's task among those of the hub: the probe classifies inputs. Else there is a picture."""

_PICTURE_TASK = "image-classification"
_CODE = re.compile(r"[A-Za-z0-9._:/@+=-]+")
_ACTIVE = re.compile(r"[\\`*_{}\[\]#|~$^!@]|:(?=\S)")
"""What Markdown, its tables, links, mathematics and pictograms of the hub begin with."""

_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_URL = re.compile(r"https?://[A-Za-z0-9.-]+(?::\d+)?(?:/[A-Za-z0-9._~/?#@!$&()+,;=%-]*)?")


@dataclass(frozen=True)
class Seal:
    """What only a finished pack has."""

    root_digest: str
    key_id: str
    issuer_checked: bool
    """Whether the signature was checked with a key from outside the pack."""

    url: str | None = None
    """Where the pack can be had."""


@dataclass(frozen=True)
class Card:
    """What is put into a README, and into the file beside it."""

    section: str
    """Markdown without markers."""

    entry: dict[str, Any] | None
    """One element of ``model-index``. None: the evidence holds no number for it."""

    eval_results: bytes | None
    """``.eval_results/*.yaml``. None: as ``entry``."""


def make_card(
    evidence: Evidence, catalog: Catalog, *, pack_id: str, version: str, built_at: datetime,
    seal: Seal | None = None,
) -> Card:  # fmt: skip
    """Say what a pack holds, for a model card.

    Args:
        evidence: The assessment.
        catalog: The law and the mapping, as the evidence names them.
        pack_id: Name of the pack.
        version: Of the pack.
        built_at: When it was built or signed, time zone included.
        seal: Of the finished pack. None: the card stands inside of it.

    Raises:
        ReportError: ``built_at`` has no time zone, the evidence names another catalog, or the
            seal's address is not one of the web.
    """
    if seal and seal.url is not None and not _URL.fullmatch(seal.url):
        raise ReportError(
            f"{line(seal.url)!r}: not a plain address of the web",
            hint="give an address such as https://example.org/packs/demo-1.0.0.zip",
        )
    report = build_report(evidence, catalog, pack_id=pack_id, version=version, built_at=built_at)
    made = _Making(Context(evidence, catalog, load_messages()), report, utc_text(built_at), seal)
    return Card(section=made.section(), entry=made.entry(), eval_results=made.eval_results())


def card_exports(
    evidence: Evidence, catalog: Catalog, *, pack_id: str, version: str, built_at: datetime
) -> dict[str, bytes]:
    """The same for ``exports/`` of the pack itself, by path; a pack cannot name its own digest.

    Section and metadata stand between the markers, so that what was pasted is found again.
    """
    card = make_card(evidence, catalog, pack_id=pack_id, version=version, built_at=built_at)
    files = {"model-card-section.md": section_between_markers(card.section).encode("utf-8")}
    if card.entry is not None and card.eval_results is not None:
        files["model-index.yaml"] = entry_between_markers(card.entry).encode("utf-8")
        files[f"eval_results/{EVAL_RESULTS}"] = card.eval_results
    return files


class Ready(str):
    """Markdown of our own making, which is printed as it is."""

    __slots__ = ()


def escaped(value: object) -> str:
    """A text as Markdown shows it, in one line and without anything that Markdown acts on."""
    if isinstance(value, Ready):
        return value
    text = re.sub(r"[ \t\r\n]+", " ", printable(str(value))).translate(_ENTITIES)
    text = _ACTIVE.sub(lambda found: f"\\{found[0]}", text)
    return re.sub(r"\b(www)\.", r"\1\\.", text, flags=re.IGNORECASE)


def as_html(text: str) -> str:
    """The same inside a tag, where Markdown would not take a backslash away."""
    text = _ACTIVE.sub(lambda found: f"&#{ord(found[0])};", line(text).translate(_ENTITIES))
    return Ready(re.sub(r"\b(www)\.", r"\1&#46;", text, flags=re.IGNORECASE))


def code(value: str) -> str:
    """A digest or name as code; what could end a piece of code is escaped text instead."""
    return Ready(f"`{value}`") if _CODE.fullmatch(value) else Ready(escaped(value))


class _Fact(NamedTuple):
    label: str
    value: str


class _Row(NamedTuple):
    """Numbers of one cell, ready to print."""

    input: str
    language: str
    verdict: str
    numbers: tuple[str, ...]


class _Table(NamedTuple):
    title: str
    """As HTML: a summary is no Markdown."""

    rows: tuple[_Row, ...]


@dataclass(frozen=True)
class _Making:
    """One card while it is made."""

    ctx: Context
    report: Report
    moment: str
    seal: Seal | None

    @property
    def words(self) -> dict[str, str]:
        return self.ctx.words.card

    def section(self) -> str:
        try:
            template = _environment().get_template("card/section.md.j2")
            return template.render(
                w=self.words,
                ui=self.ctx.words.ui,
                report=self.report,
                facts=tuple(self._facts()),
                error=self._error(),
                columns=tuple(self._columns()),
                tables=tuple(self._tables()),
                missing=tuple(self._missing()),
                notices=tuple(self._notices()),
                verification=self._commands(),
                url=Ready(f"<{self.seal.url}>") if self.seal and self.seal.url else None,
            )
        except (jinja2.TemplateError, KeyError) as problem:
            raise ReportError(f"model card template: {problem}") from problem

    def _facts(self) -> Iterator[_Fact]:
        words, plan = self.words, self.ctx.plan
        model, seal = plan.model, self.seal
        revised = words["revision"].format(name=model.name, revision=model.revision)
        yield _Fact(words["pack"], code(self.report.pack_id))
        yield _Fact(words["version"], code(self.report.version))
        yield _Fact(words["signed" if seal else "built"], code(self.moment))
        yield _Fact(words["root"], code(seal.root_digest) if seal else words["root_absent"])
        yield _Fact(words["key"], code(seal.key_id) if seal else words["key_absent"])
        if seal:
            checked = "issuer_checked" if seal.issuer_checked else "issuer_unchecked"
            yield _Fact(words["issuer"], words[checked])
        yield _Fact(words["model"], revised if model.revision else model.name)
        yield _Fact(words["weights"], code(model.weights_digest))
        yield _Fact(words["suites"], Ready("; ".join(self._suite(suite) for suite in plan.suites)))
        yield _Fact(words["law"], self.ctx.evidence.law.instrument)
        yield _Fact(words["software"], plan.software)
        yield _Fact(words["report"], words["report_at"])

    def _suite(self, suite: SuiteFacts) -> str:
        return self.words["suite"].format(
            title=escaped(suite.datasheet.title), name=code(suite.name),
            version=code(suite.version), digest=code(suite.digest),
        )  # fmt: skip

    def _error(self) -> str | None:
        bound = self.ctx.numbers.of("audit/error-bound")
        return self.words["error"].format(bound=bound.text) if bound.text else None

    def _columns(self) -> Iterator[str]:
        words = self.ctx.words
        yield words.ui["language"]
        yield self.words["input"]
        yield words.ui["verdict"]
        yield from (words.columns.get(n) or self.words["lead_dense"] for n in NUMBERS)

    def _tables(self) -> Iterator[_Table]:
        for probe in self.ctx.plan.probes:
            cells = [c for c in self._covered() if c.concept == probe.concept]
            title = self.words["numbers_of"].format(concept=line(probe.title))
            yield _Table(as_html(title), tuple(self._row(cell) for cell in cells))

    def _row(self, cell: Cell) -> _Row:
        ctx = self.ctx
        verdict = ctx.verdict(ctx.finding(cell).verdict)
        numbers = tuple(_shown(ctx.number(cell, name)) for name in NUMBERS)
        language = ctx.language(cell.language).name
        return _Row(ctx.kind(cell), language, f"{verdict.glyph} {verdict.label}", numbers)

    def _covered(self) -> list[Cell]:
        ctx = self.ctx
        kinds = ctx.by_kind(ctx.plan.cells)
        cells = [cell for kind in kinds for cell in kind]
        return [c for c in cells if ctx.finding(c).verdict is not Verdict.NOT_COVERED]

    def _missing(self) -> Iterator[str]:
        """Counts of what is not there; zero is said too."""
        words, ctx, covered = self.words, self.ctx, self._covered()
        planned = len(ctx.plan.cells)
        yield words["missing_cells"].format(count=planned - len(covered), all=planned)
        conditions = (c for cell in covered for c in ctx.finding(cell).conditions)
        unmeasured = sum(c.status is Status.NOT_MEASURED for c in conditions)
        yield words["missing_conditions"].format(count=unmeasured)
        yield words["missing_facts"].format(count=self._gaps, all=self._asked)

    @property
    def _gaps(self) -> int:
        return len(gaps(self.ctx.evidence.system, self.ctx.catalog))

    @property
    def _asked(self) -> int:
        return len(self.ctx.catalog.declared_keys())

    def _notices(self) -> Iterator[str]:
        """Those of the report, but for the one that leads to a list which is not here."""
        listed = self.ctx.words.notices["gaps"].format(missing=self._gaps, all=self._asked)
        return (notice for notice in self.report.notices if notice != listed)

    def _commands(self) -> list[tuple[str, str, str]]:
        """Title, command and explanation of each way to check the pack."""
        return [
            (way["title"], Ready(way["command"].format(pack=self.report.pack_id)), way["text"])
            for way in self.ctx.words.ui["verification"]
        ]

    # Metadata

    def entry(self) -> dict[str, Any] | None:
        results = [self._result(cell) for cell in self._measured()]
        return {"name": line(self.ctx.plan.model.name), "results": results} if results else None

    def _measured(self) -> list[Cell]:
        return [cell for cell in self._covered() if any(True for _ in self._metrics(cell))]

    def _metrics(self, cell: Cell) -> Iterator[tuple[str, Result]]:
        for name in METRICS:
            result = self.ctx.numbers.result(f"{cell.key}/{name}")
            if result is not None and result.value is not None:
                yield name, result

    def _result(self, cell: Cell) -> dict[str, Any]:
        """One cell as the hub's specification has a result."""
        ctx, suites = self.ctx, self._suites(cell)
        concept = in_sentence(ctx.concept_title(cell.concept))
        language = ctx.language(cell.language).name
        task = self.words["task"].format(concept=concept, input=ctx.claimed_input(cell))
        titles = ", ".join(suite.datasheet.title for suite in suites)
        dataset = self.words["dataset"].format(
            suites=titles, concept=concept, kind=ctx.kind(cell), language=language
        )
        found = {
            "task": {"type": TASKS.get(cell.modality, _PICTURE_TASK), "name": line(task)},
            "dataset": {
                "name": line(dataset),
                "type": _joined(suite.name for suite in suites),
                "config": cell.key,
                "split": "confirm",
                "revision": _joined(suite.digest for suite in suites),
            },
            "metrics": [self._metric(cell, *metric) for metric in self._metrics(cell)],
        }
        return found | ({"source": self._source()} if self.seal and self.seal.url else {})

    def _metric(self, cell: Cell, name: str, result: Result) -> dict[str, Any]:
        verdict = self.ctx.finding(cell).verdict.value
        stated = {"result": result.id, "low": result.low, "high": result.high,
                  "level": result.level, "n": result.n, "verdict": verdict}  # fmt: skip
        return {
            "type": METRICS[name],
            "value": result.value,
            "name": line(self.ctx.number(cell, name).label),
            "args": {key: value for key, value in stated.items() if value is not None},
        }

    def _suites(self, cell: Cell) -> list[SuiteFacts]:
        """The suites that cover a cell's concept and language."""
        return [
            suite
            for suite in self.ctx.plan.suites
            if cell.concept in suite.datasheet.concepts
            and cell.language in suite.datasheet.languages
        ] or list(self.ctx.plan.suites)

    def _source(self) -> dict[str, str]:
        assert self.seal and self.seal.url
        name = self.words["source"].format(pack=self.report.pack_id)
        return {"name": line(name), "url": self.seal.url}

    def eval_results(self) -> bytes | None:
        found = [
            self._eval_result(cell, name, result)
            for cell in self._measured()
            for name, result in self._metrics(cell)
        ]
        if not found:
            return None
        text = yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=float("inf"))
        return f"{EVAL_HEADER}{text}".encode()

    def _eval_result(self, cell: Cell, name: str, result: Result) -> dict[str, Any]:
        suites = self._suites(cell)
        found: dict[str, Any] = {
            "dataset": {
                "id": _joined(suite.name for suite in suites),
                "task_id": result.id,
                "revision": _joined(suite.digest for suite in suites),
            },
            "value": result.value,
            "date": self.moment,
        }
        if self.seal and self.seal.url:
            found["source"] = self._source()
        return found | {"notes": line(self._notes(cell, name, result))}

    def _notes(self, cell: Cell, name: str, result: Result) -> str:
        ctx, number = self.ctx, self.ctx.number(cell, name)
        return self.words["notes"].format(
            label=number.label,
            concept=in_sentence(ctx.concept_title(cell.concept)),
            input=ctx.claimed_input(cell),
            text=number.text,
            level=write_percent(result.level or ctx.plan.level),
            interval=number.interval or self.words["no_interval"],
            n=number.n or self.words["no_interval"],
            verdict=in_sentence(ctx.verdict(ctx.finding(cell).verdict).label),
            pack=self.report.pack_id,
        )


def _joined(parts: Iterable[str]) -> str:
    return "+".join(parts)


def _shown(number: Number) -> str:
    """A number with its interval, or in a word why there is none."""
    if number.text is None:
        return number.short or number.reason or ""
    return f"{number.text} ({number.interval})" if number.interval else number.text


def _environment() -> jinja2.Environment:
    """Jinja in which everything is escaped for Markdown, and nothing undefined."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(data_dir("templates")),
        autoescape=False,
        finalize=escaped,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
