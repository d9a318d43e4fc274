"""What a user gets wrong: one message that says what, where and what next; exit code 2; no loss.

Each case changes one thing of an audit that would otherwise run.
"""

import errno
import json
import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from compliance.cli.main import main
from tests.tiny_audit import suite_items, write_audit, write_items


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_audit(tmp_path_factory.mktemp("original")).parent


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "audit"))


def run(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [*(words or ("plan",)), str(folder / "audit.yaml")])


def configure(**changes: object):
    """A mistake in audit.yaml; ``subject__model`` stands for a nested key."""

    def mistake(folder: Path) -> None:
        path = folder / "audit.yaml"
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        for name, value in changes.items():
            *parents, last = name.split("__")
            place = config
            for parent in parents:
                place = place[parent]
            place[last] = value
        path.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")

    return mistake


def items(change):
    """A mistake in the suite's items."""

    def mistake(folder: Path) -> None:
        found = suite_items(groups=12, benign=60)
        changed = change(found)
        write_items(folder / "suite", found if changed is None else changed)

    return mistake


def keep(condition):
    return items(lambda found: [i for i in found if condition(i)])


def sae_config(**changes: object):
    def mistake(folder: Path) -> None:
        path = folder / "sae" / "cfg.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        for name, value in changes.items():
            if name in config:
                config[name] = value
            else:
                config["metadata"][name] = value
        path.write_text(json.dumps(config), encoding="utf-8")

    return mistake


def truncate(name: str):
    def mistake(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])

    return mistake


def pickle(folder: Path) -> None:
    (folder / "model" / "model.safetensors").rename(folder / "model" / "pytorch_model.bin")


def other_width(folder: Path) -> None:
    from tests.probes.tiny import save_tiny_sae

    shutil.rmtree(folder / "sae")
    save_tiny_sae(folder / "sae", d_in=16)


def remove(*names: str):
    def mistake(folder: Path) -> None:
        for name in names:
            for path in folder.glob(name):
                path.unlink()

    return mistake


MISTAKES = {
    "unknown key": (configure(langauges=["en"]), "unknown key 'langauges'"),
    "missing key": (
        lambda folder: (folder / "audit.yaml").write_text("suites: [./suite]\n", "utf-8"),
        "key 'subject' is missing",
    ),
    "missing suite": (configure(suites=["./elsewhere"]), "no such folder"),
    "missing model": (configure(subject__model="./elsewhere"), "elsewhere"),
    "missing SAE": (configure(subject__saes=[{"path": "./elsewhere"}]), "elsewhere"),
    "hub id without revision": (configure(subject__model="someone/model"), "revision"),
    "wrong language tag": (configure(languages=["en", "jp"]), "'jp' is not a BCP 47"),
    "reference not among languages": (configure(languages=["el"]), "'en' is not among"),
    "concept without a suite": (configure(probes=[{"concept": "greed"}]), "concept 'greed'"),
    "concept twice": (
        configure(probes=[{"concept": "danger"}, {"concept": "danger"}]),
        "may appear once",
    ),
    "feature that the SAE lacks": (
        configure(probes=[{"concept": "danger", "features": [64]}]),
        "latent 64 is not in the SAE",
    ),
    "empty suite": (keep(lambda i: False), "holds no items"),
    "one-sided labels": (keep(lambda i: i["label"] != "positive"), "no positive items"),
    "one-sided in one language": (
        keep(lambda i: i["label"] != "positive" or i["language"] == "en"),
        "danger in el: no positive items",
    ),
    "duplicate ids": (items(lambda found: [*found, found[0]]), "appears more than once"),
    "group in two suites": (configure(suites=["./suite", "./suite"]), "is in two suites"),
    "nothing to discover from": (
        configure(subset={"groups_per_concept": 2, "benign_groups": 60}),
        "danger in en: 0 positive and 0 hard-negative items with region 'user' on discover",
    ),
    "too few random latents for the cells": (
        configure(languages=["en", "el", "de", "fr", "es", "it", "pt", "ru", "ja", "ko", "hi"]),
        "63 latents to compare a probe with at random, and the 11 cells of danger need 219",
    ),
    "one text in two groups": (
        items(lambda found: [*found, found[0] | {"id": "copy", "group": "copy"}]),
        "are the same input in en",
    ),
    "line break in a source": (
        items(lambda found: found[0].update(source="a\nb")),
        "line 1: source: found control character",
    ),
    "too few benign items": (configure(alpha=0.01), "alpha 0.01 needs 99"),
    "no benign items": (keep(lambda i: i["label"] != "negative"), "no benign items"),
    "no items for any cell": (configure(languages=["en", "ja"][:1], modalities=["image"]), None),
    "SAE of another width": (other_width, "reads 16 numbers"),
    "SAE of another layer": (sae_config(hook_name="blocks.9.hook_resid_post"), "blocks.9"),
    "hook that does not exist": (sae_config(hook_name="blocks.1.hook_resid_pst"), "hook_resid_pst"),
    "SAE that is not safetensors": (remove("sae/*.safetensors"), "sae"),
    "truncated SAE": (truncate("sae/sae_weights.safetensors"), "sae_weights.safetensors"),
    "truncated model": (truncate("model/model.safetensors"), "model.safetensors"),
    "pickled model": (pickle, "pickle"),
    "model without tokenizer": (remove("model/tokenizer*"), "tokenizer"),
    "model without config": (remove("model/config.json"), "config.json"),
    "system.yaml missing": (remove("system.yaml"), "system.yaml"),
}


@pytest.mark.parametrize("name", [n for n in MISTAKES if MISTAKES[n][1]])
def test_a_mistake_ends_in_one_message_and_exit_code_2(folder, name):
    mistake, message = MISTAKES[name]
    mistake(folder)

    found = run(folder, "audit")

    assert found.exit_code == 2, found.output
    assert message in found.stderr
    assert found.stderr.count("Error:") == 1
    assert "Hint:" in found.stderr
    assert "Traceback" not in found.output
    assert not (folder / "packs").exists()


def test_a_modality_without_items_is_planned_and_printed_as_not_covered(folder):
    configure(modalities=["text", "image"], languages=["en"])(folder)

    found = run(folder, "plan")

    assert found.exit_code == 0, found.output
    assert "planned 4 cells" in found.stdout


def test_no_cell_with_items_is_refused(folder):
    configure(languages=["en", "ru"], claims={"reference_language": "ru"})(folder)
    keep(lambda i: i["language"] == "el")(folder)

    found = run(folder, "plan")

    assert found.exit_code == 2
    assert "no planned cell has items" in found.stderr


def test_activations_that_are_not_numbers_are_named_with_their_hook(folder):
    import torch
    from safetensors.torch import load_file, save_file

    path = folder / "model" / "model.safetensors"
    weights = load_file(path)
    name = next(n for n in weights if "layers.1" in n and n.endswith("down_proj.weight"))
    weights[name] = torch.full_like(weights[name], float("nan"))
    save_file(weights, path, metadata={"format": "pt"})

    found = run(folder, "audit")

    assert found.exit_code == 2
    assert "blocks.1.hook_resid_post" in found.stderr
    assert "not finite" in found.stderr or "NaN" in found.stderr


def test_a_full_disk_ends_in_a_message_and_the_next_run_goes_on(folder, monkeypatch, no_report):
    from compliance.probes import engine

    written = engine.write_bytes
    calls = iter(range(1000))

    def full(path: Path, data: bytes) -> None:
        if next(calls) >= 2:
            with monkeypatch.context() as patched:
                patched.setattr("os.fsync", _no_space)
                written(path, data)
        written(path, data)

    monkeypatch.setattr(engine, "write_bytes", full)
    first = run(folder, "audit")
    monkeypatch.setattr(engine, "write_bytes", written)
    kept = sorted(folder.glob("runs/*/passes/search/*"))
    times = [path.stat().st_mtime_ns for path in kept]
    second = run(folder, "audit")

    assert first.exit_code == 2
    assert "no space left" in first.stderr
    assert len(kept) == 2
    assert second.exit_code == 0, second.output
    assert [path.stat().st_mtime_ns for path in kept] == times  # finished shards are not redone


def _no_space(descriptor: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_an_interrupted_run_says_how_to_go_on(folder, monkeypatch, no_report):
    from compliance.probes import engine

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(engine, "observe_batch", interrupt)
        first = run(folder, "audit")
    second = run(folder, "audit")

    assert first.exit_code == 2
    assert "run the same command again" in first.stderr
    assert second.exit_code == 0, second.output


def test_stages_out_of_order_say_which_comes_first(folder):
    for command, hint in (
        ("observe", "compliance plan"),
        ("lock", "compliance plan"),
        ("assess", "compliance plan"),
    ):
        found = run(folder, command)

        assert found.exit_code == 2
        assert hint in found.stderr


def test_a_subject_that_moved_since_the_plan_is_refused(folder):
    assert run(folder, "plan").exit_code == 0
    from tests.probes.tiny import save_tiny_subject

    shutil.rmtree(folder / "model")
    save_tiny_subject(folder / "model", seed=1)

    found = run(folder, "observe")

    assert found.exit_code == 2
    assert "what is here is not what was planned: plan.model.weights_digest" in found.stderr


def test_audit_yaml_that_changed_since_the_plan_is_refused(folder):
    assert run(folder, "plan").exit_code == 0
    configure(seed=1)(folder)

    found = run(folder, "observe")

    assert found.exit_code == 2
    assert "audit.yaml is not as it was" in found.stderr


def test_verify_of_what_is_no_pack_could_not_tell(tmp_path):
    found = CliRunner().invoke(main, ["verify", str(tmp_path)])

    assert found.exit_code == 2
    assert "Error:" in found.stderr
