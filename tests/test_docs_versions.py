"""Tables of docs/reference/versions.md and diff.md against the code that they describe."""

import re

from compliance.assessment.comparison import MEASURES
from compliance.assessment.gating import BEST_FIRST
from compliance.packs.version import MEASURED, NAMES
from compliance.records.comparison import (
    LEAST_GROUPS,
    LOWER_IS_BETTER,
    Tolerances,
    VersionChange,
    WhyNot,
)
from compliance.records.evidence import Evidence
from tests.test_docs import REFERENCE, code, fields, rows

DIFF, VERSIONS = REFERENCE / "diff.md", REFERENCE / "versions.md"


def test_measures_are_those_that_are_compared():
    table = {code(row[0]): row[1] for row in rows(DIFF, "What is compared") if len(row) == 3}

    assert tuple(table) == MEASURES
    assert {name for name, better in table.items() if better == "lower"} == set(LOWER_IS_BETTER)


def test_reasons_are_those_of_a_comparison_in_their_order():
    table = [code(row[0]) for row in rows(DIFF, "What is compared") if len(row) == 2]

    assert table == [reason.value for reason in WhyNot]
    assert f"fewer than {LEAST_GROUPS} groups" in DIFF.read_text(encoding="utf-8")


def test_keys_of_the_tolerances_are_those_of_the_record():
    known = fields(Tolerances.model_json_schema())
    table = {code(row[0]): row[2].strip("`") for row in rows(DIFF, "`tolerances.yaml`")}

    assert set(table) == set(known)
    for key, field in known.items():
        if field["required"]:
            assert table[key] == "required"
        elif isinstance(field.get("default"), (str, float)):
            assert table[key] == str(field["default"])
    assert list(Tolerances().measures) == list(MEASURES)


def test_verdicts_are_named_from_best_to_worst():
    named = re.search(r"From best to worst: ([^|]*?) \|", DIFF.read_text(encoding="utf-8"))

    assert named[1].split(", ") == [verdict.replace("-", " ") for verdict in BEST_FIRST]


def test_changes_of_a_version_are_those_that_are_decided():
    table = {code(row[0]): row for row in rows(VERSIONS) if len(row) == 3}
    kinds = VersionChange.model_fields["change"].annotation.__args__

    assert set(table) == set(kinds)
    assert all(f"`{name}`" in table["subject"][2] for name in NAMES)
    assert all(f"`{name}`" in table["measurements"][2] for name in MEASURED)
    words = set(Evidence.model_fields) - set(MEASURED) - {"schema_version", "required_signatures"}
    assert all(f"`{name}`" in table["words"][2] for name in words)


def test_messages_of_the_archive_are_those_that_are_written():
    from compliance.packs.archive import _message

    before = {"demo-1.0.0/data/a": "1", "demo-1.0.0/b": "1"}
    messages = [
        _message("demo-1.0.0", None, before),
        _message("demo-1.0.0", before, {**before, "demo-1.0.0/c": "1"}),
        _message("demo-1.0.0", before, {**before, "demo-1.0.0/data/a": "2"}),
    ]
    table = [code(row[0]) for row in rows(VERSIONS, "The archive") if len(row) == 2]

    assert [
        re.sub(r"\(.*\)", "(...)", m.replace("demo-1.0.0", "<pack>")) for m in messages
    ] == table
