"""Shards of a pass that lie in their files are the shards that were run."""

from dataclasses import fields

import numpy as np
import pytest

from compliance.probes.shards import Shard, StoredShards
from compliance.probes.task import Task
from tests.probes.tiny_pass import (
    chosen,
    locked,
    make_plan,
    run_pass,
    some_items,
    tiny_reader,
    tiny_sae,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def test_stored_shards_have_every_field_of_those_that_were_run(tmp_path):
    reader = tiny_reader(tiny_sae(tmp_path / "sae"))
    plan = make_plan(reader, batch_tokens=64)
    task = Task(plan, "confirm", chosen(locked((0, 1))))
    shards = run_pass(some_items(3), task, reader, tmp_path)
    (tmp_path / "shard-99999.npz").write_bytes(b"of another plan")

    stored = list(StoredShards(tmp_path, len(shards)))

    assert len(stored) == len(shards) > 1
    for one, other in zip(stored, shards, strict=True):
        for field in fields(Shard):
            found, expected = getattr(one, field.name), getattr(other, field.name)
            pairs = zip(found, expected, strict=True) if isinstance(expected, tuple) else None
            for x, y in pairs or [(found, expected)]:
                assert np.array_equal(x, y) and x.dtype == y.dtype, field.name
        assert not hasattr(one, "nothing")
