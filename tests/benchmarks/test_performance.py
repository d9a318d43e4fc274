"""docs/performance.md is what the kept results say, and says all of it."""

import json

import pytest

from benchmarks.performance import PAGE, RESULTS, page, stored
from benchmarks.results import Results, Table, machine_facts, read_results, write_results

TABLE = Table("Seconds", "CPU seconds.", ("items", "s", "how"), ((10_000, 1.5, "a|b"),))


def some_results(name="probing", table=TABLE):
    return Results(
        benchmark=name,
        date="2026-11-23",
        command=f"python -m benchmarks.{name}",
        machine={"processor": "An EPYC", "cores": 2, "memory (GB)": 25, "GPU": "H100"},
        packages={"torch": "2.13.0"},
        tables=(table,),
    )


def test_the_page_is_that_of_the_kept_results():
    assert PAGE.read_text(encoding="utf-8") == page(stored())


def test_every_kept_result_names_no_host_and_no_folder():
    for path in RESULTS.glob("*.json"):
        text = path.read_text(encoding="utf-8")
        assert not any(part in text for part in ("/home/", "/root/", "/tmp/", "/work/")), path.name


def test_what_is_written_is_read_again(tmp_path):
    path = tmp_path / "new" / "scale.json"
    write_results(path, "scale", [TABLE], machine={"GPU": "H100"})

    found = read_results(path)

    assert found.tables == (TABLE,)
    assert found.benchmark == "scale" and found.machine == machine_facts() | {"GPU": "H100"}
    assert found.command == "python -m benchmarks.scale --out benchmarks/results/scale.json"
    assert "torch" in found.packages


@pytest.mark.parametrize("text", ["{}", "[]", '{"tables": [{}]}', '{"tables": [], "more": 1}'])
def test_other_files_are_no_results(tmp_path, text):
    (tmp_path / "a.json").write_text(text)

    with pytest.raises(ValueError, match="a.json: no results"):
        read_results(tmp_path / "a.json")


def test_a_row_of_another_width_is_refused():
    with pytest.raises(ValueError, match="2 cells, expected 1"):
        Table("Seconds", "", ("s",), ((1, 2),))


def test_a_table_stands_below_its_machine_and_command():
    lines = page([some_results()]).splitlines()

    assert "An EPYC, 2 cores, 25 GB, GPU H100; torch 2.13.0." in page([some_results()])
    assert "python -m benchmarks.probing" in lines and "## Beside SAELens" in lines
    assert lines[-3:] == [
        "| items | s | how |",
        "| --: | --: | --- |",
        "| 10,000 | 1.5 | a\\|b |",
    ]


def test_cells_without_a_number_are_left_empty():
    table = Table("Seconds", "", ("s", "held"), ((None, True), (2.5, False)))

    lines = page([some_results(table=table)]).splitlines()

    assert lines[-2:] == ["|  | yes |", "| 2.5 | no |"]


def test_sections_stand_in_one_order_and_unknown_ones_last():
    found = page([some_results("zebra"), some_results("starting"), some_results("probing")])

    heads = [line for line in found.splitlines() if line.startswith("## ")]
    assert heads == ["## Beside SAELens", "## Starting", "## Zebra"]


def test_numbers_of_a_result_are_plain_json(tmp_path):
    write_results(tmp_path / "a.json", "scale", [TABLE])

    assert json.loads((tmp_path / "a.json").read_text())["tables"][0]["rows"] == [
        [10000, 1.5, "a|b"]
    ]


def test_a_table_that_is_called_like_its_section_has_no_heading_of_its_own():
    found = page([some_results("starting", Table("Starting", "", ("s",), ((1,),)))])

    assert found.count("Starting") == 1 and "### Seconds" in page([some_results()])
