"""Runs a plan's items through the subject and writes what it saw, shard by shard.

    work = prepare_work(items, subject, limits)
    for shard in observe(work, task, reader, folder, progress): ...

A shard is one batch. It is written beside its place and renamed, so a run that was killed goes on
with the first shard that is missing. Batches follow from the plan and the items alone.
"""

import io
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from compliance.errors import ProbeError
from compliance.probes.hooks import capture
from compliance.probes.sae import Sae
from compliance.probes.subject import Subject
from compliance.probes.tokens import Prepared, prepare
from compliance.records.base import digest_of
from compliance.records.plan import Direction, LockedProbe, Plan, PlannedProbe
from compliance.records.suite import Item, Label
from compliance.storage import write_bytes

ENCODED_AT_ONCE = 2**25
"""Numbers in one block of latents at most, so that a wide SAE does not fill the memory."""

Progress = Callable[[int, int, float | None], None]
"""Called with items done, items in all, and seconds left where they can be told."""


@dataclass(frozen=True)
class Reader:
    """Everything that reads: the subject and its SAEs."""

    subject: Subject
    saes: tuple[Sae, ...]

    @property
    def hook_names(self) -> tuple[str, ...]:
        """Hooks to capture, inputs and a transcoder's outputs, each once."""
        names = [sae.facts.hook_name for sae in self.saes]
        names += [out for sae in self.saes if (out := _output_hook(sae))]
        return tuple(dict.fromkeys(names))


@dataclass(frozen=True)
class Task:
    """What one pass is to write.

    ``fit``: pooled latents of the search and of benign calibrate items, and mean residuals.
    ``confirm``: scores of the locked probe and controls, and the sums of fidelity.
    """

    plan: Plan
    stage: str
    probes: tuple[LockedProbe, ...] = ()
    directions: tuple[Direction, ...] = ()
    environment: str = ""
    """Digest of packages, machine and device; shards of two are never mixed."""

    @property
    def digest(self) -> str:
        """Names the pass; a shard of another pass is not taken for one of this."""
        return digest_of(
            {"plan": digest_of(self.plan), "stage": self.stage, "environment": self.environment,
             "probes": [digest_of(p) for p in self.probes],
             "directions": [digest_of(d) for d in self.directions]}
        )  # fmt: skip


@dataclass(frozen=True)
class Shard:
    """What was seen of one batch. Rows of all tables refer to ``items`` by position."""

    items: np.ndarray
    """Item ids, [n]."""

    facts: np.ndarray
    """Tokens in all, beyond the SAE's context (0 or 1), sinks excluded: int64 [n, 3]."""

    scores: np.ndarray
    """Item, probe, scorer (index into SCORERS), and the score: float64 [r, 4]."""

    latents: np.ndarray
    """Item, probe, sae, latent: int64 [r, 4]."""

    latent_scores: np.ndarray
    """float32 [r]"""

    residuals: np.ndarray
    """Item, probe, hook: int64 [r, 3]."""

    vectors: tuple[np.ndarray, ...]
    """Mean residuals, float32 [d], one for each row of ``residuals``."""

    sums: np.ndarray
    """Item, sae, tokens, error, squares, l0: float64 [r, 6]."""

    sum_vectors: tuple[np.ndarray, ...]
    """Sum of the target over read tokens, float32 [d], one for each row of ``sums``."""


SCORERS = ("probe", "tokens", "dense")


def prepare_items(items: Sequence[Item], subject: Subject) -> list[Prepared]:
    """Tokenise all items first, so that one that cannot be read ends a run before it begins."""
    limit = getattr(subject.model.config.get_text_config(), "max_position_embeddings", None)
    return [prepare(item, subject.tokenizer, limit=limit) for item in items]


def make_batches(work: Sequence[Prepared], tokens: int) -> list[list[Prepared]]:
    """Batches of items of like length, of at most ``tokens`` tokens after padding."""
    batches: list[list[Prepared]] = []
    for prepared in sorted(work, key=lambda p: (len(p.ids), p.item.id)):
        width = len(prepared.ids)
        if batches and (len(batches[-1]) + 1) * width <= tokens:
            batches[-1].append(prepared)
        else:
            batches.append([prepared])
    return batches


def observe(
    work: Sequence[Prepared], task: Task, reader: Reader, folder: Path, progress: Progress
) -> Iterator[Shard]:
    """Run what has not been run, and yield every shard in order.

    Args:
        work: Prepared items, in any order.
        task: What to write.
        reader: Subject and SAEs.
        folder: Where shards lie; finished ones found there are not run again.
        progress: Told after each shard.

    Raises:
        ProbeError: A hook did not fire or gave numbers that are not finite.
    """
    batches = make_batches(work, task.plan.batch_tokens)
    of_task, left = task.digest, sum(_cost(batch) for batch in batches)
    done, spent, ran = 0, 0.0, 0
    for index, batch in enumerate(batches):
        path = folder / f"shard-{index:05d}.npz"
        name = digest_of({"task": of_task, "items": [p.item.id for p in batch]})
        shard = _read_shard(path, name)
        if shard is None:
            started = time.monotonic()
            shard = observe_batch(batch, task, reader)
            write_bytes(path, _shard_bytes(shard, name))
            spent, ran = spent + time.monotonic() - started, ran + _cost(batch)
        done += len(batch)
        left -= _cost(batch)
        progress(done, len(work), spent / ran * left if ran else None)
        yield shard


def observe_batch(batch: Sequence[Prepared], task: Task, reader: Reader) -> Shard:
    """One forward pass up to the deepest hook, and everything that is read from it."""
    captured = _forward(batch, reader)
    rows = _Rows(task, reader)
    for i, prepared in enumerate(batch):
        states = {hook: values[i, : len(prepared.ids)].float() for hook, values in captured.items()}
        rows.add(i, prepared, states)
    return rows.shard(batch)


def _forward(batch: Sequence[Prepared], reader: Reader) -> dict[str, Tensor]:
    """Right-padded, so that a token's position does not depend on its neighbours."""
    width = max(len(p.ids) for p in batch)
    pad = reader.subject.tokenizer.pad_token_id or 0
    device = reader.subject.model.device
    ids = torch.full((len(batch), width), pad, dtype=torch.long)
    mask = torch.zeros((len(batch), width), dtype=torch.long)
    for i, prepared in enumerate(batch):
        ids[i, : len(prepared.ids)] = torch.tensor(prepared.ids)
        mask[i, : len(prepared.ids)] = 1
    with torch.inference_mode():
        return capture(reader.subject.model, ids.to(device), mask.to(device), reader.hook_names)


class _Rows:
    """Collects the rows of one shard."""

    def __init__(self, task: Task, reader: Reader) -> None:
        self.task = task
        self.reader = reader
        self.facts: list[tuple[int, int, int]] = []
        self.scores: list[tuple[int, int, int, float]] = []
        self.latents: list[np.ndarray] = []
        self.latent_scores: list[np.ndarray] = []
        self.residuals: list[tuple[int, int, int]] = []
        self.vectors: list[np.ndarray] = []
        self.sums: list[tuple[float, ...]] = []
        self.sum_vectors: list[np.ndarray] = []

    def add(self, i: int, prepared: Prepared, states: dict[str, Tensor]) -> None:
        """Read one item. Sinks are judged at each hook by the item's own median norm."""
        kept = {hook: self._kept(prepared, x) for hook, x in states.items()}
        main = self.reader.saes[0].facts.hook_name
        sinks = len(prepared.regions["read"]) - len(kept[main])
        self.facts.append((len(prepared.ids), self._beyond(prepared), sinks))
        encoded = [self._encode(sae, states[sae.facts.hook_name], kept[sae.facts.hook_name])
                   for sae in self.reader.saes]  # fmt: skip
        for p, probe in enumerate(self.task.plan.probes):
            if prepared.item.concept in (None, probe.concept):
                self._add_probe(i, p, probe, prepared, states, kept, encoded)
        if self.task.stage == "confirm" and prepared.item.label is Label.NEGATIVE:
            for s, sae in enumerate(self.reader.saes):
                self._add_sums(i, s, sae, states, kept, encoded[s])

    def _add_probe(
        self, i: int, p: int, probe: PlannedProbe, prepared: Prepared,
        states: dict[str, Tensor], kept: dict[str, list[int]], encoded: list[Tensor],
    ) -> None:  # fmt: skip
        wanted = set(prepared.regions[probe.region])
        places = {hook: [t for t in kept[hook] if t in wanted] for hook in kept}
        main = self.reader.saes[0].facts.hook_name
        if not all(places.values()):
            return
        pooled = []
        for sae, latents in zip(self.reader.saes, encoded, strict=True):
            hook = sae.facts.hook_name
            rows = [kept[hook].index(t) for t in places[hook]]
            pooled.append(_pool(latents[rows], probe.pooling))
        means = {hook: states[hook][places[hook]].double().mean(dim=0) for hook in states}
        self.scores.append((i, p, 1, float(len(places[main]))))
        if self.task.stage == "fit":
            self._add_fit(i, p, prepared.item, pooled, means)
        else:
            self._add_confirm(i, p, probe, prepared.item, pooled, means)

    def _add_fit(
        self, i: int, p: int, item: Item, pooled: list[Tensor], means: dict[str, Tensor]
    ) -> None:
        reference = self.task.plan.claims.reference_language
        searched = item.concept is not None and item.language == reference
        if searched or item.label is Label.NEGATIVE:
            for s, values in enumerate(pooled):
                fired = torch.nonzero(values).flatten()
                where = np.stack([np.full(len(fired), v) for v in (i, p, s)], axis=1)
                self.latents.append(np.column_stack([where, fired.numpy(force=True)]))
                self.latent_scores.append(values[fired].numpy(force=True).astype(np.float32))
        for h, hook in enumerate(self.reader.hook_names):
            self.residuals.append((i, p, h))
            self.vectors.append(means[hook].numpy(force=True).astype(np.float32))

    def _add_confirm(
        self, i: int, p: int, probe: PlannedProbe, item: Item,
        pooled: list[Tensor], means: dict[str, Tensor],
    ) -> None:  # fmt: skip
        locked = next(lp for lp in self.task.probes if lp.concept == probe.concept)
        score = max(float(pooled[f.sae][f.latent]) for f in locked.features)
        self.scores.append((i, p, 0, score))
        for direction in self.task.directions:
            if direction.concept == probe.concept and direction.language == item.language:
                # as the fit stores them, so that both stages round alike
                mean = means[direction.hook_name].float().double().numpy(force=True)
                value = float(mean @ np.asarray(direction.weights)) + direction.bias
                self.scores.append((i, p, 2, value))

    def _add_sums(
        self, i: int, s: int, sae: Sae, states: dict[str, Tensor],
        kept: dict[str, list[int]], latents: Tensor,
    ) -> None:  # fmt: skip
        places = kept[sae.facts.hook_name]
        x = states[sae.facts.hook_name][places]
        target = states[_output_hook(sae) or sae.facts.hook_name][places].double()
        error = target - sae.decode(latents, x).double()
        self.sums.append(
            (i, s, len(places), float(error.square().sum()), float(target.square().sum()),
             float((latents != 0).sum()))
        )  # fmt: skip
        self.sum_vectors.append(target.sum(dim=0).numpy(force=True).astype(np.float32))

    def _kept(self, prepared: Prepared, x: Tensor) -> list[int]:
        places = list(prepared.regions["read"])
        norms = x[places].norm(dim=-1)
        keep = norms <= self.task.plan.sink_norm_ratio * norms.median()
        return [t for t, kept in zip(places, keep.tolist(), strict=True) if kept]

    def _encode(self, sae: Sae, x: Tensor, places: list[int]) -> Tensor:
        rows = max(1, ENCODED_AT_ONCE // sae.facts.d_sae)
        parts = [sae.encode(x[places[k : k + rows]]) for k in range(0, len(places), rows)]
        encoded = torch.cat(parts)
        if not torch.isfinite(encoded).all():
            raise ProbeError(
                f"{sae.facts.name}: a latent is not finite at {sae.facts.hook_name}",
                hint="is the SAE made for this model? check dtype and normalisation",
            )
        return encoded

    def _beyond(self, prepared: Prepared) -> int:
        limits = [s.facts.context_size for s in self.reader.saes if s.facts.context_size]
        return int(bool(limits) and len(prepared.ids) > min(limits))

    def shard(self, batch: Sequence[Prepared]) -> Shard:
        return Shard(
            items=np.array([p.item.id for p in batch]),
            facts=np.array(self.facts, dtype=np.int64).reshape(-1, 3),
            scores=np.array(self.scores, dtype=np.float64).reshape(-1, 4),
            latents=np.concatenate([np.empty((0, 4), np.int64), *self.latents]).astype(np.int64),
            latent_scores=np.concatenate([np.empty(0, np.float32), *self.latent_scores]),
            residuals=np.array(self.residuals, dtype=np.int64).reshape(-1, 3),
            vectors=tuple(self.vectors),
            sums=np.array(self.sums, dtype=np.float64).reshape(-1, 6),
            sum_vectors=tuple(self.sum_vectors),
        )


def _pool(latents: Tensor, pooling: str) -> Tensor:
    """One score for each latent: [tokens, d_sae] -> [d_sae]."""
    match pooling:
        case "max":
            return latents.max(dim=0).values
        case "mean":
            return latents.mean(dim=0)
        case _:
            return latents[-1]


def _output_hook(sae: Sae) -> str | None:
    """Where a transcoder's target is; an SAE's target is its input."""
    return sae.config.hook_name_out if sae.config.is_transcoder else None


def _cost(batch: Sequence[Prepared]) -> int:
    return sum(len(p.ids) for p in batch)


def _shard_bytes(shard: Shard, name: str) -> bytes:
    sink = io.BytesIO()
    arrays = {f: getattr(shard, f) for f in Shard.__dataclass_fields__}
    for field in ("vectors", "sum_vectors"):
        arrays[f"{field}_lengths"] = np.array([len(v) for v in arrays[field]], dtype=np.int64)
        arrays[field] = np.concatenate([np.empty(0, np.float32), *arrays[field]])
    np.savez(sink, name=np.array(name), **arrays)
    return sink.getvalue()


def _read_shard(path: Path, name: str) -> Shard | None:
    """A finished shard of this very task and batch, or None: then it is run again."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
        if str(arrays.pop("name")) != name:
            return None
        for field in ("vectors", "sum_vectors"):
            lengths = arrays.pop(f"{field}_lengths")
            parts = np.split(arrays[field], np.cumsum(lengths)[:-1])
            arrays[field] = tuple(parts) if len(lengths) else ()
        return Shard(**arrays)
    except Exception:  # whatever a damaged file makes numpy and zipfile raise
        return None
