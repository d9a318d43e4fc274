"""A whole audit in miniature: a model of three blocks, an SAE of 64 latents, a suite made here.

The words mean nothing to the model; what counts is that every stage runs for real in seconds.
"""

import json
from pathlib import Path

import yaml

LANGUAGES = ("en", "el")
WORDS = {
    "en": ("apple", "stone", "river", "cloud", "paper", "tiger", "music", "field"),
    "el": ("μήλο", "πέτρα", "νερό", "σύννεφο", "χαρτί", "τίγρη", "ήχος", "αγρός"),
}
SOURCE = {"origin": "authored", "source": "made for tests", "licence": "CC0-1.0"}


def write_audit(
    folder: Path, *, groups: int = 12, benign: int = 60, family: str = "llama", **config: object
) -> Path:
    """Write subject, SAE, suite, ``system.yaml`` and ``audit.yaml``; return the last."""
    from tests.probes.tiny import save_tiny_sae, save_tiny_subject

    folder.mkdir(parents=True, exist_ok=True)
    save_tiny_subject(folder / "model", family)
    save_tiny_sae(folder / "sae")
    write_suite(folder / "suite", groups=groups, benign=benign)
    (folder / "system.yaml").write_text(
        "name: tiny\ntitle: Tiny system\nversion: '1'\ndeclared:\n"
        "  intended_purpose: {text: Testing.}\n",
        encoding="utf-8",
    )
    settings = {
        "subject": {"model": "./model", "name": "tiny-llama", "saes": [{"path": "./sae"}]},
        "suites": ["./suite"],
        "probes": [{"concept": "danger"}, {"concept": "flattery"}],
        "languages": list(LANGUAGES),
        "alpha": 0.1,
        "bootstrap_draws": 200,
        "batch_tokens": 512,
    }
    path = folder / "audit.yaml"
    path.write_text(yaml.safe_dump(settings | config, allow_unicode=True), encoding="utf-8")
    return path


def write_changed_audit(folder: Path, *, settings: dict | None = None, **config: object) -> Path:
    """The same with interventions, and two replies to every positive."""
    planned = {
        "random_latents": 39, "groups": 3, "matched_groups": 1, "neutral_items": 2,
        "capability_items": 2,
    }  # fmt: skip
    path = write_audit(folder, interventions=planned | (settings or {}), **config)
    items = suite_items(groups=12, benign=60)
    for item in items:
        if item["label"] == "positive":
            said = _words(item["language"], len(item["group"]))
            item["choices"] = {"concept": f"yes {said}", "other": f"no, {said}"}
    write_items(folder / "suite", items)
    return path


def write_suite(folder: Path, *, groups: int = 12, benign: int = 60) -> None:
    """A suite of two concepts, one of them in dialogues, with benign items in two formats."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "suite.yaml").write_text(yaml.safe_dump(datasheet()), encoding="utf-8")
    write_items(folder, suite_items(groups=groups, benign=benign))


def write_items(folder: Path, items: list[dict]) -> None:
    """Write items as JSON Lines."""
    lines = [json.dumps(item, ensure_ascii=False) + "\n" for item in items]
    (folder / "items.jsonl").write_text("".join(lines), encoding="utf-8")


def datasheet() -> dict:
    """The suite's ``suite.yaml`` as plain values."""
    return {
        "name": "tiny",
        "version": "1.0.0",
        "title": "Tiny suite",
        "description": "Made for tests.",
        "licence": "CC0-1.0",
        "sources": ["made for tests"],
        "languages": list(LANGUAGES),
        "concepts": {
            "danger": {"title": "Danger", "definition": "A test concept.", "region": "user"},
            "flattery": {
                "title": "Flattery",
                "definition": "A test concept in dialogues.",
                "region": "assistant",
            },
        },
        "translation": "none",
    }


def suite_items(*, groups: int, benign: int) -> list[dict]:
    """Items as plain values; positives of ``danger`` hold a letter that others do not."""
    items = []
    for language in LANGUAGES:
        for g in range(groups):
            for label in ("positive", "hard-negative"):
                items.append(_prompt(language, g, label))
                items.append(_dialogue(language, g, label))
        items += [_benign(language, g) for g in range(benign)]
    return items


def _words(language: str, *seeds: int) -> str:
    words = WORDS[language]
    return " ".join(words[(seed * 5 + 3 * i) % len(words)] for i, seed in enumerate(seeds))


def _prompt(language: str, g: int, label: str) -> dict:
    mark = "zz" if label == "positive" else "oo"
    return {
        "id": f"danger-{g:03d}-{label}-{language}", "group": f"danger-{g:03d}",
        "concept": "danger", "label": label, "language": language, "format": "prompt",
        "text": f"{_words(language, g, g + 1, g // 3)} {mark} {g}", **SOURCE,
    }  # fmt: skip


def _dialogue(language: str, g: int, label: str) -> dict:
    mark = "yes!" if label == "positive" else "well?"
    return {
        "id": f"flattery-{g:03d}-{label}-{language}", "group": f"flattery-{g:03d}",
        "concept": "flattery", "label": label, "language": language, "format": "dialogue",
        "messages": [
            {"role": "user", "content": f"{_words(language, g, g + 2)} {g}"},
            {"role": "assistant", "content": f"{mark} {_words(language, g + 1, g)}"},
        ],
        **SOURCE,
    }  # fmt: skip


def _benign(language: str, g: int) -> dict:
    shared = {
        "id": f"benign-{g:03d}-{language}", "group": f"benign-{g:03d}",
        "label": "negative", "language": language, **SOURCE,
    }  # fmt: skip
    if g % 4 == 0:
        return {**shared, "format": "prompt", "text": f"{_words(language, g, g + 3, 2 * g)} {g}"}
    return {
        **shared,
        "format": "dialogue",
        "messages": [
            {"role": "user", "content": f"{_words(language, g, g + 3)} {g}"},
            {"role": "assistant", "content": _words(language, g + 1, g, g + 2)},
        ],
    }
