"""``compliance report --language``: which words are asked for, and what the files are called."""

import shutil

import pytest
from click.testing import CliRunner

from compliance.cli.main import main
from compliance.workflow import audits
from compliance.workflow.documents import report_names


@pytest.fixture
def folder(finished_audit, tmp_path):
    return shutil.copytree(finished_audit, tmp_path / "audit")


def run(folder, *words):
    return CliRunner().invoke(main, ["report", str(folder / "audit.yaml"), *words])


@pytest.mark.parametrize(
    ("words", "language", "name"),
    [((), "en", "report"), (("--language", "de"), "de", "report-de")],
)
def test_a_report_in_another_language_stands_beside_the_english_one(
    folder, monkeypatch, words, language, name
):
    asked = []

    def reports(origin, *, language, **others):
        asked.append(language)
        return dict.fromkeys(report_names(language), b"page")

    monkeypatch.setattr(audits, "reports", reports)

    done = run(folder, *words)

    assert done.exit_code == 0, done.stderr
    assert asked == [language]
    written = {path.name for path in folder.glob("runs/*/report/*")}
    lengths = ("report-brief", "report-standard", "report")
    assert written == {f"{name}.html"} | {
        f"{length}{name.removeprefix('report')}.pdf" for length in lengths
    }


def test_a_language_without_words_is_refused_with_those_there_are(folder):
    done = run(folder, "--language", "xx")

    assert done.exit_code == 2
    assert "xx: there are no messages in this language" in done.stderr
    assert "en, de, el, fr" in done.stderr
    assert not list(folder.glob("runs/*/report/*"))
