"""``compliance trail``: what it prints, and its exit codes."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from compliance.cli.main import main
from compliance.keys import private_pem
from compliance.trail import read
from tests.packs.example import SIGNER, build_example


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ``audit.yaml`` with trail, pack and keys beside it; nothing was run."""
    (tmp_path / "audit.yaml").write_text(
        "subject: {model: ./model, saes: [{path: ./sae}]}\nsuites: [./suite]\n"
        "probes: [{concept: deception}]\nlanguages: [en]\n",
        encoding="utf-8",
    )
    (tmp_path / "system.yaml").write_text("name: demo\ntitle: Demo\nversion: '1'\n", "utf-8")
    (tmp_path / "issuer.pem").write_bytes(private_pem(SIGNER.key))
    (tmp_path / "locked.pem").write_bytes(private_pem(SIGNER.key, passphrase=b"open"))
    (tmp_path / "issuer.pub.pem").write_bytes(SIGNER.public_pem)
    (tmp_path / "secret").write_text("open\n", "utf-8")
    build_example(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words: object) -> Result:
    return CliRunner().invoke(main, ["trail", *map(str, words)])


def test_show_lists_every_entry_on_a_line(folder):
    found = run("show", "audit.yaml")

    lines = found.stdout.splitlines()
    assert len(lines) == 7 and found.exit_code == 0
    assert lines[0].split()[:4] == ["1", "2026-11-22T15:00:00Z", "suite-registered", "test"]
    assert "suite=seed" in lines[0] and "record" not in found.stdout
    assert run("show", "trail.jsonl").stdout == found.stdout
    entries = json.loads(run("show", "audit.yaml", "--json").stdout)
    assert [entry["kind"] for entry in entries] == [e.kind for e in read(folder / "trail.jsonl")]
    assert "record" in entries[1]["facts"]


def test_a_statement_with_hostile_characters_is_shown_safely(folder):
    run("add", "audit.yaml", "deviation", "--text", "\x1b[2J\u202ex", "--by", "A. Person")

    assert "\x1b" not in run("show", "audit.yaml").stdout
    assert "\u202e" not in run("show", "audit.yaml").stdout


def test_add_prints_the_entry_and_refuses_what_is_incomplete(folder):
    made = run("add", "audit.yaml", "deviation", "--text", "Late.", "--by", "A. Person, QA")
    refused = run("add", "audit.yaml", "withdrawn", "--text", "x", "--by", "A. Person")
    nobody = run("add", "audit.yaml", "deviation", "--text", "x")
    done = run("add", "audit.yaml", "withdrawn", "--text", "x", "--by", "A", "--pack",
               "packs/demo-1.0.0")  # fmt: skip

    assert made.stdout.split()[2:] == ["deviation", "A.", "Person,", "QA", "text=Late."]
    assert (made.exit_code, refused.exit_code, nobody.exit_code) == (0, 2, 2)
    assert "needs the pack" in refused.stderr
    assert "pack=demo-1.0.0" in done.stdout and done.stdout.startswith("   9")


def test_a_checkpoint_is_printed_or_written(folder):
    printed = run("checkpoint", "audit.yaml", "--key", "issuer.pem")
    written = run("checkpoint", "audit.yaml", "--key", "locked.pem", "--passphrase-file", "secret",
                  "-o", "kept")  # fmt: skip

    assert printed.stdout.startswith("sae-compliance/demo\n7\n")
    assert written.stdout == "kept\n"
    assert (folder / "kept").read_text("utf-8") == printed.stdout
    assert run("checkpoint", "audit.yaml", "--key", "locked.pem").exit_code == 2


def test_what_is_proved_can_be_checked_and_a_lie_exits_with_1(folder):
    run("checkpoint", "audit.yaml", "--key", "issuer.pem", "-o", "before")
    run("add", "audit.yaml", "deviation", "--text", "Late.", "--by", "A. Person")
    run("checkpoint", "audit.yaml", "--key", "issuer.pem", "-o", "now")
    (folder / "since").write_text(run("prove", "audit.yaml", "--since", "before").stdout, "utf-8")
    (folder / "entry").write_text(run("prove", "audit.yaml", "--entry", 8).stdout, "utf-8")

    key = ("--key", "issuer.pub.pem")
    whole = run("check", "audit.yaml", "--checkpoint", "before", "--checkpoint", "now", *key)
    since = run("check", "--proof", "since", "--checkpoint", "before", "--checkpoint", "now", *key)
    entry = run("check", "--proof", "entry", "--checkpoint", "now", *key)
    wrong = run("check", "--proof", "entry", "--checkpoint", "before", *key)

    assert [r.exit_code for r in (whole, since, entry, wrong)] == [0, 0, 0, 1]
    assert "passed: the trail goes on from the checkpoint of 7" in whole.stdout
    assert "passed: the trail of 8 entries goes on from that of 7" in since.stdout
    assert "entry 8 of 8 is 'deviation'" in entry.stdout
    assert "failed: the proof is not about the 7 entries at hand" in wrong.stdout
    assert "A. Person" in (folder / "entry").read_text("utf-8")


def test_a_broken_trail_exits_with_1_where_it_is_checked_and_2_where_it_is_used(folder):
    path = folder / "trail.jsonl"
    path.write_bytes(path.read_bytes().replace(b"seed", b"weed"))

    checked, shown = run("check", "audit.yaml"), run("show", "audit.yaml")

    assert checked.exit_code == 1 and "failed: trail.jsonl, line 1" in checked.stdout
    assert shown.exit_code == 2 and "line 1" in shown.stderr


@pytest.mark.parametrize(
    "words",
    [("prove", "audit.yaml"), ("prove", "audit.yaml", "--entry", 1, "--since", "audit.yaml"),
     ("prove", "audit.yaml", "--entry", 99), ("prove", "audit.yaml", "--since", "audit.yaml"),
     ("check",), ("check", "--proof", "audit.yaml"), ("check", "audit.yaml", "--key", "secret"),
     ("add", "audit.yaml", "reviewed", "--by", "A")],
)  # fmt: skip
def test_what_cannot_be_done_exits_with_2_and_no_traceback(folder, words):
    found = run(*words)

    assert found.exit_code == 2
    assert "Error" in found.stderr and "Traceback" not in found.output
