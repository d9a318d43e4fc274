"""The verb ``mitigate``: runs the planned mitigation studies and says what they show."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from compliance.assessment.comparing import differences
from compliance.assessment.mitigation import mitigation, reductions
from compliance.assessment.numbers import by_id
from compliance.assessment.planning import planned_items
from compliance.assessment.studies import studied_items
from compliance.assessment.tables import read_table
from compliance.documents import read_yaml
from compliance.errors import PlanError
from compliance.progress import SILENT, Progress
from compliance.records.audit import AuditConfig
from compliance.records.base import to_json
from compliance.records.finding import Studies
from compliance.records.suite import Item
from compliance.runs import RunFolder, open_run
from compliance.workflow.mitigating import study_files
from compliance.workflow.stages import (
    environment_of,
    is_finished,
    load_reader,
    load_suites,
    open_confirm,
    plan_for,
)


def mitigate(audit_file: Path, progress: Progress = SILENT) -> Studies:
    """Run the planned mitigation studies under the lock, or read what a finished run has of them.

    What was run is kept: ``observe`` and ``audit`` go on from it.

    Args:
        audit_file: ``audit.yaml``.
        progress: Told what is being done.

    Raises:
        PlanError: No study is planned, nothing is locked, or subject or suites are not those of the
            plan.
        ProbeError: A model could not be run, or a judge fails.
    """
    config = read_yaml(audit_file, AuditConfig)
    run = open_run(audit_file.parent, config)
    plan = run.plan()
    if plan.mitigations is None:
        raise PlanError(
            "no mitigation study is planned", hint="add 'mitigations' to audit.yaml and plan again"
        )
    run.lock()
    if is_finished(run, "confirm"):
        files: Mapping[str, bytes] = run.observations("confirm")
        items = read_table(files, "confirm/items.csv")
    else:
        files, items = _run(run, config, audit_file.parent, progress)
    results = by_id(mitigation(plan, items, files))
    return Studies(
        planned=plan.mitigations,
        results=tuple(results.values()),
        reductions=reductions(plan, results) or (),
    )


def _run(
    run: RunFolder, config: AuditConfig, folder: Path, progress: Progress
) -> tuple[dict[str, bytes], pd.DataFrame]:
    """The tables of the studies, and of the items that are asked."""
    plan, suites = run.plan(), load_suites(config, folder)
    progress.stage("loading model and SAEs")
    reader = load_reader(config, folder)
    frozen = plan_for(config, folder, suites, reader)
    if differing := next(differences("plan", to_json(plan), to_json(frozen)), None):
        raise PlanError(
            f"what is here is not what was planned: {differing}",
            hint="put the planned model, SAE and suites back, or run 'compliance plan' again",
        )
    environment = environment_of(reader)
    items = planned_items(plan, suites)["confirm"]
    open_confirm(run, items.outlines, environment, progress)
    files = study_files(run, items, reader, environment, progress)
    asked = {
        item.id: item for s in plan.mitigations or () for item in studied_items(plan, s, items)
    }
    return files, pd.DataFrame([_row(item) for item in asked.values()])


def _row(item: Item) -> dict[str, str]:
    """What a study's results need of ITEM_COLUMNS."""
    return {
        "item": item.id,
        "group": item.group,
        "concept": item.concept or "",
        "label": str(item.label),
        "language": item.language,
        "modality": item.modality,
        "stratum": item.stratum or "",
    }
