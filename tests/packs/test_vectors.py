"""Every version must say of these packs what is written beside them."""

import pytest

from benchmarks.vectors import VECTORS, answer, problems, read_cases

CASES = read_cases()


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_the_answer_is_the_one_that_every_version_gives(case, tmp_path):
    assert answer(VECTORS, case, tmp_path) == case["answer"]


def test_every_case_is_answered_as_it_was_made_for():
    assert problems(CASES) == []
    assert sum(case["name"].startswith("good") for case in CASES) == 6


def test_every_file_belongs_to_a_case():
    named = {VECTORS / case[field] for case in CASES
             for field in ("pack", "laid_over", "container") if field in case}  # fmt: skip

    assert {path for name in ("good", "broken") for path in (VECTORS / name).iterdir()} == named
    assert sum(path.stat().st_size for path in VECTORS.rglob("*.*")) < 1.5 * 2**20
