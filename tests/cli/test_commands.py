"""What each command prints, and its exit code: 0 yes, 1 no, 2 could not tell."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from compliance.cli.main import COMMANDS, main


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name):
    found = run(name, "--help")

    assert found.exit_code == 0
    assert "Usage:" in found.stdout


def test_an_unknown_command_could_not_tell():
    assert run("certify").exit_code == 2


def test_verify_says_yes_with_the_issuers_key(finished_audit, finished_pack):
    found = run("verify", finished_pack, "--key", finished_audit / "keys" / "issuer.pub.pem")

    assert found.exit_code == 0
    assert "follow from the observations" in found.stdout


@pytest.mark.parametrize(
    "path",
    [
        "data/report.html",
        "data/report.pdf",
        "data/evidence.json",
        "data/items.jsonl",
        "data/trail.jsonl",
        "data/observations/confirm/scores.csv",
        "data/law/provisions.yaml",
        "manifest-sha256.txt",
        "attestations/statement.dsse.json",
    ],
)
def test_verify_says_no_after_one_changed_byte_and_names_the_file(finished_pack, tmp_path, path):
    copy = Path(shutil.copytree(finished_pack, tmp_path / "copy"))
    data = (copy / path).read_bytes()
    middle = len(data) // 2
    (copy / path).write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])

    found = run("verify", copy, "--level", "integrity")

    assert found.exit_code == 1
    assert path in found.stdout


def test_verify_prints_its_record_as_json(finished_pack):
    found = run("verify", finished_pack, "--json")

    record = json.loads(found.stdout)
    assert record["level"] == "recompute"
    assert record["root_digest"].startswith("sha256:")


def test_another_key_is_not_the_issuers(finished_pack, tmp_path):
    from compliance.keys import create_keys

    create_keys(tmp_path / "k.pem", tmp_path / "k.pub.pem")

    found = run("verify", finished_pack, "--level", "integrity", "--key", tmp_path / "k.pub.pem")

    assert found.exit_code == 1


def test_law_shows_wording_dates_and_limits():
    found = run("law", "13(3)(b)(ii)")

    assert found.exit_code == 0
    assert "art13.3.b.ii" in found.stdout
    assert "2027-12-02" in found.stdout
    assert "2028-08-02" in found.stdout
    assert "it must not claim" in found.stdout
    assert run("law", "art13.3.b.ii").stdout == found.stdout


@pytest.mark.parametrize("wrong", ["13(3)(g)", "13(2)(c)"])
def test_provisions_that_do_not_exist_are_refused(wrong):
    found = run("law", wrong)

    assert found.exit_code == 2
    assert "no such provision" in found.stderr


def test_init_gives_files_that_can_be_used_and_gaps_lists_what_is_missing(tmp_path):
    made = run("init", tmp_path / "ours", "--name", "our-system")
    missing = run("gaps", tmp_path / "ours")
    checked = run("suites", "check", tmp_path / "ours" / "suite")

    assert made.exit_code == 0
    assert missing.exit_code == 1
    assert missing.stdout.splitlines()[-1] == "26 not declared"
    assert checked.exit_code == 0, checked.output


def test_gaps_close_when_they_are_answered_or_do_not_apply(tmp_path):
    run("init", tmp_path / "ours")
    path = tmp_path / "ours" / "system.yaml"
    text = path.read_text(encoding="utf-8")
    text = text.replace('text: ""', 'not_applicable: "not placed on the market"', 1)
    path.write_text(text.replace('text: ""', 'text: "said"'), encoding="utf-8")

    found = run("gaps", tmp_path / "ours")

    assert found.exit_code == 0
    assert found.stdout == "0 not declared\n"


def test_init_never_overwrites(tmp_path):
    run("init", tmp_path / "ours")

    found = run("init", tmp_path / "ours")

    assert found.exit_code == 2
    assert "never overwritten" in found.stderr


def test_suites_lists_what_ships():
    found = run("suites", "list")

    assert found.exit_code == 0
    assert found.stdout.startswith("pictures ")
    assert "\nseed " in found.stdout
    assert "least: shown to exceed 0.5 with 80 % power" in found.stdout
    records = run("suites", "list", "--json").stdout
    first, end = json.JSONDecoder().raw_decode(records)
    assert (first["name"], json.loads(records[end:])["name"]) == ("pictures", "seed")


def test_saes_lists_every_release_of_the_registry():
    found = run("saes", "--json")

    releases = json.loads(found.stdout)
    assert len(releases) >= 100
    assert all(r["resolved"] or r["reason"] for r in releases)


def test_the_demo_says_what_is_missing_where_there_is_no_model(tmp_path, monkeypatch):
    from compliance.workflow import starting

    (tmp_path / "checkout" / "templates").mkdir(parents=True)
    monkeypatch.setattr(starting, "data_dir", lambda name: tmp_path / "checkout" / name)

    found = run("demo", "--to", tmp_path / "demo")

    assert found.exit_code == 2
    assert "clone the repository" in found.stderr
