"""Turns observations into evidence, and checks evidence against observations.

    evidence = assess(plan, lock, files, ...)
    for mismatch in recompute(evidence, files): ...

``recompute`` calls what ``assess`` called: one code path for the producer and for the auditor. Only
a deep one draws the null of the searches again, which takes longest.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from heapq import merge
from itertools import chain
from typing import Any, NamedTuple

import pandas as pd
from pandas.api.types import union_categoricals

from compliance.assessment.cells import cell_items
from compliance.assessment.comparing import differences
from compliance.assessment.interventions import influences, interventions
from compliance.assessment.locking import recomputed_lock
from compliance.assessment.measures import Measures
from compliance.assessment.mitigation import REPLIES, mitigation, reductions
from compliance.assessment.numbers import by_id
from compliance.assessment.planning import rules_of
from compliance.assessment.precision import precision
from compliance.assessment.sweep import with_settings
from compliance.assessment.tables import (
    FitObservations,
    StoredConfirm,
    file_digests,
    read_table,
)
from compliance.assessment.token_rows import token_differences
from compliance.assessment.verdicts import error_bound, judge
from compliance.errors import NumberMismatch, PlanError
from compliance.records.audit import Claims, SystemFacts
from compliance.records.base import digest_of, to_json
from compliance.records.evidence import Evidence, LawFacts
from compliance.records.finding import Finding, Influence, Reduction, Result
from compliance.records.plan import Lock, Plan
from compliance.records.subject import Environment
from compliance.records.suite import Item, Label
from compliance.records.validation import Validation
from compliance.suites.load import SuiteDigest
from compliance.suites.split import CALIBRATE, CONFIRM, DISCOVER, cut, quotas, rank

AT_ONCE = 4096
"""Rows that are taken apart at a time."""


def assess(
    plan: Plan,
    lock: Lock,
    files: Mapping[str, bytes],
    *,
    system: SystemFacts,
    environment: Environment,
    law: LawFacts,
    confirm_openings: int,
    validation: Validation | None = None,
) -> Evidence:
    """Compute every result and verdict of an audit.

    Args:
        plan: As frozen.
        lock: As frozen.
        files: The observation files, by path below ``observations/``.
        system: Declared facts, carried along.
        environment: What the run was computed with.
        law: Which catalog was used.
        confirm_openings: How often these confirm groups were opened, this time included.
        validation: How often the method erred where the answer was known, carried along.

    Raises:
        PlanError: The observations are not those of this plan and lock.
    """
    if lock.plan_digest != digest_of(plan):
        raise PlanError("the lock belongs to another plan", hint="lock again, then confirm")
    found = _compute(plan, lock, files)
    return Evidence(
        system=system,
        plan=plan,
        lock=lock,
        results=found.results,
        findings=found.findings,
        influences=found.influences,
        reductions=found.reductions,
        observations=file_digests(files),
        confirm_openings=confirm_openings,
        environment=environment,
        law=law,
        validation=validation,
    )


def recompute(
    evidence: Evidence,
    files: Mapping[str, bytes],
    *,
    deep: bool = False,
    withheld: Collection[str] = (),
) -> Iterator[NumberMismatch]:
    """Yield each number of lock, results and findings that the observations do not give.

    Args:
        evidence: What the pack states.
        files: The observation files, by path below ``observations/``; each is asked for when it is
            read, so that they need not all be in memory.
        deep: Draw the null of the searches again, too.
        withheld: Paths of files that a copy does not show. The lock is not made again without one
            of its own, and is taken as it is stated; so are rates of mitigation studies without
            their replies.

    Raises:
        PlanError: The observations cannot be read or do not fit the plan.
    """
    stated = dict(evidence.observations)
    digests = file_digests(files) | {path: stated[path] for path in withheld}
    yield from differences("observations", stated, digests)
    if not any(path.startswith("fit/") for path in withheld):
        yield from _lock_differences(evidence, files, digests, deep=deep)
    yield from token_differences(evidence.plan, files)
    stated_rates = by_id(evidence.results) if REPLIES in withheld else None
    found = _compute(evidence.plan, evidence.lock, files, stated_rates)
    yield from differences(
        "results", _keyed(evidence.results, "id"), {r.id: to_json(r) for r in found.results}
    )
    yield from differences("findings", _findings(evidence.findings), _findings(found.findings))
    yield from differences("results.count", len(evidence.results), len(found.results))
    yield from differences("findings.count", len(evidence.findings), len(found.findings))
    yield from differences(
        "influences", _influences(evidence.influences), _influences(found.influences)
    )
    yield from differences(
        "reductions", _reductions(evidence.reductions), _reductions(found.reductions)
    )


def _lock_differences(
    evidence: Evidence, files: Mapping[str, bytes], digests: Mapping[str, str], *, deep: bool
) -> Iterator[NumberMismatch]:
    fit = FitObservations.from_files(files, compact=True)
    lock = recomputed_lock(evidence.plan, evidence.lock, fit, digests, deep=deep)
    yield from differences("lock", to_json(evidence.lock), to_json(lock))


def judged_with(
    evidence: Evidence, files: Mapping[str, bytes], claims: Claims
) -> tuple[Finding, ...]:
    """The findings that other limits would have given; everything locked stays as it is.

    Args:
        evidence: What the pack states.
        files: The observation files, by path below ``observations/``.
        claims: With the same reference language, in which features were searched.

    Raises:
        PlanError: The observations cannot be read or do not fit the plan.
    """
    limits = {rule.condition: rule.limit for rule in rules_of(claims, evidence.plan.cells)}
    changed = tuple(
        rule.model_copy(update={"limit": limits.get(rule.condition, rule.limit)})
        for rule in evidence.plan.rules
    )
    plan = evidence.plan.model_copy(update={"claims": claims, "rules": changed})
    return _compute(plan, evidence.lock, files).findings


def frozen_differences(evidence: Evidence, frozen: Mapping[str, Any]) -> Iterator[NumberMismatch]:
    """Yield where the evidence is not what the trail recorded.

    Args:
        evidence: What the pack states.
        frozen: JSON of ``plan``, ``lock``, ``environment``, ``confirm_openings`` and
            ``observations`` as the trail has them.
    """
    stored = to_json(evidence)
    for name in ("plan", "lock", "environment", "confirm_openings", "observations"):
        yield from differences(name, stored[name], frozen.get(name))


Known = Item | Mapping[str, Any] | None
"""An item of a pack: of one that is partly shown, the values of the fields that can be compared;
None where it is withheld."""


def item_differences(
    plan: Plan, files: Mapping[str, bytes], items: Iterable[tuple[str, Known]]
) -> Iterator[NumberMismatch]:
    """Yield where the observed items are not the items of the pack, or not in their split.

    Args:
        plan: Names each suite's digest.
        files: The observation files.
        items: The pack's items with their ids, in the order of these, each once. They are taken
            one by one, beside the rows.
    """
    paths = [f"{stage}/items.csv" for stage in ("fit", "confirm")]
    tables = [read_table(files, path, compact=True) for path in paths]
    digests = {suite.name: SuiteDigest(suite.datasheet) for suite in plan.suites}
    rest = iter(items)
    name, item = next(rest, _NO_ITEM)
    for row in merge(*map(_rows, tables), key=lambda row: row.item):
        while name is not None and name < row.item:
            yield NumberMismatch(f"items.{name}", stored="an item", computed="no observation")
            name, item = next(rest, _NO_ITEM)
        if name != row.item:
            yield NumberMismatch(f"items.{row.item}", stored="nothing", computed="observations")
            continue
        yield from _field_differences(row, item)
        if row.suite in digests and isinstance(item, Item):
            digests[row.suite].add(item)
        name, item = next(rest, _NO_ITEM)
    while name is not None:
        yield NumberMismatch(f"items.{name}", stored="an item", computed="no observation")
        name, item = next(rest, _NO_ITEM)
    yield from _split_differences(plan, _together(tables))
    for suite in plan.suites:
        found = digests[suite.name]
        if found.items == suite.items:  # all of it was run and is disclosed
            where = f"plan.suites.{suite.name}.digest"
            yield from differences(where, suite.digest, found.digest())


def _rows(table: pd.DataFrame) -> Iterator[Any]:
    """The rows of a table, of which a few are taken apart at a time."""
    for start in range(0, len(table), AT_ONCE):
        yield from table.iloc[start : start + AT_ONCE].itertuples()


def _together(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """What splits are told from, of several tables."""
    return pd.DataFrame({
        name: union_categoricals([table[name] for table in tables], sort_categories=True)
        for name in ("suite", "group", "split", "concept", "label")
    })  # fmt: skip


_NO_ITEM: tuple[None, None] = (None, None)


def _field_differences(row: Any, item: Known) -> Iterator[NumberMismatch]:
    """Where a row of ``items.csv`` says other than the item of its id."""
    if item is None:
        return
    known = vars(item) if isinstance(item, Item) else item
    for field in (name for name in _ITEM_FIELDS if name in known):
        stored, computed = str(known[field] or ""), getattr(row, field)
        if stored != computed:
            yield from differences(f"items.{row.item}.{field}", stored, computed)


_ITEM_FIELDS = ("group", "concept", "label", "language", "modality", "rendering", "format",
                "stratum", "origin", "source", "reviewed")  # fmt: skip


def _split_differences(plan: Plan, table: pd.DataFrame) -> Iterator[NumberMismatch]:
    """A group's split follows from the hash of its id.

    Within a suite and concept (and label, where a suite has no pairs), discover groups rank before
    calibrate groups, and those before confirm groups; and where all groups were run, each split has
    its exact quota.
    """
    for name in sorted(set(table["suite"]) - {suite.name for suite in plan.suites}):
        yield NumberMismatch(f"splits.{name}", stored="nothing", computed="a suite with items")
    for suite in plan.suites:
        mine = table[table["suite"] == suite.name]
        whole = mine["group"].nunique() == suite.groups and plan.subset is None
        labels = mine["label"]
        ranked_apart = labels.astype("str")
        if suite.datasheet.paired:
            ranked_apart = ranked_apart.where(ranked_apart == Label.NEUTRAL.value, "")
        for (concept, label), part in mine.groupby([mine["concept"], ranked_apart]):
            first = part.drop_duplicates("group")
            groups = dict(zip(first["group"], first["split"], strict=True))
            ranked = rank(groups, suite.digest)
            found = [groups[group] for group in ranked]
            if whole:
                cuts = cut(ranked, quotas(plan.splits, concept, label))
                expected = [cuts[group] for group in ranked]
            else:
                expected = sorted(found, key=(DISCOVER, CALIBRATE, CONFIRM).index)
            misplaced = sum(a != b for a, b in zip(found, expected, strict=True))
            straddling = int((part.groupby("group")["split"].nunique() > 1).sum())
            kind = concept or ("benign" if label != Label.NEUTRAL else "neutral")
            where = ".".join(["splits", suite.name, kind, *([label] if concept and label else [])])
            yield from differences(f"{where}.misplaced", misplaced, 0)
            yield from differences(f"{where}.straddling", straddling, 0)


class _Computed(NamedTuple):
    """What an assessment computes."""

    results: tuple[Result, ...]
    findings: tuple[Finding, ...]
    influences: tuple[Influence, ...] | None
    reductions: tuple[Reduction, ...] | None


def _compute(
    plan: Plan,
    lock: Lock,
    files: Mapping[str, bytes],
    stated_rates: Mapping[str, Result] | None = None,
) -> _Computed:
    confirm = StoredConfirm(files)
    items = confirm.items  # read once: each time it is asked for is another
    measures = Measures(plan, lock, confirm, read_table(files, "fit/means.parquet"))
    results = by_id(
        chain(
            measures.results(),
            precision(plan, measures.cells, files),
            interventions(plan, items, files),
            mitigation(plan, items, files, stated_rates),
        )
    )
    findings = judge(plan, results, _qualifiers(plan, items))
    confirm.check_others()
    findings, kept = with_settings(measures, results, findings)
    every = (*results.values(), *kept, error_bound(plan))
    return _Computed(every, findings, influences(plan, results), reductions(plan, results))


def _qualifiers(plan: Plan, items: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """What every sentence about a cell must add.

    Who translated its items, that nobody reviewed them, and that it was locked on another model.
    """
    found: dict[str, tuple[str, ...]] = {}
    for cell in plan.cells:
        mine = cell_items(cell, items)
        named = []
        if (mine["origin"] == "machine-translated").any():
            named.append("machine-translated")
        if (mine["reviewed"] == "").any():
            named.append("not-reviewed")
        if plan.locked_by is not None:
            named.append("lock-of-another-model")
        found[cell.key] = tuple(named)
    return found


def _keyed(records: tuple[Any, ...], key: str) -> dict[str, Any]:
    return {getattr(record, key): to_json(record) for record in records}


def _influences(found: tuple[Influence, ...] | None) -> dict[str, Any]:
    return {influence.cell.key: to_json(influence) for influence in found or ()}


def _reductions(found: tuple[Reduction, ...] | None) -> dict[str, Any]:
    return {f"{one.study}/{one.language}": to_json(one) for one in found or ()}


def _findings(findings: tuple[Finding, ...]) -> dict[str, Any]:
    """By cell, and each finding's conditions by name, so that a difference says where."""
    found = {}
    for finding in findings:
        plain = to_json(finding)
        plain["conditions"] = {c["condition"]: c for c in plain["conditions"]}
        found[finding.cell.key] = plain
    return found
