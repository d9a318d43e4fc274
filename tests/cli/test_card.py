"""``compliance card``: what it writes, and that it writes nothing when something is wrong."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from huggingface_hub import ModelCard

from compliance.cli.main import main
from compliance.keys import create_keys
from compliance.packs import zip_pack
from compliance.packs.integrity import verify_integrity

README = b"---\r\nlicense: mit\r\n---\r\n# Model\r\n\r\nno line end"


@pytest.fixture
def readme(tmp_path: Path) -> Path:
    path = tmp_path / "model" / "README.md"
    path.parent.mkdir()
    path.write_bytes(README)
    return path


def run(*words: object) -> Result:
    return CliRunner().invoke(main, ["card", *(str(word) for word in words)])


def results_of(readme: Path) -> Path:
    return readme.parent / ".eval_results" / "sae-compliance.yaml"


def untouched(readme: Path) -> bool:
    return readme.read_bytes() == README and list(readme.parent.iterdir()) == [readme]


def test_it_writes_section_metadata_and_results(finished_audit, finished_pack, readme):
    found = run(finished_pack, readme, "--key", finished_audit / "keys" / "issuer.pub.pem")

    assert found.exit_code == 0, found.output
    assert found.stdout == f"{readme}: written\n{results_of(readme)}: written\n"
    text = readme.read_bytes().decode()
    assert verify_integrity(finished_pack).root_digest in text
    assert "with a key that was given from outside" in text
    assert "not checked: the issuer" not in found.stderr
    assert len(ModelCard(text).data.eval_results) > 0


def test_a_second_time_changes_nothing_and_removing_gives_the_readme_back(finished_pack, readme):
    run(finished_pack, readme)
    once = readme.read_bytes(), results_of(readme).read_bytes()

    again = run(finished_pack, readme)

    assert again.stdout == f"{readme}: unchanged\n{results_of(readme)}: unchanged\n"
    assert (readme.read_bytes(), results_of(readme).read_bytes()) == once

    removed = run(finished_pack, readme, "--remove")

    assert removed.exit_code == 0
    assert removed.stdout == f"{readme}: written\n{results_of(readme)}: deleted\n"
    assert untouched(readme)
    assert run("gone", readme, "--remove").stdout == f"{readme}: unchanged\n"


def test_removing_keeps_the_results_of_others(finished_pack, readme):
    run(finished_pack, readme)
    other = results_of(readme).with_name("other.yaml")
    other.write_text("[]\n")

    removed = run(finished_pack, readme, "--remove")

    assert removed.exit_code == 0
    assert readme.read_bytes() == README
    assert list(other.parent.iterdir()) == [other]


def test_without_a_key_card_and_command_say_so(finished_pack, readme):
    found = run(finished_pack, readme)

    assert "not checked: the issuer" in found.stderr
    assert b"whose key that is was not looked at" in readme.read_bytes()


def test_a_zip_gives_the_same_card(finished_pack, readme, tmp_path):
    run(finished_pack, readme)
    once = readme.read_bytes()
    zipped = tmp_path / f"{finished_pack.name}.zip"
    zip_pack(finished_pack, zipped)

    found = run(zipped, readme)

    assert found.exit_code == 0, found.output
    assert readme.read_bytes() == once


def test_a_dry_run_shows_the_change_and_writes_nothing(finished_pack, readme):
    found = run(finished_pack, readme, "--dry-run")

    assert found.exit_code == 0
    assert untouched(readme)
    lines = found.stdout.splitlines()
    assert lines[:2] == [f"--- {readme}", f"+++ {readme}"]
    assert "+<!-- sae-compliance:begin -->" in lines
    assert "--- /dev/null" in lines
    assert "\\ No newline at end of file" in lines
    assert not any(line.startswith("-") for line in lines[2:] if line[:3] != "---"
                   and line != "-no line end")  # fmt: skip


def test_a_damaged_pack_is_refused_and_nothing_is_written(finished_pack, readme, tmp_path):
    copy = Path(shutil.copytree(finished_pack, tmp_path / finished_pack.name))
    (copy / "data" / "report.html").write_bytes(b"<!doctype html>")

    found = run(copy, readme)

    assert found.exit_code == 1
    assert "data/report.html" in found.stderr
    assert "nothing was written" in found.stderr
    assert untouched(readme)


def test_another_issuers_key_is_refused_and_nothing_is_written(finished_pack, readme, tmp_path):
    create_keys(tmp_path / "k.pem", tmp_path / "k.pub.pem")

    found = run(finished_pack, readme, "--key", tmp_path / "k.pub.pem")

    assert found.exit_code == 1
    assert untouched(readme)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("---\nmodel-index: []\n---\n", "front matter cannot be edited"),
        ("<!-- sae-compliance:begin -->\n", "markers in these lines: 1"),
    ],
)
def test_a_readme_that_cannot_be_edited_safely_is_refused(finished_pack, readme, text, said):
    readme.write_text(text)

    found = run(finished_pack, readme)

    assert found.exit_code == 2
    assert said in found.stderr
    assert "Hint: " in found.stderr
    assert readme.read_text() == text
    assert not results_of(readme).parent.exists()


@pytest.mark.parametrize("words", [(), ("--remove",)])
def test_results_that_somebody_else_wrote_are_refused(finished_pack, readme, words):
    results_of(readme).parent.mkdir()
    results_of(readme).write_text("- value: 1\n")

    found = run(finished_pack, readme, *words)

    assert found.exit_code == 2
    assert "was not written by this software" in found.stderr
    assert readme.read_bytes() == README
    assert results_of(readme).read_text() == "- value: 1\n"


def test_a_place_of_the_pack_is_stated(finished_pack, readme):
    run(finished_pack, readme, "--url", "https://example.org/packs/demo.zip")

    assert b"<https://example.org/packs/demo.zip>" in readme.read_bytes()
    sources = {r.source_url for r in ModelCard(readme.read_bytes().decode()).data.eval_results}
    assert sources == {"https://example.org/packs/demo.zip"}


def test_no_pack_and_contradicting_options_could_not_tell(finished_pack, readme, tmp_path):
    assert run(tmp_path / "nothing", readme).exit_code == 2
    assert run(finished_pack, readme, "--remove", "--url", "https://a.b").exit_code == 2
    assert run(finished_pack, readme, "--url", "p.zip").exit_code == 2
    assert untouched(readme)
