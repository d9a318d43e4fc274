"""The estimate in docs/scale.md is what the command prints."""

from pathlib import Path

import pytest

from benchmarks.cost import CASES, Case, costs, operations

PAGE = Path(__file__).parent.parent.parent / "docs" / "scale.md"


@pytest.mark.parametrize("table", [operations(), costs()])
def test_the_tables_of_the_page_are_those_of_the_command(table):
    assert "\n".join(table) in PAGE.read_text(encoding="utf-8")


def test_hours_are_operations_by_the_peak_and_its_assumed_share():
    case = Case("one", parameters=1e9, blocks=10, run=5, d=1000, d_sae=10_000)

    assert case.model == 2 * 1e9 / 2 + 4 * 512 * 1000 * 5
    assert case.sae == 6 * 1000 * 10_000
    plain, mixed = case.hours("float32"), case.hours("bfloat16")
    assert plain == pytest.approx(1e9 * (case.model + case.sae) / (0.3 * 67e12) / 3600)
    assert mixed == pytest.approx(1e9 * (case.model / 989e12 + case.sae / 67e12) / 0.3 / 3600)


def test_the_example_in_words_follows_from_the_table():
    hours = CASES[0].hours("bfloat16")
    text = PAGE.read_text(encoding="utf-8")

    assert f"in {hours / 4:.1f} hours, for ${hours * 2.5:.0f}" in text
