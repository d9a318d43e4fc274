"""Runs subject and SAEs again on the items of a pack, and compares with what was observed.

The items are read by the same engine under the pack's own plan and lock. A pack's digests name its
subject, so that another model is refused and not compared. Torch is imported inside functions.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from compliance.assessment.choosing import linear_weights
from compliance.assessment.precision import PATH as PRECISION
from compliance.assessment.tables import FitObservations, read_table
from compliance.errors import ConfigError, PlanError
from compliance.packs import layout
from compliance.packs.checks.contents import not_checked
from compliance.packs.folder import failed
from compliance.packs.items import item_id
from compliance.packs.reading import OpenPack
from compliance.progress import Progress
from compliance.records.audit import SaeRef, SubjectConfig
from compliance.records.base import to_json
from compliance.records.pack import PackedItem
from compliance.records.plan import Plan
from compliance.records.subject import REFERENCE_MODE, ModelFacts, SaeFacts
from compliance.records.suite import Item
from compliance.records.verification import Check, Outcome
from compliance.suites.pictures import read_picture
from compliance.workflow.opened import PackFiles
from compliance.workflow.stages import environment_changes, environment_of, read_subject

if TYPE_CHECKING:
    from compliance.probes.collect import Placed
    from compliance.probes.shards import Shard
    from compliance.probes.task import Reader, Stage, Task

TOLERANCE = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 1e-1}
"""How far a score may lie from the stored one, by the subject's type of number, in standard
deviations of the stored scores of the same concept and scorer."""

JUMPS = 0.01
"""Share of scores that may lie farther off, of all and of the probe's: a latent near its threshold
is silent on one machine and not on another, and its score jumps."""

NAMED = 5
"""Scores beyond the tolerance that are named."""

COUNTS = ("tokens", "beyond_context", "excluded_sinks")
"""What is counted of an item, and must be the same."""

PASSES: dict[Stage, str] = {"confirm": "confirm", "calibrate": "fit", "search": "fit"}
"""What is run again, and the folder of the tables that it is compared with."""


@dataclass(frozen=True)
class Again:
    """What to run again, and with what."""

    sample: int | None = None
    """Items of the test split, and as many of the splits before it. None: all that are shown."""

    model: str | None = None
    """Folder, ``.gguf`` file or hub id. None: as the plan names it."""

    saes: tuple[Path, ...] = ()
    """Folders, in the plan's order. None of them: the releases that the plan names."""


def reproduce(
    pack: OpenPack, root_digest: str, again: Again, progress: Progress
) -> Iterator[Check]:
    """Run a pack's items again and say which observations come back.

    Args:
        pack: Its numbers are taken as they are; level ``recompute`` checks them.
        root_digest: Seed of the sample, so that neither side can choose it alone.
        again: What to run, and with what.
        progress: Told how far it is.

    Raises:
        ConfigError: It is not said where the subject is.
        PlanError: The subject is another than the plan's.
        ProbeError: It cannot be run.
    """
    plan = pack.evidence.plan
    if layout.VECTORS in pack.withheld_files:
        yield not_checked(
            "reproduction",
            "nothing was run again: this copy withholds what fitted controls are made from, "
            + layout.VECTORS,
        )
        return
    progress.stage("loading model and SAEs")
    reader = _reader(plan, again)
    shown = {item_id(i): i.item for i in pack.items if isinstance(i, PackedItem)}
    yield _environment_check(pack, reader)
    yield from _withheld(len(pack.items) - len(shown))
    yield from _sampled(again.sample, root_digest)
    run = _Run(pack, reader, progress)
    passes = PASSES if plan.locked_by is None else {"confirm": PASSES["confirm"]}
    if by := plan.locked_by:
        yield not_checked(
            "reproduction",
            f"what stands before the lock was observed on another model, {by.model.name}: run "
            f"{by.pack_id} again for it",
        )
    for stage, folder in passes.items():
        items = _stage_items(run.files, stage, shown)
        drawn = _drawn(items, root_digest, again.sample)
        if not drawn:
            continue
        progress.stage(f"running {len(drawn)} of {len(items)} items again ({stage})")
        how = f"{len(drawn)} of {len(items)} items that are shown"
        yield from run.compare(stage, folder, drawn, how)
    mode = f", the comparison with {' on '.join(REFERENCE_MODE)}"
    asked = ", interventions" if plan.interventions else ""
    asked += ", mitigation studies" if plan.mitigations else ""
    yield not_checked(
        "reproduction",
        "the passes over changed texts and pictures, reconstructions"
        f"{mode if PRECISION in run.files else ''}{asked} and single "
        "items were not run again",
    )


def _reader(plan: Plan, again: Again) -> Reader:
    """The subject and its SAEs, once they are known to be those of the plan."""
    from dataclasses import replace

    from compliance.probes.random_sae import random_saes

    if plan.model.dtype not in TOLERANCE:
        raise PlanError(
            f"the plan's model has numbers of type {plan.model.dtype!r}, and no tolerance is "
            f"stated for them; expected one of {', '.join(TOLERANCE)}"
        )
    if again.saes and len(again.saes) != len(plan.saes):
        raise ConfigError(
            f"--sae: {len(again.saes)} given, the plan has {len(plan.saes)}",
            hint="give each of them, in this order: " + ", ".join(s.name for s in plan.saes),
        )
    refs = tuple(
        SaeRef(path=str(again.saes[n].resolve()), activation_scale=sae.activation_scale)
        if again.saes
        else _release(sae)
        for n, sae in enumerate(plan.saes)
    )
    config = SubjectConfig(
        model=again.model or plan.model.name,
        revision=None if again.model and Path(again.model).exists() else plan.model.revision,
        saes=refs,
        dtype=plan.model.dtype,
    )
    pictures = any(cell.modality != "text" for cell in plan.cells)
    reader = read_subject(config, Path.cwd(), pictures=pictures)
    _refuse_another(plan.model, reader.subject.facts)
    for planned, sae in zip(plan.saes, reader.saes, strict=True):
        _refuse_another(planned, sae.facts)
    return replace(reader, random=random_saes(reader.saes, plan.seed))


def _release(sae: SaeFacts) -> SaeRef:
    release, _, name = sae.name.partition("/")
    if not name:
        raise ConfigError(
            f"the SAE {sae.name} came from a folder", hint="say where it is: --sae DIR"
        )
    return SaeRef(release=release, id=name, activation_scale=sae.activation_scale)


def _refuse_another(planned: ModelFacts | SaeFacts, found: ModelFacts | SaeFacts) -> None:
    """What was measured is known by its digests, whatever it is called.

    Raises:
        PlanError: It is another one.
    """
    stated, here = (_facts(one) for one in (planned, found))
    for key in dict.fromkeys((*stated, *here)):
        if stated.get(key) != here.get(key):
            raise PlanError(
                f"{found.name} is not the {planned.name} that was measured: {key} is "
                f"{here.get(key, 'absent')}, the plan has {stated.get(key, 'none')}",
                hint="give the very files: --model DIR, --sae DIR",
            )


def _facts(one: ModelFacts | SaeFacts) -> dict[str, object]:
    named = ("name", "revision", "neuronpedia_id")
    return {key: value for key, value in to_json(one).items() if key not in named}


def _environment_check(pack: OpenPack, reader: Reader) -> Check:
    changed = environment_changes(pack.evidence.environment, environment_of(reader))
    if changed:
        return not_checked(
            "environment",
            "this is not the environment of the pack, so last digits may differ: "
            + "; ".join(changed),
        )
    return Check(
        name="environment",
        status=Outcome.PASSED,
        message="the packages, the kind of machine and the device are those that the pack names",
    )


def _withheld(count: int) -> Iterator[Check]:
    if count:
        yield not_checked("reproduction", f"{count} items are withheld and were not run again")


def _sampled(sample: int | None, root_digest: str) -> Iterator[Check]:
    if sample is not None:
        yield not_checked(
            "reproduction",
            f"of each part at most {sample} items were run again, those whose hash comes first "
            f"after the seed {root_digest}",
        )


def _stage_items(
    files: Mapping[str, bytes], stage: Stage, shown: Mapping[str, Item]
) -> dict[str, Placed]:
    """The items of a pass that are shown, by id."""
    from compliance.probes.collect import Placed

    rows = read_table(files, f"{PASSES[stage]}/items.csv")
    if PASSES[stage] == "fit":  # what was searched has a concept, what was calibrated on has none
        rows = rows[(rows["concept"] == "") == (stage == "calibrate")]
    return {
        row.item: Placed(shown[row.item], row.suite, row.split)
        for row in rows.itertuples()
        if row.item in shown
    }


def _drawn(items: Mapping[str, Placed], seed: str, sample: int | None) -> dict[str, Placed]:
    """The first by a hash that the pack's content decides, so that nobody picks them."""

    def place(name: str) -> tuple[str, str]:
        return hashlib.sha256(f"{seed}/{name}".encode()).hexdigest(), name

    names = sorted(items, key=place)[:sample]
    return {name: items[name] for name in sorted(names)}


class _Run:
    """A pack, what reads it, and what was observed."""

    def __init__(self, pack: OpenPack, reader: Reader, progress: Progress) -> None:
        self.evidence = pack.evidence
        self.pictures = pack.folder.root / "data"
        self.files = PackFiles(pack)
        self.reader = reader
        self.progress = progress

    def compare(
        self, stage: Stage, folder: str, items: Mapping[str, Placed], how: str
    ) -> Iterator[Check]:
        """Run some items and compare their counts, scores and searched latents."""
        from compliance.probes import collect

        task = self._task(stage)
        with tempfile.TemporaryDirectory() as scratch:
            shards = self._observe(task, items, Path(scratch))
        yield self._counts(folder, collect.item_table(shards, items), how)
        yield self._scores(folder, collect.score_table(shards, task), items, how)
        if stage == "search":
            yield self._latents(collect.search_table(shards, self.evidence.plan), items, how)

    def _task(self, stage: Stage) -> Task:
        from compliance.probes.task import Task

        plan, lock = self.evidence.plan, self.evidence.lock
        if stage == "search":
            return Task(plan, stage)
        if layout.VECTORS not in self.files:
            raise PlanError(
                f"{layout.VECTORS} is withheld from this copy, and linear controls are made from "
                "it",
                hint="run the original pack again, or a copy that shows it",
            )
        weights = linear_weights(lock.directions, FitObservations.from_files(self.files))
        return Task(plan, stage, lock, weights)

    def _observe(self, task: Task, items: Mapping[str, Placed], scratch: Path) -> list[Shard]:
        from compliance.probes.engine import observe, prepare_items

        def picture(item: Item):  # type: ignore[no-untyped-def] # Pillow is no base dependency
            return read_picture(self.pictures, item.image)

        wanted = [placed.item for placed in items.values()]
        work = prepare_items(wanted, self.reader.subject, picture)
        return list(observe(work, task, self.reader, scratch, self.progress.advance))

    def _counts(self, folder: str, found: pd.DataFrame, how: str) -> Check:
        """Tokens are counted, so that there is no tolerance."""
        path = f"{folder}/items.csv"
        stored = read_table(self.files, path).set_index("item").loc[found["item"], list(COUNTS)]
        other = (stored.to_numpy() != found[list(COUNTS)].to_numpy()).any(axis=1)
        if other.any():
            return _failure("counts", path, f"{how}: other numbers of tokens", found["item"][other])
        return _success("counts", path, f"{how}: the same numbers of tokens")

    def _scores(
        self, folder: str, found: pd.DataFrame, items: Mapping[str, Placed], how: str
    ) -> Check:
        """The probe, its settings and every control, against their own spread."""
        path, keys = f"{folder}/scores.csv", ["concept", "scorer"]
        table = read_table(self.files, path)
        stored = table[table["item"].isin(items)]
        both = stored.merge(found, on=["item", *keys], how="outer", suffixes=("", "_now"))
        both = both.merge(_spread(table, keys), on=keys, how="left")
        names = both["item"] + " " + both["concept"] + " " + both["scorer"]
        flips = f"; {self._flips(both)}" if folder == "confirm" else ""
        probe = (both["scorer"] == "probe").to_numpy()
        what = f"{how}: {len(both)} scores"
        return self._judged("scores", path, both, names, probe, what, flips)

    def _latents(self, found: pd.DataFrame, items: Mapping[str, Placed], how: str) -> Check:
        """What the search saw of each latent; one that did not fire has no row."""
        path, keys = "fit/search.parquet", ["concept", "sae"]
        table = read_table(self.files, path)
        stored = table[table["item"].isin(items)]
        both = stored.merge(
            found, on=["item", "latent", *keys], how="outer", suffixes=("", "_now")
        ).fillna({"score": 0.0, "score_now": 0.0})
        both = both.merge(_spread(table, keys), on=keys, how="left")
        names = both["item"] + " latent " + both["latent"].astype(str)
        every, what = np.ones(len(both), dtype=bool), f"{how}: {len(both)} latents that fired"
        return self._judged("latents", path, both, names, every, what)

    def _judged(
        self, name: str, path: str, both: pd.DataFrame, names: pd.Series, main: np.ndarray,
        what: str, more: str = "",
    ) -> Check:  # fmt: skip
        """Whether scores lie within the tolerance, all but the share that may jump.

        That share is looked at among all of them and among the main ones.
        """
        limit = TOLERANCE[self.evidence.plan.model.dtype]
        gap = (both["score_now"] - both["score"]).abs().to_numpy(np.float64)
        spread = both["spread"].fillna(0.0).to_numpy(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            apart = np.where(gap == 0, 0.0, gap / spread)
        apart = np.nan_to_num(apart, nan=np.inf)  # a score on one side alone
        beyond = apart > limit
        largest = f"{apart.max(initial=0.0):.2g}"
        said = (
            f"{what}, {int(beyond.sum())} beyond {limit:g} standard deviations "
            f"({self.evidence.plan.model.dtype}), at most {largest}{more}"
        )
        if any(part.sum() > JUMPS * len(part) for part in (beyond, beyond[main])):
            worst = names.iloc[np.argsort(-apart, kind="stable")][: int(beyond.sum())]
            return _failure(name, path, said, worst)
        if beyond.any():
            said += f"; beyond it: {', '.join(names[beyond][:NAMED])}"
        return _success(name, path, said)

    def _flips(self, both: pd.DataFrame) -> str:
        """How many of the probe's detections fall out otherwise at the locked cut-off."""
        limits = {
            (c.cell.concept, c.cell.variant): c.value
            for c in self.evidence.lock.cut_offs
            if c.scorer == "probe" and c.value is not None
        }
        items = read_table(self.files, "confirm/items.csv").set_index("item")
        probe = both[both["scorer"] == "probe"]
        places = items.loc[probe["item"], ["language", "modality", "rendering"]]
        cut = np.array(
            [
                limits.get((concept, tuple(place)), np.nan)
                for concept, place in zip(probe["concept"], places.to_numpy(), strict=True)
            ]
        )
        there = ~np.isnan(cut)
        flipped = ((probe["score"] > cut) != (probe["score_now"] > cut)).to_numpy() & there
        return f"{int(flipped.sum())} of {int(there.sum())} detections fall out otherwise"


def _spread(table: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Standard deviation of stored scores, all items together."""
    found = table.groupby(list(keys))["score"].std(ddof=0)
    return found.rename("spread").reset_index()


def _success(name: str, path: str, message: str) -> Check:
    return Check(
        name=f"reproduced-{name}",
        status=Outcome.PASSED,
        path=f"data/observations/{path}",
        message=message,
    )


def _failure(name: str, path: str, message: str, named: pd.Series) -> Check:
    first = ", ".join(map(str, named[:NAMED]))
    return failed(f"reproduced-{name}", f"data/observations/{path}", f"{message}: {first}")
