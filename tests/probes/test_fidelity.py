"""Sums of fidelity and firing against the plain computation."""

import numpy as np
import pytest

from compliance.probes.collect import (
    Placed,
    fidelity_table,
    firing_table,
    mean_table,
)
from compliance.probes.engine import prepare_items
from compliance.probes.task import Task
from tests.probes.tiny_pass import (
    chosen,
    locked,
    make_item,
    make_plan,
    run_pass,
    some_items,
    states_of,
    tiny_reader,
    tiny_sae,
)

pytestmark = pytest.mark.usefixtures("one_thread")

HOOK = "blocks.1.hook_resid_post"


def task_of(reader, stage="confirm"):
    return Task(make_plan(reader), stage, chosen(locked((0, 0))))


def target_and_reconstruction(prepared, reader, role, into, out):
    places = list(prepared.regions[role])
    x = states_of(prepared, reader, into)[places]
    target = states_of(prepared, reader, out)[places]
    return target.double().numpy(), reader.saes[0].reconstruct(x).double().numpy(), x


@pytest.mark.parametrize(
    ("architecture", "into", "out"),
    [("jumprelu", HOOK, HOOK), ("topk", HOOK, HOOK), ("gated", HOOK, HOOK),
     ("skip_transcoder", "blocks.1.hook_resid_mid", "blocks.1.hook_mlp_out")],
)  # fmt: skip
def test_sums_of_each_role_are_those_of_its_tokens(tmp_path, architecture, into, out):
    reader = tiny_reader(tiny_sae(tmp_path / "sae", architecture, hook_name=into))
    items = some_items()

    table = fidelity_table(run_pass(items, task_of(reader), reader, tmp_path / "run"))

    rows = {(row.item, row.role): row for row in table.itertuples()}
    seen = 0
    for prepared in prepare_items(items, reader.subject):
        for role in ("user", "assistant"):
            if not prepared.regions[role]:
                assert (prepared.item.id, role) not in rows
                continue
            seen += 1
            row = rows[prepared.item.id, role]
            target, x_hat, x = target_and_reconstruction(prepared, reader, role, into, out)
            norms = np.linalg.norm(target, axis=1), np.linalg.norm(x_hat, axis=1)
            cosines = (target * x_hat).sum(axis=1) / norms[0] / norms[1]
            assert (row.sae, row.tokens) == (0, len(target))
            assert row.error == pytest.approx(((target - x_hat) ** 2).sum(), rel=1e-5)
            assert row.spread == pytest.approx(
                ((target - target.mean(axis=0)) ** 2).sum(), rel=1e-5
            )
            assert row.cosine == pytest.approx(cosines.sum(), abs=1e-4)
            assert row.norm_ratio == pytest.approx((norms[1] / norms[0]).sum(), rel=1e-4)
            assert row.mean == pytest.approx(target.mean(axis=0), abs=1e-5)
            assert list(row.l0) == (reader.saes[0].encode(x) != 0).sum(dim=1).tolist()
    assert len(rows) == seen > len(items)


def test_means_have_more_digits_than_a_float32(tmp_path):
    reader = tiny_reader(tiny_sae(tmp_path / "sae"))
    items = [make_item("a", text="some words to read")]

    table = fidelity_table(run_pass(items, task_of(reader), reader, tmp_path / "run"))

    mean = table["mean"][0]
    assert mean.dtype == np.float64
    assert (mean != mean.astype(np.float32)).any()


def test_firing_counts_tokens_by_language_and_source(tmp_path):
    saes = [tiny_sae(tmp_path / str(s), hook_name=f"blocks.{s}.hook_resid_post") for s in (0, 1)]
    reader, items = tiny_reader(*saes), some_items(3)
    task = task_of(reader)

    table = firing_table(run_pass(items, task, reader, tmp_path / "run"), task.plan)

    expected = {}
    for prepared in prepare_items(items, reader.subject):
        source = "items" if prepared.item.concept else "neutral"
        for s, sae in enumerate(saes):
            x = states_of(prepared, reader, sae.facts.hook_name)[list(prepared.regions["read"])]
            for latent, tokens in enumerate((sae.encode(x) != 0).sum(dim=0).tolist()):
                if tokens:
                    key = (prepared.item.language, source, s, latent)
                    expected[key] = expected.get(key, 0) + tokens
    assert set(table["region"]) == {"read"}
    plain = table.drop(columns="region")
    found = {tuple(row[:4]): row[4] for row in plain.itertuples(index=False)}
    assert found == expected
    assert {key[:2] for key in found} == {
        (language, source) for language in ("en", "ja") for source in ("items", "neutral")
    }


def test_means_are_those_of_all_benign_tokens_of_a_language(tmp_path):
    reader = tiny_reader(tiny_sae(tmp_path / "sae"))
    benign = [item for item in some_items() if item.concept is None]
    placed = {item.id: Placed(item, "tiny", "calibrate") for item in benign}
    task = task_of(reader, "calibrate")
    shards = run_pass(benign, task, reader, tmp_path / "run")

    table = mean_table(shards, task.plan, placed).set_index("language")

    assert set(table.index) == {"en", "ja"}
    assert set(table["region"]) == {"read"}
    works = prepare_items(benign, reader.subject)
    for language, row in table.iterrows():
        values = np.concatenate(
            [
                states_of(p, reader, HOOK)[list(p.regions["read"])].double().numpy()
                for p in works
                if p.item.language == language
            ]
        )
        assert row["tokens"] == len(values)
        assert row["mean"] == pytest.approx(values.mean(axis=0), abs=1e-5)
        assert row["mean"].dtype == np.float64


def test_sinks_and_the_template_are_in_no_sum(tmp_path):
    reader = tiny_reader(tiny_sae(tmp_path / "sae"))
    items = [make_item("a", text="one two three")]
    plan = make_plan(reader, sink_norm_ratio=1.0)  # the louder half of the tokens
    task = Task(plan, "confirm", chosen(locked((0, 0))))

    shards = run_pass(items, task, reader, tmp_path / "run")

    (row,) = fidelity_table(shards).itertuples()
    sinks = int(shards[0].facts[0][2])
    assert sinks > 2
    assert row.tokens == len("one two three") - sinks == len(row.l0)
    assert firing_table(shards, plan)["tokens"].sum() == sum(row.l0)
