"""Where an audit's files lie: the trail, and ``runs/<plan>/``, beside ``audit.yaml``.

    trail.jsonl                     what happened in all runs, hash-chained; see compliance.trail
    runs/latest                     name of the newest run
    runs/<plan>/plan.json           the frozen plan, canonical JSON
    runs/<plan>/config.json         audit.yaml as it was read
    runs/<plan>/passes/*/shard-*.npz  one a batch; no longer needed once the tables are written
    runs/<plan>/choices.json        what was chosen after the search; the lock chooses it again
    runs/<plan>/observations/       the tables of records/observation.py
    runs/<plan>/lock.json  environment.json  evidence.json
    runs/<plan>/disclosures.jsonl   items that packs withhold, and their salts; for the owner alone

Every stage reads what the one before wrote, and does nothing that is done already.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from pydantic import ValidationError

from compliance.errors import PlanError
from compliance.records.audit import AuditConfig
from compliance.records.base import Record, canonical_bytes
from compliance.records.evidence import Evidence
from compliance.records.observation import (
    CONFIRM_FILES,
    FIT_FILES,
    INTERVENTION_FILES,
    INTERVENTION_FIT_FILES,
    MITIGATION_FILES,
    MODE_FILES,
    names_of,
)
from compliance.records.plan import Choices, Lock, Plan
from compliance.records.subject import Environment
from compliance.storage import write_bytes, write_text
from compliance.trail import run_name

LATEST = "latest"
TRAIL = "trail.jsonl"

SomeRecord = TypeVar("SomeRecord", bound=Record)


@dataclass(frozen=True)
class RunFolder:
    """One run's folder."""

    path: Path

    @property
    def trail(self) -> Path:
        """The trail, which a run shares with all runs beside it."""
        return trail_of(self.path.parent.parent)

    @property
    def disclosures(self) -> Path:
        return self.path / "disclosures.jsonl"

    def shards(self, stage: str) -> Path:
        """Folder of one pass's shards, such as ``search`` or ``shifts/typos``."""
        return self.path / "passes" / stage

    def config(self) -> AuditConfig:
        return self._read("config.json", AuditConfig, "run 'compliance plan' first")

    def plan(self) -> Plan:
        return self._read("plan.json", Plan, "run 'compliance plan' first")

    def choices(self) -> Choices:
        return self._read("choices.json", Choices, "run 'compliance observe' first")

    def lock(self) -> Lock:
        return self._read("lock.json", Lock, "run 'compliance lock' first")

    def evidence(self) -> Evidence:
        return self._read("evidence.json", Evidence, "run 'compliance assess' first")

    def environment(self) -> Environment:
        return self._read("environment.json", Environment, "run 'compliance observe' first")

    def has(self, name: str) -> bool:
        """Whether a stage's outcome is there: ``lock.json``, ``evidence.json``."""
        return (self.path / name).is_file()

    def write(self, name: str, record: Record) -> None:
        """Write a record as canonical JSON."""
        write_bytes(self.path / name, canonical_bytes(record))

    def observations(self, stage: str | None = None) -> "ObservationFiles":
        """Observation files by path below ``observations/``; of one pass, or all.

        Only files of the format are read: a killed writer may have left others. Each is read when
        it is asked for, and not kept.
        """
        folder = self.path / "observations"
        return ObservationFiles(folder, tuple(
            f"{name}/{file}"
            for name, files in (
                ("confirm", (*CONFIRM_FILES, *MODE_FILES, *INTERVENTION_FILES, *MITIGATION_FILES)),
                ("fit", (*FIT_FILES, *INTERVENTION_FIT_FILES)),
            )
            for file in sorted(spelt for file in files for spelt in names_of(file))
            if stage in (None, name) and (folder / name / file).is_file()
        ))  # fmt: skip

    def write_observations(self, files: dict[str, bytes]) -> None:
        """Write observation files by path below ``observations/``."""
        for path, data in files.items():
            write_bytes(self.path / "observations" / path, data)

    def _read(self, name: str, shape: type[SomeRecord], hint: str) -> SomeRecord:
        path = self.path / name
        try:
            return shape.model_validate_json(path.read_bytes())
        except FileNotFoundError as error:
            raise PlanError(f"{name} is not there in {self.path.name}", hint=hint) from error
        except ValidationError as error:
            raise PlanError(
                f"{path}: cannot be read as {shape.__name__}", hint="the run was changed; plan anew"
            ) from error


class ObservationFiles(Mapping[str, bytes]):
    """Files of a run, each read when it is asked for: together they may fill the memory."""

    def __init__(self, folder: Path, paths: Sequence[str]) -> None:
        self._folder, self._paths = folder, dict.fromkeys(paths)

    def __getitem__(self, path: str) -> bytes:
        return self.place(path).read_bytes()

    def open(self, path: str) -> BinaryIO:
        """Open a file to be read piece by piece."""
        return self.place(path).open("rb")

    def place(self, path: str) -> Path:
        """Where a file lies.

        Raises:
            KeyError: It is none of these.
        """
        if path not in self._paths:
            raise KeyError(path)
        return self._folder / path

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


def trail_of(folder: Path) -> Path:
    """The one trail of all runs beside an ``audit.yaml``."""
    return folder / TRAIL


def newest_run(folder: Path) -> str | None:
    """Name of the run that was planned last; None before the first."""
    try:
        return (folder / "runs" / LATEST).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None


def open_run(folder: Path, config: AuditConfig) -> RunFolder:
    """The newest run of an audit.

    Raises:
        PlanError: There is none, or ``audit.yaml`` was changed since it was planned.
    """
    name = newest_run(folder)
    if name is None:
        raise PlanError("nothing is planned yet", hint="run 'compliance plan' first")
    run = RunFolder(folder / "runs" / name)
    if not run.path.is_dir():
        raise PlanError(f"run {name} is gone", hint="run 'compliance plan' again")
    if not run.has("config.json") or (run.path / "config.json").read_bytes() != canonical_bytes(
        config
    ):
        raise PlanError(
            f"audit.yaml is not as it was when {name} was planned",
            hint="run 'compliance plan' again; the old run stays",
        )
    return run


def make_run(folder: Path, config: AuditConfig, plan: Plan) -> RunFolder:
    """The folder of a plan, made when it is not there."""
    run = RunFolder(folder / "runs" / run_name(plan))
    run.write("config.json", config)
    run.write("plan.json", plan)
    return run


def point_at(run: RunFolder) -> None:
    """Make a run the newest one, once its plan is frozen."""
    write_text(run.path.parent / LATEST, run.path.name + "\n")
