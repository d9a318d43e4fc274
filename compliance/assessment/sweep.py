"""Would another defensible setting have given the same verdict (PROTOCOL section 10)?

All cells are judged again, as a family, under each of the plan's settings. Controls, random latents
and fidelity stay as they are. Nothing is decided by what comes out.
"""

from collections.abc import Mapping, Sequence

from compliance.assessment.cells import reads_otherwise
from compliance.assessment.measures import Measures
from compliance.assessment.numbers import by_id
from compliance.assessment.verdicts import judge
from compliance.records.finding import Finding, Result, SettingVerdict, Verdict


def with_settings(
    measures: Measures, results: Mapping[str, Result], findings: Sequence[Finding]
) -> tuple[tuple[Finding, ...], tuple[Result, ...]]:
    """Add to each finding the verdicts that the other settings give.

    Args:
        measures: The cells under every setting.
        results: As planned, by id.
        findings: As planned.

    Returns:
        The findings, each with the settings that are another choice in its cell; and for each
        cell that is covered the share of them that agree.
    """
    plan = measures.plan
    shared = {i: r for i, r in results.items() if i.startswith("fidelity/")}
    judged = {
        setting: judge(plan, shared | by_id(measures.under(setting, results)), {})
        for setting in plan.settings
    }
    found = tuple(
        finding.model_copy(update={"settings": tuple(
            SettingVerdict(setting=setting.name, verdict=other[i].verdict, reason=other[i].reason)
            for setting, other in judged.items() if reads_otherwise(setting, finding.cell)
        )})
        for i, finding in enumerate(findings)
    )  # fmt: skip
    covered = [f for f in found if f.settings and f.verdict is not Verdict.NOT_COVERED]
    return found, tuple(map(_kept, covered))


def _kept(finding: Finding) -> Result:
    same = sum(other.verdict is finding.verdict for other in finding.settings)
    n = len(finding.settings)
    return Result(
        id=f"{finding.cell.key}/settings-kept", value=same / n, successes=same, n=n,
        method="settings",
    )  # fmt: skip
