"""Whether what the probe finds in words it finds in pictures of the same meanings.

Each image cell is compared with the same concept and language in plain text, on the groups that
both have. The image cells of a concept are a family of their own, which decides no verdict.
"""

from collections.abc import Iterator, Mapping

from compliance.assessment.cells import CellData
from compliance.assessment.numbers import estimate
from compliance.assessment.rates import pairs
from compliance.records.finding import Result
from compliance.records.plan import Plan
from compliance.statistics.multiplicity import holm
from compliance.statistics.proportion import tango_interval, tango_p_noninferior


def transfer(plan: Plan, cells: Mapping[str, CellData]) -> Iterator[Result]:
    """Sensitivity in each image cell minus that in text, and its p adjusted within its family.

    Args:
        plan: Frozen.
        cells: Every planned cell, by key. One that cannot be compared keeps p = 1 in its family.
    """
    for probe in plan.probes:
        mine = [data for data in cells.values() if data.cell.concept == probe.concept]
        family = [data for data in mine if data.cell.modality != "text"]
        gaps = [_gap(plan, data, cells) for data in family]
        adjusted = holm([1.0 if one is None else one.p for one in gaps]) if gaps else []
        for one, p in zip(gaps, adjusted, strict=True):
            if one is not None:
                yield one
                yield Result(id=f"{one.id}.holm", value=float(p), n=len(family), method="holm")


def _gap(plan: Plan, data: CellData, cells: Mapping[str, CellData]) -> Result | None:
    """None where either cell has no alarms to compare, or they share no group."""
    text = data.cell.model_copy(update={"modality": "text", "rendering": "plain"})
    found = pairs(data, cells.get(text.key))
    if found is None:
        return None
    p = tango_p_noninferior(*found, plan.claims.non_inferiority_margin)
    return estimate(f"{data.cell.key}/gap-to-text", tango_interval(*found, plan.level), "tango", p)
