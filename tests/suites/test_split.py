"""Groups go where their hash says, at exact quotas."""

import subprocess

import pytest

from compliance.records.audit import Subset
from compliance.records.plan import Splits
from compliance.suites.load import load_suite
from compliance.suites.split import cut, rank, split_groups
from tests.tiny_audit import write_suite


@pytest.fixture
def suite(tmp_path):
    write_suite(tmp_path / "suite", groups=20, benign=30)
    return load_suite("suite", tmp_path)


def test_the_rank_of_a_group_is_what_sha256sum_says():
    groups = ["a", "b", "c"]
    printed = {
        g: subprocess.run(
            ["sha256sum"], input=f"sha256:00\n{g}".encode(), capture_output=True, check=True
        ).stdout
        for g in groups
    }

    assert rank(groups, "sha256:00") == sorted(groups, key=lambda g: printed[g])


@pytest.mark.parametrize(
    ("n", "sizes"), [(10, (2, 1, 7)), (60, (12, 6, 42)), (64, (13, 6, 45)), (3, (1, 0, 2))]
)
def test_quotas_are_exact(n, sizes):
    found = cut([f"g{i}" for i in range(n)], {"discover": 20, "calibrate": 10, "confirm": 70})

    assert tuple(list(found.values()).count(s) for s in ("discover", "calibrate", "confirm")) == (
        sizes
    )


def test_every_group_has_one_split_and_concepts_are_stratified(suite):
    found = split_groups([suite], Splits(), None)

    by_concept = {
        c: sorted(found[g] for g in {i.group for i in suite.items if i.concept == c})
        for c in ("danger", "flattery", None)
    }
    assert by_concept["danger"] == ["calibrate"] * 2 + ["confirm"] * 14 + ["discover"] * 4
    assert by_concept["flattery"] == by_concept["danger"]
    assert by_concept[None] == ["calibrate"] * 15 + ["confirm"] * 15


def test_another_suite_digest_gives_another_split(suite):
    groups = sorted({i.group for i in suite.items})

    assert rank(groups, suite.digest) != rank(groups, "sha256:" + "0" * 64)


def test_a_subset_takes_the_first_groups_by_rank(suite):
    found = split_groups([suite], Splits(), Subset(groups_per_concept=10, benign_groups=8))

    danger = {i.group for i in suite.items if i.concept == "danger"}
    assert set(found) & danger == set(rank(danger, suite.digest)[:10])
    assert len([g for g in found if g.startswith("benign")]) == 8
