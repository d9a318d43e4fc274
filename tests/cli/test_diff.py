"""``compliance diff`` and ``compliance gate``, and the files that run them in CI."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from compliance.cli.main import main
from compliance.packs import read_pack, zip_pack
from compliance.records.comparison import Gate, PackDiff
from tests.assessment.compared import CELLS, POSITIVE, build_world, moved, world_items
from tests.packs.example import example_plan

ROOT = Path(__file__).parent.parent.parent
CI = ROOT / "examples" / "ci"


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A pack, and its successor in which half of the Japanese positives score lower."""
    table = world_items()
    last = table["group"].str[-1].astype(str)
    halved = (table["language"] == "ja") & (table["label"] == POSITIVE) & last.isin(list("02468"))
    old = build_world(tmp_path_factory.mktemp("old"), table)
    with read_pack(old) as opened:
        parent = opened.as_parent()
    new = build_world(
        tmp_path_factory.mktemp("new"), moved(table, halved, -3.0), parent=parent, seed=8
    )
    return old, new


def test_a_person_reads_what_changed(packs):
    found = run("diff", *packs)

    assert found.exit_code == 0
    text = found.stdout
    assert "the new one names the old one as its parent" in text
    assert "version 1.1.0: measurements changed (plan.seed, " in text
    assert "\nsubject: the same\n" in text and "\n  seed: 7 -> 8\n" in text
    assert "numbers on the items of both: 4 worse, 0 better, 7 no change shown" in text
    (line,) = (line for line in text.splitlines() if "-> 0.4000" in line and "0.8000 ->" in line)
    assert "deception/ja/text/plain  0.8000 -> 0.4000  -0.4000 (" in line
    assert line.endswith("p < 0.001  worse  [40 items, 40 groups]")
    assert "not checked: the issuer" in found.stderr


def test_json_is_the_record(packs):
    found = run("diff", *packs, "--json")

    diff = PackDiff.model_validate_json(found.stdout)
    assert (diff.old.pack_id, diff.new.pack_id, diff.follows) == ("demo-1.0.0", "demo-1.1.0", True)
    assert len(diff.comparison.measures) == 11


def test_zips_give_what_folders_give(packs, tmp_path):
    zips = [zip_pack(pack, tmp_path / f"{pack.name}.zip") for pack in packs]

    assert run("diff", *zips, "--json").stdout == run("diff", *packs, "--json").stdout


@pytest.mark.parametrize("command", ["diff", "gate"])
def test_a_damaged_pack_is_refused(packs, tmp_path, command):
    broken = Path(shutil.copytree(packs[1], tmp_path / packs[1].name))
    path = broken / "data" / "observations" / "confirm" / "scores.csv"
    path.write_bytes(path.read_bytes().replace(b"deception,probe,0.", b"deception,probe,1.", 1))
    words = (packs[0], broken) if command == "diff" else (broken, "--against", packs[0])

    found = run(command, *words)

    assert found.exit_code == 1 and found.stdout == ""
    assert "confirm/scores.csv" in found.stderr and "compliance verify" in found.stderr


@pytest.mark.parametrize("command", ["diff", "gate"])
def test_where_there_is_no_pack_nobody_can_tell(packs, tmp_path, command):
    words = (tmp_path / "x", packs[0]) if command == "diff" else (packs[0], "--against", tmp_path)

    found = run(command, *words)

    assert found.exit_code == 2 and found.stdout == ""


def test_a_gate_prints_each_violation_and_fails(packs):
    found = run("gate", packs[1], "--against", packs[0])

    assert found.exit_code == 1
    lines = found.stdout.splitlines()
    assert sum(line.startswith("worse: deception/ja/text/plain ") for line in lines) == 4
    assert lines[-1] == (
        "demo-1.1.0 against demo-1.0.0: 11 numbers held; worse than tolerated: 4 violations"
    )
    assert not Gate.model_validate_json(run("gate", packs[1], "--against", packs[0], "--json")
                                        .stdout).passed  # fmt: skip


def test_a_gate_passes_within_declared_tolerances(packs, tmp_path):
    path = tmp_path / "tolerances.yaml"
    path.write_text("measures:\n  sensitivity: {allowed: 0.4}\n", encoding="utf-8")

    found = run("gate", packs[1], "--against", packs[0], "--tolerances", path)

    assert found.exit_code == 0
    assert "not held against any tolerance: auroc-hard, auroc-benign, fpr" in found.stdout
    assert run("gate", packs[0], "--against", packs[0]).exit_code == 0


def test_a_gate_that_compares_nothing_cannot_tell(tmp_path):
    table = world_items(groups=12, benign=20)
    sides = [build_world(tmp_path / c.language, table, cells=(c,)) for c in CELLS]
    path = tmp_path / "tolerances.yaml"
    path.write_text("not_comparable: ignore\n", encoding="utf-8")

    found = run("gate", sides[1], "--against", sides[0], "--tolerances", path)

    assert found.exit_code == 2 and "could not tell" in found.stdout


def test_a_mistake_in_the_tolerances_is_refused_with_its_line(packs, tmp_path):
    path = tmp_path / "tolerances.yaml"
    path.write_text("mode: point\nmeasure: {}\n", encoding="utf-8")

    found = run("gate", packs[1], "--against", packs[0], "--tolerances", path)

    assert found.exit_code == 2
    assert "tolerances.yaml, line 2: unknown key 'measure'" in found.stderr


def test_hostile_words_cannot_move_the_cursor(packs, tmp_path):
    table = world_items(groups=12, benign=20)
    plan = example_plan()
    model = plan.model.model_copy(update={"name": "\x1b[2Jtiny\u202e"})
    cell = CELLS[0].model_copy(update={"concept": "\x1b[31mlies"})
    other = build_world(tmp_path, table, model=model, cells=(cell,))

    texts = [run("diff", packs[0], other).stdout, run("gate", other, "--against", packs[0]).stdout]

    assert "model.name: tiny -> \\x1b[2Jtiny\\u202e" in texts[0] and "\\x1b[31mlies/" in texts[0]
    assert not any(mark in text for text in texts for mark in ("\x1b", "\u202e"))


# Files for CI


def steps(name: str) -> list[str]:
    """The commands of a file, in their order, without the installation."""
    file = yaml.safe_load((CI / name).read_text(encoding="utf-8"))
    if name.startswith("github"):
        found = [step["run"] for step in file["jobs"]["gate"]["steps"] if "run" in step]
    else:
        found = file["evidence"]["before_script"] + file["evidence"]["script"]
    assert found[0].startswith("pip install ")
    return found[1:]


def bash(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", command],
        cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True,
    )  # fmt: skip


def test_both_files_run_the_same_commands():
    assert steps("github-actions.yml") == steps("gitlab-ci.yml")
    assert [step.split()[1] for step in steps("gitlab-ci.yml")] == ["audit", "diff", "gate"]


def test_the_commands_of_the_files_pass_where_nothing_changed(finished_audit, tmp_path):
    folder = Path(shutil.copytree(finished_audit, tmp_path / "repository"))
    shutil.copytree(next((folder / "packs").iterdir()), folder / "accepted")
    shutil.copy(CI / "tolerances.yaml", folder)

    for step in steps("github-actions.yml"):
        ran = bash(step, folder)
        assert ran.returncode == 0, (step, ran.stdout, ran.stderr)

    assert "no change shown" in (folder / "changes.txt").read_text(encoding="utf-8")


def test_the_commands_of_the_files_fail_a_pack_that_is_worse(packs, tmp_path):
    shutil.copytree(packs[0], tmp_path / "accepted")
    shutil.copytree(packs[1], tmp_path / "packs" / packs[1].name)
    shutil.copy(CI / "tolerances.yaml", tmp_path)
    (tmp_path / "pack.txt").write_text(f"packs/{packs[1].name}\n", encoding="utf-8")
    _, diff, gate = steps("gitlab-ci.yml")

    assert bash(diff, tmp_path).returncode == 0
    ran = bash(gate, tmp_path)

    assert ran.returncode == 1
    assert "worse: deception/ja/text/plain sensitivity: fell by 0.4000, allowed 0.05" in ran.stdout
    assert json.loads(bash(f"{gate} --json", tmp_path).stdout)["passed"] is False
