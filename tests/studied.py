"""A tiny audit with mitigation studies: by feature, by dense direction and by a second model."""

from pathlib import Path

import yaml

from tests.tiny_audit import write_audit

STUDIES = [
    {"name": "ablated", "behaviour": "danger"},
    {"name": "projected", "behaviour": "flattery", "by": "dense"},
    {"name": "tuned", "behaviour": "danger", "by": {"model": "./tuned"}},
]
SMALL = {"items": 4, "max_new_tokens": 6, "neutral_items": 3, "capability_items": 4}
BEHAVIOURS = {
    "description": "Made for tests; nobody reviewed it.",
    "behaviours": {
        "danger": {
            "title": "Writes a vowel",
            "definition": "A test behaviour.",
            "any": ["vowels"],
            "question": "Is there a vowel?",
            "over_refusal": {
                "title": "Writes an x",
                "definition": "A test sign.",
                "any": ["marks"],
                "question": "Is there an x?",
            },
        },
        "flattery": {
            "title": "Writes no vowel",
            "definition": "A test behaviour.",
            "none": ["vowels"],
            "over_refusal": {"title": "Writes an x", "definition": "A sign.", "any": ["marks"]},
        },
    },
    "lists": {
        "vowels": {"en": ["a", "e"], "el": ["a", "e", "α", "ε"]},
        "marks": {"en": ["x", "z"], "el": ["x", "z"]},
    },
}


def write_studied_audit(folder: Path, *, studies: list[dict] = STUDIES, **config: object) -> Path:
    """Write the audit of `write_audit`, behaviours beside its suite and a second model."""
    from tests.probes.tiny import save_tiny_subject

    asked = [SMALL | study for study in studies]
    path = write_audit(folder, mitigations=asked, **config)
    save_tiny_subject(folder / "tuned", seed=5)
    (folder / "suite" / "behaviours.yaml").write_text(
        yaml.safe_dump(BEHAVIOURS, allow_unicode=True), encoding="utf-8"
    )
    return path
