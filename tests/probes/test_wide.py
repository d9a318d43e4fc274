"""An SAE of 65,536 latents, read sparsely from end to end, against the same done densely."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from benchmarks.wide import L0, save_wide_sae
from compliance import workflow
from compliance.assessment.planning import planned_items
from compliance.assessment.tables import read_table
from compliance.documents import read_yaml
from compliance.probes.batch import states_of
from compliance.probes.inputs import Preparer
from compliance.records.audit import AuditConfig
from compliance.records.plan import Choices
from compliance.records.suite import Item
from compliance.runs import open_run
from compliance.workflow import stages
from tests.tiny_audit import write_audit

WIDTH = 65_536


class Seen(NamedTuple):
    """What a run chose, and what it should have chosen it from."""

    choices: Choices
    search: dict[str, dict[int, float]]
    """By item, the latents that fired, with their scores."""

    items: list[Item]
    """Positives and hard negatives, by id."""

    discover: np.ndarray
    dense: np.ndarray
    """Scores of all latents on ``items``, by numpy alone."""

    l0: np.ndarray
    """Latents that fired, at each token."""

    @property
    def positive(self) -> np.ndarray:
        return np.array([item.label == "positive" for item in self.items])


@pytest.fixture(scope="module")
def seen(tmp_path_factory, one_thread) -> Seen:
    path = write_audit(
        tmp_path_factory.mktemp("wide"), groups=16, benign=24, languages=["en"],
        probes=[{"concept": "danger"}],
    )  # fmt: skip
    save_wide_sae(path.parent / "sae", WIDTH)
    workflow.plan(path)
    workflow.observe(path)
    config = read_yaml(path, AuditConfig)
    run = open_run(path.parent, config)
    by_split = planned_items(run.plan(), stages.load_suites(config, path.parent))
    items = sorted(
        (i for split in ("discover", "calibrate") for i in by_split[split] if i.concept),
        key=lambda item: item.id,
    )
    found = {item.id: {} for item in items}
    for row in read_table(run.observations("fit"), "fit/search.parquet").itertuples():
        found[row.item][row.latent] = row.score
    chosen = {item.id for item in by_split["discover"]}
    latents = dense_latents(config, path.parent, items, run.plan().sink_norm_ratio)
    return Seen(
        run.choices(), found, items, np.array([item.id in chosen for item in items]),
        np.array([one.max(axis=0) for one in latents]),
        np.concatenate([(one > 0).sum(axis=1) for one in latents]),
    )  # fmt: skip


def dense_latents(
    config: AuditConfig, folder: Path, items: list[Item], sink_ratio: float
) -> list[np.ndarray]:
    """All latents on the tokens of each item that a probe reads, ``[tokens, d_sae]``."""
    reader = stages.load_reader(config, folder)
    (sae,) = reader.saes
    weights = {name: tensor.numpy() for name, tensor in sae.tensors.items()}
    found = []
    for item in items:
        prepared = Preparer(reader.subject).prepare(item)
        (states,) = states_of([prepared], reader)
        x = states[sae.facts.hook_name][list(prepared.regions["user"])].numpy()
        norms = torch.from_numpy(np.linalg.norm(x, axis=1))
        x = x[(norms <= sink_ratio * norms.median()).numpy()]
        x = x - x.mean(axis=1, keepdims=True)
        x /= x.std(axis=1, ddof=1, keepdims=True) + 1e-5
        before = x @ weights["W_enc"] + weights["b_enc"]
        found.append(np.where(before > weights["threshold"], np.maximum(before, 0), 0))
    return found


def areas(scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Wins and half the ties of each latent, doubled."""
    above, below = scores[positive][:, None], scores[~positive][None]
    return 2 * (above > below).sum(axis=(0, 1)) + (above == below).sum(axis=(0, 1))


def test_the_sae_is_as_sparse_as_a_trained_one(seen):
    assert 0.8 * L0 < np.median(seen.l0) < 1.25 * L0
    assert seen.l0.max() < 3 * L0


def test_the_search_holds_what_fired_and_nothing_else(seen):
    for item, scores in zip(seen.items, seen.dense, strict=True):
        fired = np.flatnonzero(scores)

        assert sorted(seen.search[item.id]) == fired.tolist()
        read = [seen.search[item.id][int(latent)] for latent in fired]
        assert read == pytest.approx(scores[fired].tolist(), rel=1e-5)


def test_the_probe_is_the_best_of_all_latents(seen):
    scores, positive = seen.dense[seen.discover], seen.positive[seen.discover]
    doubled = areas(scores, positive)
    pairs = positive.sum() * (~positive).sum()

    (probe,) = seen.choices.probes

    assert [(f.sae, f.latent) for f in probe.features] == [(0, int(doubled.argmax()))]
    assert probe.selection.auroc == doubled.max() / (2 * pairs)
    assert probe.selection.searched == WIDTH
    assert probe.selection.active == np.count_nonzero(scores.any(axis=0))
    assert probe.selection.ties == np.count_nonzero(doubled == doubled.max())


def test_the_sparse_probe_has_the_latents_furthest_from_chance(seen):
    doubled = areas(seen.dense, seen.positive)
    pairs = seen.positive.sum() * (~seen.positive).sum()
    distance = np.where(seen.dense.any(axis=0), np.abs(doubled - pairs), -1)
    furthest = np.argsort(-distance, kind="stable")[:5]

    (probe,) = (p for p in seen.choices.sparse_probes if p.scorer == "sparse-5")

    assert [f.latent for f in probe.features] == furthest.tolist()
