"""Names, titles and cells that would pass for others, hide, or be run by a spreadsheet."""

import csv

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from compliance.cli.main import main
from compliance.packs.layout import is_safe_path
from compliance.probes.features import _one_line
from compliance.records.names import check_cell, check_name, check_prose
from compliance.records.suite import Item
from compliance.records.trail import Entry
from compliance.records.verification import Check
from compliance.suites.importing.report import RefusedReport
from compliance.suites.importing.rows import Refused
from tests.hostile.conftest import Attack

HIDDEN = {
    "an override": "safe \u202egnp.exe",
    "an isolate": "a\u2066b",
    "nothing wide": "pay\u200bpal",
    "a byte order mark": "\ufeffname",
    "a soft hyphen": "na\u00adme",
    "an escape": "\x1b[2Jname",
    "an end of line": "a\nb",
    "a line separator": "a\u2028b",
    "a tag character": "a\U000e0041",
    "a private letter": "\ue000",
}
MIXED = {
    "Cyrillic a": "p\u0430ypal",
    "Cyrillic in capitals": "O\u0421R",
    "Greek omicron": "Micr\u03bfsoft",
    "Armenian": "s\u0585ft",
    "Cherokee": "\u13a0pple",
}
HONEST = ("Müller & Söhne", "東京 AI監査 v2", "Анна Петрова", "Αθήνα", "TGFβ", "سامانه‌ها", "हिन्दी",
          "A. Person, QA (Reviewer #2)", "Łódź", "עברית", "Acme ООО")  # fmt: skip


@pytest.mark.parametrize("text", [*HIDDEN.values(), *MIXED.values()], ids=[*HIDDEN, *MIXED])
def test_a_name_that_hides_or_passes_for_another_is_refused(text: str):
    with pytest.raises(ValueError, match="hides|looks like"):
        check_name(text)


@pytest.mark.parametrize("text", HONEST)
def test_names_of_all_languages_are_taken(text: str):
    assert check_name(text) == text


def test_prose_may_have_lines_and_no_controls():
    assert check_prose("a\n\tb") == "a\n\tb"
    with pytest.raises(ValueError, match="control character"):
        check_prose("\x1b]0;title\x07")


@pytest.mark.parametrize("title", [HIDDEN["an override"], MIXED["Cyrillic a"]])
def test_titles_are_names(attack: Attack, title: str):
    text = f"name: tiny\ntitle: {title!r}\nversion: '1'\n".replace("'", '"')

    assert attack("system.yaml", text.encode()).error == "ConfigError"


@pytest.mark.parametrize("name", ["sаe", "Tiny", "tiny suite", "tiny/../x", "tiny\u200b", "ｔiny"])
def test_names_that_make_files_are_plain(attack: Attack, name: str):
    text = f"name: {name!r}\ntitle: x\nversion: '1'\n"

    assert attack("system.yaml", text).error == "ConfigError"
    assert not is_safe_path(f"data/{name}") or name == "Tiny"


def test_who_acts_is_a_name():
    with pytest.raises(ValidationError, match="looks like one"):
        Entry(sequence=1, kind="run-started", at="2026-11-22T15:42:43Z", actor="R\u0430y", facts={},
              previous="sha256:" + "0" * 64, digest="sha256:" + "0" * 64)  # fmt: skip


FORMULAS = ("=cmd|'/C calc'!A0", "+1+1", "-1+1", "@SUM(A1)", '=HYPERLINK("http://x")')


@pytest.mark.parametrize("text", FORMULAS)
@pytest.mark.parametrize("field", ["source", "reviewed"])
def test_no_cell_of_a_table_is_a_formula(field: str, text: str):
    item = {"id": "a", "group": "a", "label": "negative", "language": "en", "text": "x",
            "origin": "authored", "source": "made", "licence": "CC0"}  # fmt: skip

    with pytest.raises(ValidationError, match="formula"):
        Item(**(item | {field: text}))
    with pytest.raises(ValueError, match="formula"):
        check_cell(text)


@pytest.mark.parametrize("token", [FORMULAS[0], FORMULAS[3], FORMULAS[4]])
def test_a_token_is_no_formula(token: str):
    assert _one_line(token) == " " + token
    assert _one_line("=") == "=" and _one_line("-1") == "-1"


@pytest.mark.parametrize("text", FORMULAS)
def test_the_list_of_refused_rows_holds_no_formula(tmp_path, text: str):
    with RefusedReport(tmp_path / "refused.csv") as report:
        report.add(Refused(text, 1, text, "kind", text))

    with (tmp_path / "refused.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))

    assert all(cell[:1] not in "=+-@" or not cell for row in rows for cell in row)


def test_what_is_printed_of_a_pack_cannot_move_a_cursor():
    line = Check(name="x", status="failed", path="data/x", message="\x1b[2J\u202eevil").line

    assert line == "failed: data/x: ⟨U+001B⟩[2J⟨U+202E⟩evil"


def test_an_error_that_quotes_a_file_is_printed_harmlessly(tmp_path):
    path = tmp_path / "audit.yaml"
    path.write_text('subject: {model: x}\n"\\e[2J\\u202e": 1\n', encoding="utf-8")

    result = CliRunner().invoke(main, ["plan", str(path)])

    assert result.exit_code == 2
    assert "\x1b" not in result.output and "\u202e" not in result.output


def test_too_little_memory_is_an_answer(monkeypatch: pytest.MonkeyPatch, tmp_path):
    from compliance import workflow

    def short(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(workflow, "verify", short)

    result = CliRunner().invoke(main, ["verify", str(tmp_path)])

    assert (result.exit_code, "not enough memory" in result.output) == (2, True)
