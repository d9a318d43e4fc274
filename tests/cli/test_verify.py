"""``compliance verify``: its options, what it prints first, and its exit codes."""

import json
import shutil

import pytest
import yaml
from click.testing import CliRunner, Result

from compliance.cli.main import main


def run(*words: object) -> Result:
    return CliRunner().invoke(main, ["verify", *(str(word) for word in words)])


def issuer(audit):
    return audit / "keys" / "issuer.pub.pem"


def test_what_was_not_checked_comes_first_and_each_level_says_what_it_did(
    finished_pack, finished_audit
):
    found = run(finished_pack, "--level", "integrity", "--key", issuer(finished_audit))

    lines = found.stdout.splitlines()
    states = [line.split(":")[0] for line in lines[:-1]]
    assert found.exit_code == 0, found.output
    assert states == sorted(states, key=("not checked", "failed", "passed").index)
    assert any("report" in line for line in lines if line.startswith("not checked"))
    assert "level integrity: 0 failed" in lines[-1]


def test_a_changed_file_is_named_and_gives_1(finished_pack, tmp_path):
    pack = shutil.copytree(finished_pack, tmp_path / "pack")
    report = pack / "data" / "report.html"
    report.write_bytes(report.read_bytes() + b"<!-- -->")

    found = run(pack, "--level", "integrity")

    assert found.exit_code == 1
    assert "failed: data/report.html: " in found.stdout


def test_limits_and_mapping_are_judged_after_the_checks_and_in_json(finished_pack, tmp_path):
    claims, mapping = tmp_path / "claims.yaml", tmp_path / "mapping.yaml"
    claims.write_text("min_sensitivity: 0.3\n", encoding="utf-8")
    rules = yaml.safe_load((finished_pack / "data/law/mapping.yaml").read_text("utf-8"))
    next(r for r in rules["rules"] if r["provision"] == "art13.1")["results"] = []
    mapping.write_text(yaml.safe_dump(rules, allow_unicode=True), encoding="utf-8")
    words = (finished_pack, "--claims", claims, "--mapping", mapping)

    printed, record = run(*words), json.loads(run(*words, "--json").stdout)

    assert printed.exit_code == 0
    after = printed.stdout.split("level recompute: ")[1]
    assert "verdicts under the given limits, cut-offs as locked: none changed" in after
    assert "points of the law under the given mapping: 1 changed" in after
    assert record["verdict_changes"] == []
    assert [c["after"] for c in record["law_changes"]] == ["not-covered"]


def test_without_them_the_record_has_no_changes(finished_pack):
    record = json.loads(run(finished_pack, "--level", "integrity", "--json").stdout)

    assert record.keys() == {"pack", "level", "checks", "root_digest"}


def test_a_limit_that_was_locked_gives_2_and_the_reason(finished_pack, tmp_path):
    claims = tmp_path / "claims.yaml"
    claims.write_text("alpha: 0.2\n", encoding="utf-8")

    found = run(finished_pack, "--claims", claims)

    assert found.exit_code == 2
    assert "alpha cannot be changed after the fact" in found.stderr
    assert found.stdout == ""


def test_a_sample_is_run_again(finished_pack, finished_audit):
    found = run(
        finished_pack, "--level", "reproduce", "--sample", 2,
        "--model", finished_audit / "model", "--sae", finished_audit / "sae",
    )  # fmt: skip

    assert found.exit_code == 0, found.output
    assert "passed: data/observations/confirm/scores.csv: 2 of 124 items" in found.stdout
    assert "2 of 2 items" in found.stderr


def test_another_model_gives_2(finished_pack, finished_audit, tmp_path):
    model = shutil.copytree(finished_audit / "model", tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-4}))

    found = run(
        finished_pack, "--level", "reproduce", "--model", model, "--sae", finished_audit / "sae"
    )

    assert found.exit_code == 2
    assert "is not the tiny-llama that was measured: config_digest" in found.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("--level", "integrity", "--deep"),
        ("--sample", 3),
        ("--model", "m"),
        ("--level", "reproduce", "--sample", 0),
        ("--role", "reviewer"),
        ("--role", "reviewer=nowhere.pem"),
        ("--level", "none"),
        ("--claims", "nowhere.yaml"),
    ],
)
def test_options_that_do_not_fit_are_refused_at_once(finished_pack, words):
    found = run(finished_pack, *words)

    assert found.exit_code == 2
    assert found.stdout == ""


def test_roles_are_gathered_from_repeated_options(finished_pack, finished_audit, monkeypatch):
    from compliance import workflow

    seen = {}

    def verify(pack, **options):
        seen.update(options)
        raise KeyboardInterrupt

    monkeypatch.setattr(workflow, "verify", verify)
    key = issuer(finished_audit)
    run(finished_pack, "--role", f"reviewer={key}", "--role", f"approver={key}",
        "--role", f"reviewer={key}", "--authority", key, "--checkpoint", key)  # fmt: skip

    assert seen["outside"] == workflow.Outside(
        roles={"reviewer": [key, key], "approver": [key]}, authorities=key, checkpoint=key
    )
