"""The page on hostile input names every reader, and its limits are those of the code."""

import json
import re
from pathlib import Path

from benchmarks.readers import names
from compliance import documents, parquet
from compliance.assessment import tables
from compliance.features import reading
from compliance.packs import layout, zipped
from compliance.records import bounds
from compliance.reports import model_card
from compliance.suites import pictures
from compliance.suites.importing import arrow_rows, rows

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "hostile-input.md"
TEXT = PAGE.read_text(encoding="utf-8")


MEASURED = json.loads((PAGE.parents[1] / "validation" / "fuzz.json").read_text(encoding="utf-8"))


def cells() -> dict[str, str]:
    readers = TEXT.split("## Readers")[1].split("\n## ")[0]
    found = re.findall(r"^\| `([^`]+)` \| [^|]+ \| ([^|]+) \|", readers, re.MULTILINE)
    return dict(found)


def test_every_reader_has_a_row_and_no_other():
    assert list(cells()) == list(names())


def test_limits_are_those_of_the_code():
    said = cells()

    for reader, limit in (
        ("audit.yaml", f"{documents.MAX_BYTES:,} bytes, {documents.MAX_NODES:,} keys"),
        ("audit.yaml", f"{documents.MAX_LEVELS} levels, {documents.MAX_NUMBER} characters"),
        ("README.md", f"{model_card.MAX_BYTES:,} bytes; {model_card.MAX_EVENTS:,} events"),
        ("items.jsonl", f"{documents.MAX_LINE >> 20} MiB a line, {documents.MAX_LINES:,} lines"),
        ("PNG", f"{pictures.MAX_BYTES >> 20} MiB, {pictures.MAX_SIDE} x {pictures.MAX_SIDE}"),
        ("JPEG", f"{pictures.MAX_SCANS} scans"),
        ("CSV", f"{rows.MAX_ROW:,} bytes a row"),
        ("Parquet", f"{parquet.MAX_COLUMNS:,} columns, {arrow_rows.MAX_PAGE >> 30} GiB a page"),
        ("Parquet", f"{arrow_rows.MAX_LIST:,} values"),
        ("features", f"{reading.MAX_LINE >> 20} MiB a line, {reading.MAX_LINES:,} lines"),
        ("pack, ZIP", f"{zipped.MAX_ENTRIES:,} entries, {zipped.MAX_TOTAL >> 30} GiB unpacked"),
        ("evidence.json", f"{layout.MAX_JSON_FILE >> 20} MiB"),
        ("scores.csv", f"{tables.MAX_ROWS:,} lines"),
        ("tokens.parquet", f"{tables.MAX_VALUES:,} values, {tables.MAX_UNPACKED >> 30} GiB"),
        ("tokens.parquet", f"{tables.MAX_PAGE >> 20} MiB a page"),
    ):
        assert limit in said[reader], reader
    assert f"{bounds.MAX_CONTAINERS:,} lists and objects and {bounds.MAX_VALUES:,} values" in TEXT


def test_limits_of_models_are_those_of_the_code():
    from compliance.probes import files, sae, subject, tokens

    said = cells()

    assert f"{files.MAX_JSON >> 20} MiB" in said["cfg.json"]
    assert (
        f"{files.MAX_HEADER >> 20} MiB of header, {sae.MAX_TENSORS} tensors"
        in said["sae_weights.safetensors"]
    )
    assert f"{subject.MAX_SETTINGS:,} bytes" in said["config.json"]
    assert f"{subject.MAX_GROWTH} times the numbers" in said["config.json"]
    assert f"stopped after {tokens.TEMPLATE_SECONDS:g} seconds" in TEXT


def test_what_was_measured_is_on_the_page():
    shown = [
        f"| `{one['reader']}` | {one['engines'].get('structured', 0):,} | "
        f"{one['engines'].get('coverage', 0):,} | {one['refused'] / one['runs']:.0%} | "
        f"{1000 * one['slowest']:.1f} | {len(one['failures'])} |"
        for one in MEASURED
    ]

    assert [one["reader"] for one in MEASURED] == list(names())
    assert "\n".join(shown) in TEXT
    assert f"{sum(one['runs'] for one in MEASURED):,} inputs, no failure" in TEXT
    assert not any(one["failures"] for one in MEASURED)
