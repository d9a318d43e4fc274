"""Measures, in a run that is not in the reference mode, how far its numbers lie from it.

After the confirm pass some of its items are run again, each on its own, in the run's mode and in
float32 on the CPU. What is done already is kept, as in every pass.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from compliance.assessment.planning import compared_items
from compliance.assessment.precision import PATH
from compliance.assessment.tables import read_table, table_bytes
from compliance.progress import Progress
from compliance.records.base import digest_of
from compliance.records.observation import PRECISION_COLUMNS
from compliance.records.subject import REFERENCE_MODE, Environment, in_reference_mode
from compliance.records.suite import Item
from compliance.runs import RunFolder
from compliance.storage import write_bytes

if TYPE_CHECKING:
    from compliance.probes.inputs import Pictures
    from compliance.probes.task import Reader


def check_mode(reader: Reader, environment: Environment) -> None:
    """Refuse a run whose deviation from the reference mode could not be measured.

    Raises:
        ProbeError: This machine's memory does not hold the model a second time.
    """
    if in_reference_mode(reader.subject.facts, environment):
        return
    from compliance.probes.precision import refuse_little_memory

    refuse_little_memory(reader)


def precision_files(
    run: RunFolder,
    items: Sequence[Item],
    reader: Reader,
    environment: Environment,
    pictures: Pictures,
    confirmed: Mapping[str, bytes],
    progress: Progress,
) -> dict[str, bytes]:
    """The table of a run's deviation from the reference mode; of a run in that mode, nothing.

    Args:
        run: With a lock.
        items: Of the confirm split.
        reader: In the run's mode.
        environment: Of the run.
        pictures: Gives the picture of an item that has one.
        confirmed: The other confirm tables, by path below ``observations/``.
        progress: Told how far it is.

    Raises:
        ProbeError: The subject could not be loaded or read in the reference mode.
    """
    if in_reference_mode(reader.subject.facts, environment):
        return {}
    chosen = compared_items(run.plan(), run.lock(), items)
    rows = list(_rows(run, chosen, reader, environment, pictures, progress))
    table = pd.DataFrame(rows, columns=[c for c in PRECISION_COLUMNS if c != "batched"])
    scores = read_table(confirmed, "confirm/scores.csv")
    probe = scores[scores["scorer"] == "probe"].rename(columns={"score": "batched"})
    return {PATH: table_bytes(table.merge(probe, on=["item", "concept"]), PATH)}


def _rows(
    run: RunFolder,
    chosen: Sequence[Item],
    reader: Reader,
    environment: Environment,
    pictures: Pictures,
    progress: Progress,
) -> Iterator[dict[str, Any]]:
    from compliance.probes.engine import Work
    from compliance.probes.precision import compare, reference_reader
    from compliance.probes.task import Task

    if not chosen:
        return
    config = run.config()
    shown = any(modality != "text" for modality in config.modalities)
    dtype, device = REFERENCE_MODE
    progress.stage(f"running {len(chosen)} items again in {dtype} on {device}")
    task = Task(run.plan(), "repeats", run.lock(), {}, digest_of(environment))
    reference = reference_reader(reader, config.subject, run.path.parent.parent, pictures=shown)
    work = Work(chosen, reader.subject, pictures)
    for done in range(1, len(work) + 1):
        prepared = work.prepared(done - 1)
        ids = {"item": prepared.item.id, "ids": list(prepared.ids)}
        name = digest_of({"task": task.digest, **ids})
        path = run.shards("precision") / f"item-{done:05d}.json"
        found = stored(path, name)
        if found is None:
            found = {"name": name, "row": compare(prepared, task, reader, reference)}
            write_bytes(path, json.dumps(found).encode())
        progress.advance(done, len(chosen), None)
        if found["row"] is not None:
            yield found["row"]


def stored(path: Path, name: str) -> dict[str, Any] | None:
    """What was written of that very item in that very pass, or None: then it is run again."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("name") == name else None
