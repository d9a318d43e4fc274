"""Every number in a report leads back to observations, or to a record that says why it need not.

A number that is a result carries the result's id: it is compared with what the observations give.
All other digits on the page have to be explained by one of `RULES`. Each says where on the page
something may be written, and finds what may be written there in the plan, the lock, the findings,
the observation tables, the trail, the law or a short list of fixed words; never in the report
itself. Whatever is left over fails.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from compliance.assessment import detectable, fidelity, ranking
from compliance.assessment.assess import recompute
from compliance.assessment.tables import read_table
from compliance.catalog import display, gaps, load_catalog
from compliance.catalog.load import Catalog
from compliance.records.base import digest_of, to_json
from compliance.records.evidence import Evidence
from compliance.records.page import printable
from compliance.records.plan import Cell
from compliance.reports import features
from compliance.reports.charts.roc import READ_AT
from compliance.reports.context import anchor
from compliance.reports.examples import readable, visible
from compliance.reports.locales import in_words, language_name
from compliance.reports.messages import Messages, load_messages
from compliance.reports.numbers import (
    Numbers,
    name_of,
    write,
    write_count,
    write_interval,
    write_limit,
    write_p,
    write_percent,
)
from tests.reports.test_html import VOID

BLOCKS = {
    "p", "li", "td", "th", "dt", "dd", "caption", "figcaption", "summary", "title", "text", "pre",
    "code", "span", "a", "h1", "h2", "h3", "h4", "h5",
}  # fmt: skip
"""Elements whose own words are one piece; what stands in a further one is a piece of its own."""

RESULT = "\N{REFERENCE MARK}"
"""Stands for a number that carries the id of its result."""


@dataclass
class Block:
    """A piece of text and where it stands."""

    chapter: str
    path: str
    """Elements around it, each with its classes."""

    item: str | None
    """The test item that it is about."""

    ids: tuple[str, ...]
    """Of the elements around it."""

    within: dict[str, int]
    """Which figure, row and cell of a table it stands in."""

    at: tuple[str, str] | None
    """Of words in a drawing."""

    text: str = ""


@dataclass
class Shown:
    """A number with the id of its result."""

    result_id: str
    kind: str
    within: dict[str, int]
    text: str = ""


class Page(HTMLParser):
    """Pieces of text, and numbers that carry ids."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.blocks: list[Block] = []
        self.shown: list[Shown] = []
        self._stack: list[tuple[str, dict, Block | None, Shown | None]] = []
        self._seen = 0
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag in VOID:
            self._say(" ")
            return
        found = dict(attrs)
        self._seen += 1
        found["#"] = self._seen
        for kind in ("data-result", "data-interval"):
            if kind in found:
                shown = Shown(found[kind], kind, self._within())
                self.shown.append(shown)
                self._say(RESULT)
                self._stack.append((tag, found, None, shown))
                return
        self._stack.append((tag, found, None, None))
        if tag in BLOCKS:
            block = self._block(found)
            self.blocks.append(block)
            self._stack[-1] = (tag, found, block, None)

    def handle_endtag(self, tag):
        self._stack.pop()

    def handle_data(self, data):
        for _, _, _, shown in self._stack:
            if shown:
                shown.text += data
                return
        self._say(data)

    def _say(self, data):
        block = next((b for _, _, b, _ in reversed(self._stack) if b), None)
        if block:
            block.text += data
        elif re.search(r"\d", data) and self._stack[-1][0] != "style":
            raise AssertionError(f"{data!r} stands in none of {sorted(BLOCKS)}")

    def _within(self):
        return {
            tag: found["#"] for tag, found, _, _ in self._stack if tag in ("figure", "tr", "td")
        }

    def _block(self, attributes):
        names = []
        for tag, found, _, _ in self._stack:
            names.append(".".join([tag, *found.get("class", "").split()]))
        chapters = [a["id"] for t, a, _, _ in self._stack if a.get("class") == "chapter"]
        items = [a["data-item"] for _, a, _, _ in self._stack if "data-item" in a]
        return Block(
            chapter=chapters[0] if chapters else "",
            path=" ".join(names),
            item=items[0] if items else None,
            ids=tuple(a["id"] for _, a, _, _ in self._stack if "id" in a),
            within=self._within(),
            at=(attributes["x"], attributes["y"]) if "x" in attributes else None,
        )


@dataclass
class Audit:
    """What a report was made from, read from its pack."""

    evidence: Evidence
    files: dict[str, bytes]
    trail: list[dict]
    items: dict[str, dict]
    page: Page
    catalog: Catalog = field(default_factory=load_catalog)
    words: Messages = field(default_factory=load_messages)
    _tables: dict[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def plan(self):
        return self.evidence.plan

    @cached_property
    def numbers(self) -> Numbers:
        return Numbers(self.evidence.results, self.words, level=self.plan.level)

    @cached_property
    def confirm(self) -> pd.DataFrame:
        """The probes' scores of test items, with what each item is."""
        scores = read_table(self.files, "confirm/scores.csv")
        items = read_table(self.files, "confirm/items.csv")[["item", "label", "language"]]
        return scores[scores["scorer"] == "probe"].merge(items, on="item")

    def beside(self, block: Block, kind: str) -> Iterator[Shown]:
        """Numbers with ids in the same figure, row or cell."""
        return (s for s in self.page.shown if kind in s.within
                and s.within[kind] == block.within.get(kind))  # fmt: skip

    def table(self, name: str) -> pd.DataFrame:
        if name not in self._tables:
            self._tables[name] = read_table(self.files, f"confirm/{name}")
        return self._tables[name]

    def concept_of(self, block: Block) -> str:
        """The concept whose chapter or card a block stands in."""
        for name in block.ids:
            if found := re.match(r"(?:concept|feature)-([a-z]+)(?:--|$)", name):
                return found[1]
        raise AssertionError(f"{block.path} is about no concept")

    def probe(self, concept: str):
        return next(p for p in self.evidence.lock.probes if p.concept == concept)

    def cells(self, concept: str) -> list[Cell]:
        return [c for c in self.plan.cells if c.concept == concept]

    def scores(self, cell: Cell, label: str) -> np.ndarray:
        mine = self.confirm[
            (self.confirm["concept"] == cell.concept)
            & (self.confirm["label"] == label)
            & (self.confirm["language"] == cell.language)
        ]
        return np.sort(mine["score"].to_numpy(float))

    def cut_off(self, cell: Cell) -> float:
        return next(c.value for c in self.evidence.lock.cut_offs
                    if c.scorer == "probe" and c.cell == cell)  # fmt: skip


Said = Iterable[str]


# what may be written


def of_chapters(audit: Audit, block: Block) -> Said:
    """The number of each chapter, and of each concept's part of its chapter."""
    for place, key in enumerate(audit.words.chapters, start=1):
        if " h2 " not in block.path or key == block.chapter:
            yield f"{place}"
        if key == "concepts":
            yield from (f"{place}.{n}" for n, _ in enumerate(audit.plan.probes, start=1))


def of_chapter_titles(audit: Audit, block: Block) -> Said:
    for place, title in enumerate(audit.words.chapters.values(), start=1):
        yield f"{place} {title}"


def of_error_chapter(audit: Audit, block: Block) -> Said:
    yield f"chapter {list(audit.words.chapters).index('known-answers') + 1}"


def of_identity(audit: Audit, block: Block) -> Said:
    """Names and versions, and the moment the pack was built."""
    evidence, plan = audit.evidence, audit.plan
    yield from (evidence.system.name, evidence.system.version, plan.software, plan.model.name)
    yield from (plan.model.revision or "", evidence.law.instrument, evidence.environment.python)
    yield from (f"{name} {version}" for name, version in evidence.environment.packages.items())
    yield from (evidence.environment.machine, evidence.environment.device, plan.model.dtype)
    yield from (sae.hook_name for sae in plan.saes)
    yield from (f"{suite.name} {suite.version}" for suite in plan.suites)
    yield from (suite.datasheet.licence for suite in plan.suites)


def of_pack(audit: Audit, block: Block) -> Said:
    """The pack's name, and the day and minute that follow the trail's last entry before it."""
    built = pd.Timestamp(max(e["at"] for e in audit.trail))
    yield f"{audit.evidence.system.name}-1.0.0"
    yield "1.0.0"
    for minutes in range(-2, 3):
        moment = built + pd.Timedelta(minutes=minutes)
        yield f"{in_words(moment.date(), 'en')}, {moment:%H:%M} UTC"


def of_sizes(audit: Audit, block: Block) -> Said:
    plan = audit.plan
    for sized in (plan.probes, plan.languages, plan.cells):
        yield f"{len(sized)}"


def of_verdicts(audit: Audit, block: Block) -> Said:
    verdicts = [finding.verdict for finding in audit.evidence.findings]
    yield from (f"{verdicts.count(verdict)}" for verdict in audit.words.verdicts)


def of_gaps(audit: Audit, block: Block) -> Said:
    missing = gaps(audit.evidence.system, audit.catalog)
    yield f"{len(missing)} of {len(audit.catalog.declared_keys())} facts"


def of_glance(audit: Audit, block: Block) -> Said:
    missing = {gap.key for gap in gaps(audit.evidence.system, audit.catalog)}
    for rule in audit.catalog.mapping.rules:
        keys = [declared.key for declared in rule.declared]
        yield f"{len([k for k in keys if k not in missing])} of {len(keys)} facts declared"
        named = (
            r.id for r in audit.evidence.results if r.value is not None and r.method != "count"
        )
        kinds = len({name_of(i) for i in named if any(fnmatchcase(i, p) for p in rule.results)})
        yield from (f"{kinds} kind of result", f"{kinds} kinds of results")


def of_law(audit: Audit, block: Block) -> Said:
    """Everything that the catalog holds, the names of its provisions, and its dates in words."""
    for provision in audit.catalog.law.provisions:
        yield from (display(provision.id), f"Article {display(provision.id)}")
    for text in strings(to_json(audit.catalog.law), to_json(audit.catalog.mapping)):
        yield text
        yield " ".join(text.split())
        for day in re.findall(r"\d{4}-\d{2}-\d{2}", text):
            yield in_words(pd.Timestamp(day).date(), "en")
        yield from re.findall(r"Regulation \(EU\) \d+/\d+", text)


def of_limits(audit: Audit, block: Block) -> Said:
    """Each limit of the plan, as its condition writes it."""
    for rule in audit.plan.rules:
        words = audit.words.conditions.get(rule.condition)
        if rule.limit is not None:
            yield write_limit(rule.limit, words.kind if words else "plain")
    yield write_percent(audit.plan.alpha)


def of_levels(audit: Audit, block: Block) -> Said:
    yield write_percent(audit.plan.level)
    yield write_percent(audit.plan.family_error)


def of_prevalences(audit: Audit, block: Block) -> Said:
    yield from (f"if {write_percent(p)} of inputs" for p in audit.plan.claims.prevalences)


def of_conditions(audit: Audit, block: Block) -> Said:
    """The p of the condition that reads the number beside it."""
    beside = {shown.result_id for shown in audit.beside(block, "td")}
    for finding in audit.evidence.findings:
        for condition in finding.conditions:
            if condition.result_id in beside and condition.p is not None:
                yield f"p {write_p(condition.p)}"


def of_verdict(audit: Audit, block: Block) -> Said:
    """The p of a verdict, which is no result but follows from the p of its conditions."""
    for finding in audit.evidence.findings:
        if anchor("cell", finding.cell.key) in block.ids:
            for p in (finding.p_holm, finding.p_holm_all):
                if p is not None:
                    yield from (f"concept: {write_p(p)}", f"conditions: {write_p(p)}")


def of_sentences(audit: Audit, block: Block) -> Said:
    yield from (f"S{n:03}" for n, _ in enumerate(audit.plan.cells, start=1))


def of_search(audit: Audit, block: Block) -> Said:
    """The locked features and how they were found."""
    lock = audit.evidence.lock
    for probe in (*lock.probes, *lock.random_probes, *lock.permuted_probes):
        yield from (f"feature {feature.latent} of" for feature in probe.features)
        found = probe.selection
        if found:
            counts = (found.searched, found.active, found.positives, found.hard_negatives,
                      found.ties, found.flips)  # fmt: skip
            yield from map(write_count, counts)
            yield from (write(value, "auroc") for value in (found.auroc, found.null_p95))
            yield write_p(found.p_adjusted)


def of_settings(audit: Audit, block: Block) -> Said:
    """The false-alarm rates of other settings, and in how many of them a verdict differs."""
    yield from (write_percent(s.alpha) for s in audit.plan.settings if s.alpha is not None)
    for finding in audit.evidence.findings:
        other = [s for s in finding.settings if s.verdict != finding.verdict]
        yield f"in {len(other)} of {len(finding.settings)} settings"


def of_repeats(audit: Audit, block: Block) -> Said:
    repeats = audit.table("repeats.csv")
    languages = repeats["item"].map(lambda item: audit.items[item]["language"])
    for (_, language), rows in repeats.groupby(["concept", languages]):
        yield f"in {language_name(language, 'en')}: {len(rows)} items were run again"


def of_counts(audit: Audit, block: Block) -> Said:
    """How many items the numbers in the same row are counted from."""
    for shown in audit.beside(block, "tr"):
        result = audit.numbers.result(shown.result_id)
        yield from (write_count(n) for n in (result.n,) if n is not None)


def of_this_figure(audit: Audit, block: Block) -> Said:
    """Results that the drawing or its table shows with their ids, which a title cannot."""
    for shown in audit.beside(block, "figure"):
        number = audit.numbers.of(shown.result_id)
        yield from (text for text in (number.text, number.interval) if text)


def of_ticks(audit: Audit, block: Block) -> Said:
    """Numbers at an axis: they lie in one line and are as far apart as their values say."""
    others = [b for b in audit.page.blocks if b.within == block.within and b.at]
    mine = [*(b for b in others if b.at != block.at), block]
    for axis in (0, 1):
        line = [b for b in mine if b.at[1 - axis] == block.at[1 - axis]]
        ticks = [(float(b.at[axis]), v) for b in line if (v := value_of(b.text)) is not None]
        own = (float(block.at[axis]), value_of(block.text))
        for run in axes(sorted(ticks, reverse=axis == 1)):
            if own in run and is_even(run):
                yield block.text


def of_firing(audit: Audit, block: Block) -> Said:
    """Share of tokens on which a feature was active, by language and kind of text."""
    table, latents = audit.table("firing.parquet"), {
        f.latent for f in audit.probe(audit.concept_of(block)).features
    }  # fmt: skip
    yield from (f"feature {latent} of" for latent in latents)
    read = table[(table["region"] == "read") & table["latent"].isin(latents)]
    for (language, source), tokens in read.groupby(["language", "source"])["tokens"].sum().items():
        ids = [
            r
            for r in audit.evidence.results
            if re.fullmatch(rf"fidelity/{language}/[a-z-]+/sae0/{source}\.read/tokens", r.id)
        ]
        total = sum(int(result.value or 0) for result in ids)
        share = write_percent(float(f"{tokens / total:.2g}"))
        yield share
        yield f"{share} ({write_count(tokens)} of {write_count(total)})"


def of_ranking(audit: Audit, block: Block) -> Said:
    """Points of the ROC curve: the sensitivity at stated false-alarm rates."""
    for rate in READ_AT:
        yield f"false alarms at most {write_percent(rate)}"
    for cell in audit.cells(audit.concept_of(block)):
        positive, hard = (audit.scores(cell, label) for label in ("positive", "hard-negative"))
        for cut in np.unique(np.concatenate([positive, hard])):
            yield write(float(np.mean(positive >= cut)), "share")
        yield write(0.0, "share")


def of_scores(audit: Audit, block: Block) -> Said:
    """Scores of a class: how many are zero, how many lie above the cut-off, and how they spread."""
    for cell in audit.cells(audit.concept_of(block)):
        for label in ("positive", "hard-negative", "negative"):
            scores = audit.scores(cell, label)
            if len(scores):
                yield write_count(int(np.sum(scores == 0)))
                yield write(float(np.mean(scores == 0)), "share")
                yield write(float(np.mean(scores > audit.cut_off(cell))), "share")
                yield from spread(audit, block, cell, scores)


def of_weights(audit: Audit, block: Block) -> Said:
    """What the weights of this card's feature say, and which latents fire with it."""
    concept = audit.concept_of(block)
    (feature,) = audit.probe(concept).features
    weights, together = audit.table("features.csv"), audit.table("cofiring.parquet")
    firing = audit.table("firing.parquet")
    fired = firing[firing["region"] == "read"].groupby("latent")["tokens"].sum()
    mine = weights[(weights["concept"] == concept) & (weights["latent"] == feature.latent)]
    for row in mine.itertuples():
        nearest = row.kind == "nearest"
        yield str(row.other) if nearest else printable(visible(readable(str(row.text))))
        yield write(row.value, "auroc" if nearest else "score")
    for row in together[together["concept"] == concept].itertuples():
        alone = int(fired.get(row.other, 0))
        either = fired.get(feature.latent, 0) + alone - row.tokens
        yield from (str(row.other), write(row.tokens / either, "auroc"))
        yield from (write_count(row.tokens), write_count(alone))


def of_card(audit: Audit, block: Block) -> Said:
    (feature,) = audit.probe(audit.concept_of(block)).features
    yield f"feature {feature.latent} of"
    yield f"{feature.latent} / {write_count(audit.plan.saes[0].d_sae)}"


def of_choice(audit: Audit, block: Block) -> Said:
    """How examples were chosen and marked."""
    many, few = features.LENGTHS[0]
    yield from (f"at most {many} of them", f"at most {few} in every other")
    yield f"plan's seed ({audit.plan.seed})"
    tokens = audit.table("tokens.parquet")
    mine = tokens[tokens["concept"] == audit.concept_of(block)]["activations"]
    largest = max(float(max(a)) for a in mine if len(a))
    yield from (write(largest * level / 4, "score") for level in (1, 2, 3, 4))


def of_example(audit: Audit, block: Block) -> Said:
    """An item's own score, the cut-off of its cell, and its strongest token."""
    concept, item = audit.concept_of(block), audit.confirm["item"] == block.item
    (score,) = audit.confirm[item & (audit.confirm["concept"] == concept)]["score"]
    language = audit.items[block.item]["language"]
    (cell,) = [c for c in audit.cells(concept) if c.language == language]
    limit = audit.cut_off(cell)
    yield block.item
    yield f"score {write(score, 'score')}, cut-off {write(limit, 'score')}"
    tokens = audit.table("tokens.parquet")
    for row in tokens[(tokens["item"] == block.item) & (tokens["concept"] == concept)].itertuples():
        said = words_of(audit.items[block.item])
        for start, end, value in zip(row.starts, row.ends, row.activations, strict=True):
            token = visible(said[start:end])
            yield f"“{token}”, {write(float(value), 'score')}"


def of_item_words(audit: Audit, block: Block) -> Said:
    """A stretch of the item's words, without the marks of a cut."""
    shown, said = block.text.strip("…"), words_of(audit.items[block.item])
    if "".join(shown.split()) in "".join(said.split()):
        yield block.text


def of_plan(audit: Audit, block: Block) -> Said:
    """Every value of the plan and of its subject, in each way in which a value is written."""
    plan, robust = audit.plan, audit.plan.robustness
    for value in leaves(to_json(plan)):
        yield from (write_count(value), write_percent(value), f"{value:g}", str(value))
    yield audit.words.facts["splits_value"].format(**plan.splits.model_dump())
    yield from (f"{robust.shifted_groups} groups", f"{robust.repeated_items} items")
    yield f"{robust.loss_items} neutral"
    yield str(audit.evidence.confirm_openings)


def of_records(audit: Audit, block: Block) -> Said:
    """A name, a key or a digest that stands in a record; a digest may be cut."""
    text = block.text.strip()
    whole = {*strings(to_json(audit.evidence), audit.trail), digest_of(audit.plan),
             digest_of(audit.evidence.lock)}  # fmt: skip
    if text in whole or (text.endswith("…") and any(w.startswith(text[:-1]) for w in whole)):
        yield block.text
    yield from (r.id.split("/", 4)[-1] for r in audit.evidence.results if r.id.count("/") > 3)
    yield from (r.id for r in audit.evidence.results)


def of_validation(audit: Audit, block: Block) -> Said:
    """The record of known answers that the evidence carries."""
    record = audit.evidence.validation
    yield from (record.software, record.command, record.settings)
    for answer in record.answers:
        share = write(answer.found / answer.audits, "share")
        interval = write_interval(answer.low, answer.high, "share")
        counted = (write_count(answer.found), write_count(answer.audits))
        yield from (answer.name, answer.truth, *counted, share, f"{share} ({interval})")
        yield f"{answer.found} of {answer.audits} audits"
        yield f"{counted[0]} of {counted[1]} audits"
        if answer.predicted is not None:
            yield write(answer.predicted, "share")
        if block.text.endswith("…") and answer.name.startswith(block.text[:-1]):
            yield block.text


def of_trail(audit: Audit, block: Block) -> Said:
    for entry in audit.trail:
        number = entry["sequence"]
        yield from (f"{number}", f"entry {number}", entry["actor"])
        yield entry["at"].replace("T", " ").removesuffix("Z")
        yield from (f"{write_count(value)} items" for value in leaves(entry["facts"]))


def of_sources(audit: Audit, block: Block) -> Said:
    """Where a method was published, as the catalog of messages has it."""
    yield from (method.source for method in audit.words.methods.values() if method.source)


FIXED = {
    "SHA-256": "name of a hash",
    "sha256sum -c manifest-sha256.txt": "a command",
    "L0": "name of a measure",
    "95th percentile": f"name of a measure; {ranking.__name__}, {fidelity.__name__}",
    "95 % of them": "the same measure in words",
    "95 %": "the same measure at the head of a column, after its name",
    "Share, 95 % interval": "records of known answers hold intervals at this level",
    f"up to {write_percent(ranking.PARTIAL_FPR)}": "bound of the partial area",
    f"bound of {write_percent(ranking.PARTIAL_FPR)}": "the same",
    f"more than {write_percent(fidelity.DENSE_SHARE)} of tokens": "what a dense latent is",
    f"sensitivity {write_percent(detectable.SENSITIVITY)}": "the assumed good probe",
    f"sensitivity of {write_percent(detectable.SENSITIVITY)}": "the same",
    "false alarms 1 % and 5 %": "the same",
    "false alarms 1 % on benign items and 5 % on look-alikes": "the same",
    "Article 13": "the law that a pack speaks to",
}
"""Words of the message catalog that hold digits and no measurement, and what they are."""


def of_fixed(audit: Audit, block: Block) -> Said:
    yield from FIXED


@dataclass(frozen=True)
class Rule:
    """What may be written in some place."""

    where: str
    """Pattern of chapter and path, joined by a colon."""

    said: Callable[[Audit, Block], Said]


RULES = [
    Rule(r"^(law|concepts|features|instrument|methods|known-answers|glossary|verification):|^:.*glance",
         of_fixed),
    # numbers of chapters, names and dates
    Rule(r"span\.no$|^(law|):.* (td|p) a$", of_chapters),
    Rule(r"^law:.* p a$", of_chapter_titles),
    Rule(r"^:.* div\.lead p$", of_error_chapter),
    Rule(r"^:|^(instrument|test-sets):.*facts|^trail:|^known-answers:", of_identity),
    Rule(r"^:.*(header|footer|title|facts)|^(trail|verification):", of_pack),
    # counts
    Rule(r"^:.* div\.lead p$", of_sizes),
    Rule(r"^:.* span\.count$", of_verdicts),
    Rule(r"^:.* ul\.notices li$", of_gaps),
    Rule(r"^:.*glance.* td$", of_glance),
    # the law
    Rule(r"^law:|^:.*(ul\.gaps|glance|contents)", of_law),
    # limits and levels of the plan
    Rule(r"^(law|concepts|instrument|features):", of_limits),
    Rule(r"^(reading|concepts|features|known-answers):", of_levels),
    Rule(r"^concepts:.* th$", of_prevalences),
    Rule(r"^(instrument|test-sets):.*facts", of_plan),
    # findings and the lock
    Rule(r"^concepts:.* td\.v span\.ci$", of_conditions),
    Rule(r"^concepts:.* section\.kind .* p$", of_verdict),
    Rule(r"^concepts:.*span\.sid$|^traceability:.* th a$", of_sentences),
    Rule(r"^concepts:.*section\.concept (p|table\.facts .* td)$|^features:.*facts|^instrument:",
         of_search),
    Rule(r"^concepts:", of_settings),
    Rule(r"^concepts:.* section\.part p$", of_repeats),
    Rule(r"^concepts:.* section\.part .* td$", of_counts),
    # drawings
    Rule(r" svg title$", of_this_figure),
    Rule(r" svg text$", of_ticks),
    Rule(r"^features:.* figure", of_firing),
    Rule(r"^features:.* figure", of_ranking),
    Rule(r"^features:.* figure", of_scores),
    # cards
    Rule(r"^features:.* (h3 span\.subject|caption\.hidden|code)$", of_card),
    Rule(r"^features:.*div\.lists ", of_weights),
    Rule(r"^features:.* (p\.how|p\.scale|dl\.rules dd)$", of_choice),
    Rule(r"^features:.*table\.examples .* (th|th code|p\.peak-at)$", of_example),
    Rule(r"^features:.*p\.words$", of_item_words),
    # records that a report carries along
    Rule(r"^methods:.*p\.source$", of_sources),
    Rule(r"^known-answers:", of_validation),
    Rule(r"^trail:", of_trail),
    Rule(r"^(?!features:.*(lists|examples)).* code$", of_records),
]  # fmt: skip


# helpers


def strings(*values: object) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            yield from strings(*value.values())
        elif isinstance(value, list):
            yield from strings(*value)


def leaves(value: object) -> Iterator[float]:
    """Numbers anywhere in a document."""
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        yield value
    for inner in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from leaves(inner)


def words_of(item: dict) -> str:
    turns = item.get("messages")
    return item["text"] if not turns else "".join(turn["content"] for turn in turns)


def value_of(text: str) -> float | None:
    found = re.fullmatch(r"([\d.,]+)\s*%?", text)
    return float(found[1].replace(",", "")) if found else None


def axes(ticks: list[tuple[float, float]]) -> Iterator[list[tuple[float, float]]]:
    """Places and values cut where values begin anew: panels stand beside each other."""
    run: list[tuple[float, float]] = []
    for tick in ticks:
        if run and tick[1] <= run[-1][1]:
            yield run
            run = []
        run.append(tick)
    yield run


def is_even(ticks: list[tuple[float, float]]) -> bool:
    """Whether places follow from values by one step, or by one step for each power of ten."""
    if len(ticks) < 2:
        return False
    places, values = np.array(ticks).T
    if len(ticks) == 2 or values[0] > 0 and np.allclose(values[1:] / values[:-1], 10):
        return bool(
            np.allclose(np.diff(places), np.diff(places)[0]) and values[1] == 10 * values[0]
        )
    steps = np.diff(places) / np.diff(values)
    return bool(np.allclose(steps, steps[0], rtol=0.02))


def spread(audit: Audit, block: Block, cell: Cell, scores: np.ndarray) -> Said:
    """Counts in bins of the width that the table names, one edge at the cut-off."""
    heads = [
        b.text
        for b in audit.page.blocks
        if b.within.get("figure") == block.within["figure"] and "bins " in b.text
    ]
    for width in {float(m) for head in heads for m in re.findall(r"bins ([\d.]+) wide", head)}:
        yield f"bins {width:g} wide"
        above = scores[scores != 0]
        if not len(above):
            continue
        edges = audit.cut_off(cell) + width * np.arange(-500, 501)
        places = np.searchsorted(edges, above, side="left") - 1
        counts = np.bincount(places - places.min())
        yield write(float(edges[places.min()]), "plain")
        yield ", ".join(map(str, counts))
        yield f"a full height is {write(counts.max() / len(scores), 'share')}"


def unexplained(audit: Audit, block: Block) -> str:
    """What is left of a text when everything is taken out that may be written there."""
    place, left = f"{block.chapter}:{block.path}", block.text.replace("\u00a0", " ")
    said = {text.replace("\u00a0", " ") for rule in RULES if re.search(rule.where, place)
            for text in rule.said(audit, block) if re.search(r"\d", text)}  # fmt: skip
    for text in sorted(said, key=len, reverse=True):
        if text in left:
            left = re.sub(rf"(?<![\w.,]){re.escape(text)}(?!\w|\(\w|[.,]\d)", "", left)
    return left if re.search(r"\d", left) else ""


# tests


@pytest.fixture(scope="module")
def audit(finished_pack) -> Audit:
    data = finished_pack / "data"
    below = data / "observations"
    return Audit(
        evidence=Evidence.model_validate_json((data / "evidence.json").read_bytes()),
        files={p.relative_to(below).as_posix(): p.read_bytes() for p in below.glob("*/*")},
        trail=lines(data / "trail.jsonl"),
        items={row["item"]["id"]: row["item"] for row in lines(data / "items.jsonl")},
        page=Page((data / "report.html").read_text(encoding="utf-8")),
    )


def lines(path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_observations_give_every_result_and_every_finding(audit):
    assert list(recompute(audit.evidence, audit.files)) == []


def test_every_number_with_an_id_is_that_result(audit):
    assert len(audit.page.shown) > 300
    for shown in audit.page.shown:
        number = audit.numbers.of(shown.result_id)
        expected = number.text if shown.kind == "data-result" else number.interval
        assert shown.text == expected, shown.result_id


def test_every_other_number_is_explained(audit):
    digits = [block for block in audit.page.blocks if re.search(r"\d", block.text)]
    left = {
        f"{block.chapter}: {block.path.partition(' main ')[2] or block.path}: {rest.strip()}"
        for block in digits
        if (rest := unexplained(audit, block))
    }

    assert len(digits) > 1_000
    assert sorted(left) == []


def test_no_rule_is_without_use(audit):
    """A rule that explains nothing would let a wrong number through one day."""
    unused = []
    for rule in RULES:
        used = (
            text in block.text
            for block in audit.page.blocks
            if re.search(r"\d", block.text)
            and re.search(rule.where, f"{block.chapter}:{block.path}")
            for text in rule.said(audit, block)
            if re.search(r"\d", text)
        )
        if not any(used):
            unused.append(rule)

    assert unused == []


@pytest.mark.parametrize("place", ["section.kind", "div.lead", "p.how", "figcaption", "title"])
def test_a_number_from_nowhere_is_found(audit, place):
    blocks = [b for b in audit.page.blocks if place in b.path and re.search(r"\d", b.text)]
    block = next(b for b in blocks if not unexplained(audit, b))

    assert unexplained(audit, replace(block, text=block.text + " That is 91.37 %."))
    assert unexplained(audit, replace(block, text="In 4,711 of them: " + block.text))


def test_few_numbers_of_measurements_could_be_one_higher(audit):
    """Rules allow what stands in records, so that one right number can hide another."""
    pieces = {
        (b.path, b.text): b
        for b in audit.page.blocks
        if b.chapter in ("concepts", "features", "known-answers") and LAST.search(b.text)
    }
    changed = [replace(b, text=LAST.sub(one_higher, b.text)) for b in pieces.values()]
    hidden = [b for b in changed if not unexplained(audit, b)]

    assert len(changed) > 300
    assert len(hidden) < 0.1 * len(changed)


LAST = re.compile(r"(\d)(?=\D*$)")


def one_higher(found: re.Match) -> str:
    return str((int(found[1]) + 1) % 10)
