"""What changed between two packs of one system, and which changes of numbers are more than chance.

    compare(old, old_files, new, new_files).measures

A measure is compared on the items that both packs saw, each side at its own locked cut-off, so the
two values need not be those that either pack states. What cannot be compared is listed with the
reason. Rankings are compared as a probe is with a control, shares by what changed in each group.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import JsonValue

from compliance.assessment.cells import BENIGN, HARD, POSITIVE, cell_items, groups_of
from compliance.assessment.tables import read_table
from compliance.catalog.declarations import answer
from compliance.errors import PlanError
from compliance.records.audit import SystemFacts
from compliance.records.base import Record, digest_bytes, to_json
from compliance.records.comparison import (
    LEAST_GROUPS,
    LOWER_IS_BETTER,
    Comparison,
    FieldChange,
    KeyChange,
    Measure,
    MeasureChange,
    Reading,
    VerdictChange,
    WhyNot,
)
from compliance.records.evidence import Evidence
from compliance.records.finding import Result, Verdict
from compliance.records.plan import Cell
from compliance.records.subject import SaeFacts
from compliance.records.suite import Label, SuiteFacts
from compliance.statistics.multiplicity import holm
from compliance.statistics.paired import change_interval, sign_flip_p
from compliance.statistics.ranking import auroc, paired_auroc_difference
from compliance.statistics.resampling import seed_of

MEASURES: tuple[Measure, ...] = get_args(Measure)
RANKINGS: dict[Measure, Label] = {"auroc-hard": HARD, "auroc-benign": BENIGN}
"""Positives against which items."""

SHARES: dict[Measure, Label] = {"sensitivity": POSITIVE, "fpr-benign": BENIGN, "fpr-hard": HARD}
"""Alarms among which items."""

MOST_DRAWS = 100_000
"""A plan of ours has no more; one of a stranger could ask for all memory."""

LONGEST = 120
"""Characters of a value that is given whole; of a longer one its digest."""

Digests = Mapping[str, str]
"""Digest of each item's contents by its id, where they are known."""

NONE: Digests = {}


@dataclass(frozen=True, eq=False)
class _Side:
    """One of the two packs."""

    evidence: Evidence
    digests: Digests
    items: pd.DataFrame | None
    """Confirm items; None where the tables cannot be read."""

    scores: pd.DataFrame | None
    """Scores of the locked probes on them."""

    results: dict[str, Result]
    verdicts: dict[str, Verdict]
    """Of every planned cell."""

    @classmethod
    def of(cls, evidence: Evidence, files: Mapping[str, bytes], digests: Digests) -> "_Side":
        try:
            items = read_table(files, "confirm/items.csv")
            scores = read_table(files, "confirm/scores.csv")
        except PlanError:  # tables of another version of this software; integrity was checked
            items = scores = None
        found = {finding.cell.key: finding.verdict for finding in evidence.findings}
        return cls(
            evidence=evidence,
            digests=digests,
            items=items,
            scores=None if scores is None else scores[scores["scorer"] == "probe"],
            results={result.id: result for result in evidence.results},
            verdicts={c.key: found.get(c.key, Verdict.NOT_COVERED) for c in evidence.plan.cells},
        )

    def has(self, cell: Cell, measure: Measure) -> bool:
        result = self.results.get(f"{cell.key}/{measure}")
        return result is not None and result.value is not None

    def states(self, cell: Cell, measure: Measure) -> bool:
        return f"{cell.key}/{measure}" in self.results

    def limit(self, cell: Cell) -> float | None:
        """The probe's locked cut-off."""
        locked = self.evidence.lock.cut_offs
        return next((c.value for c in locked if (c.scorer, c.cell) == ("probe", cell)), None)

    def definition(self, concept: str) -> str | None:
        probes = self.evidence.plan.probes
        return next((p.definition for p in probes if p.concept == concept), None)

    def labels(self, concept: str) -> set[str]:
        """Labels of the features that stand for a concept; found features have none."""
        locked = (p for p in self.evidence.lock.probes if p.concept == concept)
        return {f.label for p in locked for f in p.features if f.label is not None}

    def table(self, cell: Cell) -> pd.DataFrame:
        """The cell's items with a probe score, by id: group, label, score and digest."""
        if self.items is None or self.scores is None:
            return pd.DataFrame(columns=["group", "label", "score", "digest"])
        mine = cell_items(cell, self.items)[["item", "group", "label"]]
        own = self.scores[self.scores["concept"] == cell.concept][["item", "score"]]
        found = mine.merge(own, on="item").sort_values("item").set_index("item")
        return found.assign(digest=[self.digests.get(item) for item in found.index])


@dataclass(frozen=True, eq=False)
class _Pair:
    """One cell in both packs."""

    before: pd.DataFrame
    now: pd.DataFrame
    shared: pd.DataFrame
    """Items of both by id: group, label, before, now (scores), hit_before, hit_now, unchecked."""

    same_limits: bool

    def of(self, *labels: Label) -> pd.DataFrame:
        return self.shared[self.shared["label"].isin(labels)]

    def counted(self, *labels: Label) -> dict[str, int]:
        """How many items a measure rests on, and how many of them are shared."""
        before, now = (side[side["label"].isin(labels)] for side in (self.before, self.now))
        shared = self.of(*labels)
        both = self.before.index.intersection(self.now.index)
        concerned = both.intersection(before.index.union(now.index))
        return {
            "items_before": len(before),
            "items_now": len(now),
            "items_shared": len(shared),
            "items_changed": len(concerned) - len(shared),
            "items_unchecked": int(shared["unchecked"].sum()),
        }


def compare(
    old: Evidence,
    old_files: Mapping[str, bytes],
    new: Evidence,
    new_files: Mapping[str, bytes],
    *,
    old_items: Digests = NONE,
    new_items: Digests = NONE,
) -> Comparison:
    """Compare two assessments.

    Args:
        old: The earlier evidence.
        old_files: Its observations by path below ``observations/``; confirm/items.csv and
            confirm/scores.csv are read.
        new: The later evidence; its seed, draws, level and family error are used.
        new_files: Its observations.
        old_items: Digest of the contents of each item that the earlier pack shows, by id.
        new_items: The same of the later one.

    Returns:
        Fields, verdicts and numbers, side by side. Deterministic: the streams are those of
        FORMAT.md section 13, called ``comparison/<cell key>/<measure>``.

    Raises:
        PlanError: The later plan asks for more draws than a plan can.
        StatisticsError: Its level or number of draws is impossible.

    Source:
        Paired bootstrap and exact sign flips: `statistics.paired`; rankings:
        `statistics.ranking.paired_auroc_difference`; families: `statistics.multiplicity.holm`.
    """
    plan = new.plan
    if plan.bootstrap_draws > MOST_DRAWS:
        raise PlanError(f"plan.bootstrap_draws: found {plan.bootstrap_draws}, at most {MOST_DRAWS}")
    before, now = _Side.of(old, old_files, old_items), _Side.of(new, new_files, new_items)
    return Comparison(
        subject=(
            *_changes(_system(old), _system(new)),
            *_changes(*_named("saes.", old.plan.saes, plan.saes)),
        ),
        suites=tuple(_changes(*_named("", old.plan.suites, plan.suites))),
        plan=tuple(_changes(_plan(old), _plan(new))),
        probes=tuple(_changes(_probes(old), _probes(new))),
        law=tuple(_changes(_flat(old.law), _flat(new.law))),
        declared=tuple(_declared(old.system, new.system)),
        verdicts=tuple(
            VerdictChange(
                cell=cell, before=before.verdicts.get(cell.key), now=now.verdicts.get(cell.key)
            )
            for cell in _cells(old, new)
        ),
        measures=_adjusted(_measures(before, now), plan.family_error),
        level=plan.level,
        family_error=plan.family_error,
        draws=plan.bootstrap_draws,
        seed=plan.seed,
    )


def _cells(old: Evidence, new: Evidence) -> list[Cell]:
    """Cells that either pack planned, the later one's first."""
    return list({cell.key: cell for cell in (*new.plan.cells, *old.plan.cells)}.values())


# Numbers


def _measures(before: _Side, now: _Side) -> Iterator[MeasureChange]:
    pairs: dict[str, _Pair] = {}

    def pair(cell: Cell) -> _Pair:
        if cell.key not in pairs:
            pairs[cell.key] = _paired(before, now, cell)
        return pairs[cell.key]

    cells = _cells(before.evidence, now.evidence)
    for measure in MEASURES:
        for cell in cells:
            if not before.states(cell, measure) and not now.states(cell, measure):
                continue
            empty = MeasureChange(
                cell=cell, measure=measure, reading=Reading.NOT_COMPARABLE,
                reason=WhyNot.OTHER_ITEMS,
            )  # fmt: skip
            if reason := _why_not(before, now, cell, measure):
                yield empty.model_copy(update={"reason": reason})
            elif measure in RANKINGS:
                yield _ranking(empty, pair(cell), now.evidence)
            elif measure in SHARES:
                yield _share(empty, pair(cell), now.evidence)
            else:
                other = _other(now.evidence, cell, measure)
                yield _gap(empty, pair(cell), pair(other), now.evidence)


def _why_not(before: _Side, now: _Side, cell: Cell, measure: Measure) -> WhyNot | None:
    """Why a cell's measure cannot be compared, whatever the items."""
    concept = cell.concept
    labels = before.labels(concept), now.labels(concept)
    found = {
        WhyNot.NOT_PLANNED_BEFORE: cell.key not in before.verdicts,
        WhyNot.NOT_PLANNED_NOW: cell.key not in now.verdicts,
        WhyNot.OTHER_CONCEPT: before.definition(concept) != now.definition(concept),
        WhyNot.OTHER_LABEL: all(labels) and labels[0] != labels[1],
        WhyNot.ABSENT_BEFORE: not before.has(cell, measure),
        WhyNot.ABSENT_NOW: not now.has(cell, measure),
        WhyNot.UNREADABLE: before.items is None or now.items is None,
    }
    return next((reason for reason, holds in found.items() if holds), None)


def _other(evidence: Evidence, cell: Cell, measure: Measure) -> Cell:
    """The cell that a gap is measured to."""
    if measure == "gap":
        return cell.model_copy(update={"language": evidence.plan.claims.reference_language})
    return cell.model_copy(update={"modality": "text", "rendering": "plain"})


def _paired(before: _Side, now: _Side, cell: Cell) -> _Pair:
    """Join the cell's items of both packs by id; of those that differ nothing is taken."""
    tables = before.table(cell), now.table(cell)
    joined = tables[0].add_suffix("_before").join(tables[1].add_suffix("_now"), how="inner")
    known = joined["digest_before"].notna() & joined["digest_now"].notna()
    same = (
        (joined["group_before"] == joined["group_now"])
        & (joined["label_before"] == joined["label_now"])
        & (~known | (joined["digest_before"] == joined["digest_now"]))
    )
    whole = _same_suites(before.evidence, now.evidence)
    limits = before.limit(cell), now.limit(cell)
    shared = pd.DataFrame(
        {
            "group": joined["group_now"],
            "label": joined["label_now"],
            "before": joined["score_before"],
            "now": joined["score_now"],
            "hit_before": _above(joined["score_before"], limits[0]),
            "hit_now": _above(joined["score_now"], limits[1]),
            "unchecked": ~known & (not whole),
        }
    )
    return _Pair(*tables, shared[same], limits[0] == limits[1])


def _same_suites(old: Evidence, new: Evidence) -> bool:
    """Whether the suites' digests are equal, which cover every item that either pack withholds."""
    return {s.digest for s in old.plan.suites} == {s.digest for s in new.plan.suites}


def _above(scores: pd.Series, limit: float | None) -> NDArray[np.int64]:
    return (scores > (np.inf if limit is None else limit)).to_numpy(dtype=np.int64)


def _ranking(empty: MeasureChange, pair: _Pair, new: Evidence) -> MeasureChange:
    """The difference of two AUROCs of the same items."""
    negative = RANKINGS[empty.measure]
    above, below = pair.of(POSITIVE), pair.of(negative)
    groups = min(above["group"].nunique(), below["group"].nunique())
    counted = empty.model_copy(update={**pair.counted(POSITIVE, negative), "groups": groups})
    same = above["before"].equals(above["now"]) and below["before"].equals(below["now"])
    if too_few := _too_few(counted, same):
        return too_few
    values = {
        "before": auroc(above["before"], below["before"]),
        "now": auroc(above["now"], below["now"]),
    }
    if same:
        return _identical(counted, values)
    found = paired_auroc_difference(
        above["now"], below["now"], above["before"], below["before"],
        groups_of(above), groups_of(below),
        seed=_seed(counted, new), draws=new.plan.bootstrap_draws, level=new.plan.level,
    )  # fmt: skip
    two_sided = 2.0 * min(found.p_greater, 1.0 - found.p_greater)
    return counted.model_copy(
        update={
            **values, "difference": found.value, "low": found.low, "high": found.high,
            "p": 1.0 if found.value == 0.0 else two_sided,  # a p value of no difference says
            "method": "auroc-difference-bootstrap",         # nothing where neither varies
        }
    )  # fmt: skip


def _share(empty: MeasureChange, pair: _Pair, new: Evidence) -> MeasureChange:
    """The difference of two shares of alarms among the same items."""
    label = SHARES[empty.measure]
    items = pair.of(label)
    counted = empty.model_copy(update={**pair.counted(label), "groups": items["group"].nunique()})
    same = pair.same_limits and items["before"].equals(items["now"])
    if too_few := _too_few(counted, same):
        return too_few
    values = {"before": float(items["hit_before"].mean()), "now": float(items["hit_now"].mean())}
    if same:
        return _identical(counted, values)
    by_group = items.assign(change=items["hit_now"] - items["hit_before"]).groupby("group")
    return _changed(counted, values, by_group["change"].sum(), by_group.size(), new)


def _gap(empty: MeasureChange, here: _Pair, there: _Pair, new: Evidence) -> MeasureChange:
    """How much the gap to another cell changed, on groups that both cells and both packs share.

    A group has one positive in a cell.
    """
    parts = here.of(POSITIVE), there.of(POSITIVE)
    sides = [part.groupby("group")[["hit_before", "hit_now"]].first() for part in parts]
    groups = sides[0].index.intersection(sides[1].index)
    counted = empty.model_copy(update={**here.counted(POSITIVE), "groups": len(groups)})
    limits = here.same_limits and there.same_limits
    same = limits and all(part["before"].equals(part["now"]) for part in parts)
    if too_few := _too_few(counted, same):
        return too_few
    gaps = sides[0].loc[groups] - sides[1].loc[groups]
    values = {"before": float(gaps["hit_before"].mean()), "now": float(gaps["hit_now"].mean())}
    if same:
        return _identical(counted, values)
    change = gaps["hit_now"] - gaps["hit_before"]
    return _changed(counted, values, change, pd.Series(1, index=change.index), new)


def _changed(
    counted: MeasureChange, values: dict[str, float], sums: pd.Series, sizes: pd.Series,
    new: Evidence,
) -> MeasureChange:  # fmt: skip
    """Interval and p value of what changed in each group."""
    changes, numbers = sums.to_numpy(dtype=np.int64), sizes.to_numpy(dtype=np.int64)
    bounds = change_interval(
        changes, numbers, seed=_seed(counted, new), draws=new.plan.bootstrap_draws,
        level=new.plan.level,
    )  # fmt: skip
    return counted.model_copy(
        update={
            **values, "difference": float(changes.sum() / numbers.sum()),
            "low": bounds.low, "high": bounds.high, "p": sign_flip_p(changes),
            "method": "paired-bootstrap",
        }
    )  # fmt: skip


def _identical(counted: MeasureChange, values: dict[str, float]) -> MeasureChange:
    """Where every score and cut-off is the same there is nothing that chance could change."""
    none = {"difference": 0.0, "low": 0.0, "high": 0.0, "p": 1.0, "method": "identical"}
    return counted.model_copy(update={**values, **none})


def _too_few(counted: MeasureChange, same: bool) -> MeasureChange | None:
    """Too few groups to test anything; where all items are shared and the same nothing is."""
    whole = counted.items_before == counted.items_shared == counted.items_now
    if counted.groups >= LEAST_GROUPS or (counted.groups and whole and same):
        return None
    reason = WhyNot.FEW_GROUPS if counted.items_shared else WhyNot.OTHER_ITEMS
    return counted.model_copy(update={"reason": reason})


def _seed(counted: MeasureChange, new: Evidence) -> int:
    return seed_of(new.plan.seed, f"comparison/{counted.cell.key}/{counted.measure}")


def _adjusted(found: Iterator[MeasureChange], error: float) -> tuple[MeasureChange, ...]:
    """Holm over the cells in which a measure is compared, and what each then shows."""
    changes = list(found)
    for measure in MEASURES:
        family = [i for i, c in enumerate(changes) if c.measure == measure and c.p is not None]
        if not family:
            continue
        adjusted = holm([changes[i].p for i in family])
        for i, p in zip(family, adjusted, strict=True):
            reading = _reading(changes[i], float(p), error)
            changes[i] = changes[i].model_copy(
                update={"p_holm": float(p), "reading": reading, "reason": None}
            )
    return tuple(changes)


def _reading(change: MeasureChange, p: float, error: float) -> Reading:
    if p > error or not change.difference:
        return Reading.NO_CHANGE
    risen = change.difference > 0
    return Reading.BETTER if risen != (change.measure in LOWER_IS_BETTER) else Reading.WORSE


# Fields


def _changes(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[FieldChange]:
    for key in dict.fromkeys((*before, *now)):
        if before.get(key) != now.get(key):
            yield FieldChange(field=key, before=before.get(key), now=now.get(key))


def _system(evidence: Evidence) -> dict[str, str]:
    """System and model, field by field."""
    system = evidence.system
    return {
        "system.name": system.name,
        "system.title": system.title,
        "system.version": system.version,
        **_flat(evidence.plan.model, "model."),
    }


def _named(
    start: str, old: Sequence[SaeFacts | SuiteFacts], new: Sequence[SaeFacts | SuiteFacts]
) -> tuple[dict[str, str], dict[str, str]]:
    """Field by field what has one name on both sides; of anything else its digest."""
    both = {one.name for one in old} & {one.name for one in new}

    def fields(side: Sequence[SaeFacts | SuiteFacts]) -> dict[str, str]:
        found = {}
        for one in side:
            key = f"{start}{one.name}."
            found |= _flat(one, key) if one.name in both else {key + "digest": one.digest}
        return found

    return fields(old), fields(new)


def _plan(evidence: Evidence) -> dict[str, str]:
    """Every key of the plan but subject and suites, of a mapping each key."""
    found = {}
    for key, value in to_json(evidence.plan).items():
        if key in ("model", "saes", "suites"):
            continue
        inner = value if isinstance(value, dict) else {"": value}
        for name, part in inner.items():
            found[f"{key}.{name}" if name else key] = _written(part)
    return found


def _probes(evidence: Evidence) -> dict[str, str]:
    saes = evidence.plan.saes
    found = {}
    for probe in evidence.lock.probes:
        found[probe.concept] = ", ".join(
            (saes[f.sae].name if f.sae < len(saes) else f"sae{f.sae}")
            + f"/{f.latent}"
            + (f" ({f.label})" if f.label else "")
            for f in probe.features
        )
    return found


def _declared(old: SystemFacts, new: SystemFacts) -> Iterator[KeyChange]:
    for key in sorted({*old.declared, *new.declared}):
        before, now = answer(old, key), answer(new, key)
        if before == now:
            continue
        if before is None or now is None:
            yield KeyChange(key=key, change="added" if before is None else "removed")
        else:
            hidden = before.withheld is not None or now.withheld is not None
            yield KeyChange(key=key, change="withheld" if hidden else "changed")


def _flat(record: Record, start: str = "") -> dict[str, str]:
    return {start + key: _written(value) for key, value in to_json(record).items()}


def _written(value: JsonValue) -> str:
    if isinstance(value, str) and len(value) <= LONGEST:
        return value
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= LONGEST else digest_bytes(text.encode("utf-8"))
