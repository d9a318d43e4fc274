"""A pack of a tiny model, made once, and the model as a server would load it."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Served:
    """A tiny audit that went the whole way, and its model."""

    folder: Path
    pack: Path
    model: Any
    tokenizer: Any
    items: dict[str, Any]
    """Items of the suite by id."""

    scores: dict[tuple[str, str], float]
    """What the audit's engine stored of the confirm split, by item and concept."""

    def attach(self, log: object, **options: Any) -> Any:
        from compliance.monitor import Monitor

        pack = options.pop("pack", self.pack)
        given = {"saes": [self.folder / "sae"], "tokenizer": self.tokenizer, "log": log} | options
        return Monitor.attach(self.model, pack, **given)

    def inputs(self, words: str = "hello zz there") -> dict[str, Any]:
        """A user's turn as a server gives it to the model."""
        found = self.tokenizer.apply_chat_template(
            said(words), add_generation_prompt=True, return_dict=True, return_tensors="pt"
        )
        return {name: found[name] for name in ("input_ids", "attention_mask")}


def said(words: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": words}]


@pytest.fixture(scope="session")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny audit; nobody may change it."""
    from compliance import workflow
    from compliance.reports import render
    from tests.small_pdf import small_pdf
    from tests.tiny_audit import write_audit

    path = write_audit(tmp_path_factory.mktemp("audited"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render, "render_pdf", lambda *_, **__: small_pdf())
        workflow.audit(path)
    return path.parent


@pytest.fixture
def served(audited: Path) -> Served:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from compliance.records.suite import Item

    pack = next((audited / "packs").iterdir())
    with open(pack / "data/observations/confirm/scores.csv", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["scorer"] == "probe"]
    lines = (audited / "suite" / "items.jsonl").read_text(encoding="utf-8").splitlines()
    items = [Item.model_validate_json(line) for line in lines]
    return Served(
        folder=audited,
        pack=pack,
        model=AutoModelForCausalLM.from_pretrained(audited / "model").eval(),
        tokenizer=AutoTokenizer.from_pretrained(audited / "model"),
        items={item.id: item for item in items},
        scores={(row["item"], row["concept"]): float(row["score"]) for row in rows},
    )
