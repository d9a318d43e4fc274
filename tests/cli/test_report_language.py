"""``compliance report --language``: which words are asked for, and what the files are called."""

import shutil

import pytest
from click.testing import CliRunner

from compliance.cli.main import main
from compliance.workflow import audits


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

    def render(*args, language):
        asked.append(language)
        return b"page", b"pdf"

    monkeypatch.setattr(audits, "render", render)

    done = run(folder, *words)

    assert done.exit_code == 0, done.stderr
    assert asked == [language]
    written = {path.name for path in folder.glob("runs/*/report/*")}
    assert written == {f"{name}.html", f"{name}.pdf"}


def test_a_language_without_words_is_refused_with_those_there_are(folder):
    done = run(folder, "--language", "xx")

    assert done.exit_code == 2
    assert "xx: there are no messages in this language" in done.stderr
    assert "en, de, el, fr" in done.stderr
    assert not list(folder.glob("runs/*/report/*"))
