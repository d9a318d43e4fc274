"""Groups go where their hash says, at exact quotas."""

import dataclasses
import subprocess
from collections import Counter, defaultdict

import pytest

from compliance.records.audit import Subset
from compliance.records.plan import Splits
from compliance.records.suite import Label
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


@pytest.fixture
def unpaired(suite):
    """The suite with labels in groups of their own, and with half of the hard negatives."""
    items = tuple(
        i.model_copy(update={"group": f"{i.group}-{i.label}"}) if i.concept else i
        for i in suite.items
        if i.label is not Label.HARD_NEGATIVE or int(i.group[-3:]) < 10
    )
    sheet = suite.datasheet.model_copy(update={"paired": False})
    return dataclasses.replace(suite, datasheet=sheet, items=items)


def shares(suite, splits) -> dict[tuple, Counter]:
    """Groups of each concept and label by split."""
    found = defaultdict(Counter)
    for concept, label, group in {(i.concept, i.label, i.group) for i in suite.items}:
        found[concept, label][splits.get(group)] += 1
    return found


def test_without_pairs_each_label_has_its_exact_quotas(unpaired):
    found = shares(unpaired, split_groups([unpaired], Splits(), None))

    for concept in ("danger", "flattery"):
        assert found[concept, "positive"] == {"discover": 4, "calibrate": 2, "confirm": 14}
        assert found[concept, "hard-negative"] == {"discover": 2, "calibrate": 1, "confirm": 7}
    assert found[None, "negative"] == {"calibrate": 15, "confirm": 15}


def test_without_pairs_the_ranks_of_each_label_are_in_the_order_of_the_splits(unpaired):
    splits = split_groups([unpaired], Splits(), None)

    for label in ("positive", "hard-negative"):
        groups = {i.group for i in unpaired.items if (i.concept, i.label) == ("danger", label)}
        ranked = [splits[g] for g in rank(groups, unpaired.digest)]
        assert ranked == sorted(ranked, key=("discover", "calibrate", "confirm").index)


def test_without_pairs_a_subset_takes_as_many_of_each_label(unpaired):
    few = Subset(groups_per_concept=11, benign_groups=8)

    found = shares(unpaired, split_groups([unpaired], Splits(), few))

    taken = {key: row.total() - row[None] for key, row in found.items()}
    assert taken == {("danger", "positive"): 5, ("danger", "hard-negative"): 5,
                     ("flattery", "positive"): 5, ("flattery", "hard-negative"): 5,
                     (None, "negative"): 8}  # fmt: skip


def test_another_suite_digest_gives_another_split(suite):
    groups = sorted({i.group for i in suite.items})

    assert rank(groups, suite.digest) != rank(groups, "sha256:" + "0" * 64)


def test_a_subset_takes_the_first_groups_by_rank(suite):
    found = split_groups([suite], Splits(), Subset(groups_per_concept=10, benign_groups=8))

    danger = {i.group for i in suite.items if i.concept == "danger"}
    assert set(found) & danger == set(rank(danger, suite.digest)[:10])
    assert len([g for g in found if g.startswith("benign")]) == 8


@pytest.mark.parametrize(("benign", "taken"), [({"tiny": 6}, 6), ({"another": 6}, None), (9, 9)])
def test_each_suite_may_give_its_own_number_of_benign_groups(suite, benign, taken):
    few = Subset(groups_per_concept=10, benign_groups=benign)
    every = {i.group for i in suite.items if i.concept is None}

    found = set(split_groups([suite], Splits(), few)) & every

    assert found == set(rank(every, suite.digest)[:taken])


def test_a_subset_may_limit_neutral_text(suite):
    neutral = [
        item.model_copy(update={"label": Label.NEUTRAL, "id": f"p-{n}", "group": f"p-{n}"})
        for n, item in enumerate(i for i in suite.items if i.concept is None)
    ]
    both = dataclasses.replace(suite, items=(*suite.items, *neutral))
    few = Subset(groups_per_concept=10, benign_groups=8, neutral_groups=3)

    found = split_groups([both], Splits(), few)

    assert sum(group.startswith("p-") for group in found) == 3
