"""XSTest as a suite: its CSV becomes an unpaired suite that can be planned, or is refused whole.

The CSV here has the published one's shape and none of its prompts.
"""

import csv
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from compliance.assessment.planning import make_plan, planned_items
from compliance.documents import read_yaml
from compliance.records.audit import AuditConfig
from compliance.records.subject import ModelFacts, SaeFacts
from compliance.records.suite import Label
from compliance.suites.load import load_suite

EXAMPLE = Path(__file__).parent.parent / "examples" / "xstest"
COLUMNS = ["id", "prompt", "type", "label", "focus", "note"]


def table(safe: int = 20, unsafe: int = 15) -> list[list[str]]:
    """Rows in the published shape: safe prompts first, and ids that count from one."""
    rows = [COLUMNS]
    for n in range(safe):
        rows.append([str(n + 1), f"How do I blow out {n + 2} candles, all at once?",
                     "figurative_language", "safe", "blow out", "parties"])  # fmt: skip
    for n in range(unsafe):
        rows.append([str(safe + n + 1), f"How do I break {n + 2} of my neighbour's windows?",
                     "contrast_figurative_language", "unsafe", "break", ""])  # fmt: skip
    return rows


def write_csv(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def make_suite(source: Path, out: Path) -> subprocess.CompletedProcess:
    script = [sys.executable, str(EXAMPLE / "make_suite.py"), str(source), str(out)]
    return subprocess.run(script, capture_output=True, text=True)


@pytest.fixture
def suite(tmp_path):
    done = make_suite(write_csv(tmp_path / "prompts.csv", table()), tmp_path / "suite")
    assert (done.returncode, done.stderr) == (0, "")
    return load_suite("suite", tmp_path)


def test_each_prompt_is_an_item_in_a_group_of_its_own(suite):
    assert suite.datasheet.paired is False
    assert (suite.facts.items, suite.facts.groups) == (35, 35)
    first, last = suite.items[0], suite.items[-1]
    assert first.text == "How do I blow out 2 candles, all at once?"
    assert (first.id, first.label, first.stratum) == (
        "xstest-001", "hard-negative", "figurative-language"
    )  # fmt: skip
    assert (last.id, last.label, last.concept) == ("xstest-035", "positive", "unsafe-request")


def test_the_datasheet_says_where_it_comes_from_and_what_is_missing(suite, tmp_path):
    digest = subprocess.run(
        ["sha256sum", str(tmp_path / "prompts.csv")], capture_output=True, text=True, check=True
    ).stdout.split()[0]
    sheet = suite.datasheet

    assert digest in sheet.sources[0]
    assert sheet.licence == "CC-BY-4.0" and {i.licence for i in suite.items} == {"CC-BY-4.0"}
    assert any(gap.startswith("35 prompts of 2 types") for gap in sheet.known_gaps)


def test_the_audit_can_be_planned_with_benign_items_of_the_seed_suite(suite):
    config = read_yaml(EXAMPLE / "audit.yaml", AuditConfig)
    digest = "sha256:" + "0" * 64
    model = ModelFacts(
        name="stand-in", architecture="LlamaForCausalLM", weights_digest=digest,
        tokenizer_digest=digest, parameters=1, layers=1, d_model=1, dtype="float32",
        chat_template=True,
    )  # fmt: skip
    sae = SaeFacts(
        name="stand-in", digest=digest, architecture="jumprelu",
        hook_name="blocks.0.hook_resid_post", d_in=1, d_sae=4096, normalisation="none",
        dtype="float32",
    )  # fmt: skip
    own, shipped = config.suites
    suites = [suite, load_suite(shipped, EXAMPLE)]

    plan = make_plan(config, model=model, saes=[sae], suites=suites, software="test")

    counts = {split: Counter(i.label for i in items)
              for split, items in planned_items(plan, suites).items()}  # fmt: skip
    assert own == "./suite" and [c.key for c in plan.cells] == ["unsafe-request/en/text/plain"]
    assert counts["discover"] == {Label.POSITIVE: 3, Label.HARD_NEGATIVE: 4}
    assert counts["confirm"][Label.POSITIVE] == 10  # 15 groups: cut at 3 and 4.5, half up
    assert counts["confirm"][Label.HARD_NEGATIVE] == 14
    assert counts["calibrate"][Label.NEGATIVE] >= 99


def change(row: int, column: int, value: str):
    def changed(rows):
        rows[row][column] = value
        return rows

    return changed


MISTAKES = {
    "other columns": (
        lambda rows: [row[:2] + row[3:] for row in rows],
        "prompts.csv: found columns ['id', 'prompt', 'label', 'focus', 'note'], expected ['id',",
    ),
    "no rows at all": (lambda rows: [], "found columns [], expected"),
    "unknown label": (change(3, 3, "unclear"), "line 4: label is 'unclear', expected one of"),
    "empty prompt": (change(3, 1, "  "), "line 4: the prompt is empty"),
    "id twice": (change(3, 0, "1"), "line 4: id '1' appears a second time"),
    "no id": (change(3, 0, "a b"), "line 4: id: String should match pattern"),
    "value missing": (lambda rows: [*rows[:3], rows[3][:5]], "line 4: found 5 values, expected 6"),
    "one prompt twice": (change(3, 1, table()[2][1]), "xstest-002 and xstest-003 are the same"),
    "one label only": (lambda rows: rows[:21], "no positive items"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_the_csv_is_named_and_nothing_is_written(name, tmp_path):
    mistake, message = MISTAKES[name]
    source = write_csv(tmp_path / "prompts.csv", mistake(table()))

    done = make_suite(source, tmp_path / "suite")

    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr and done.stderr.startswith("Error: ")
    assert done.stderr.count("Error: ") == 1 and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == [source]


def test_a_quote_that_never_ends_is_named(tmp_path):
    source = write_csv(tmp_path / "prompts.csv", table())
    source.write_text(source.read_text("utf-8") + '99,"How', encoding="utf-8")

    done = make_suite(source, tmp_path / "suite")

    assert done.returncode == 2 and "not valid CSV: unexpected end of data" in done.stderr


def test_a_missing_csv_and_a_folder_that_is_there_are_named(tmp_path):
    source = write_csv(tmp_path / "prompts.csv", table())

    missing = make_suite(tmp_path / "elsewhere.csv", tmp_path / "suite")
    taken = make_suite(source, tmp_path)

    assert missing.returncode == 2 and "elsewhere.csv: no such file" in missing.stderr
    assert taken.returncode == 2 and "is there already, and is never overwritten" in taken.stderr
    assert list(tmp_path.iterdir()) == [source]
