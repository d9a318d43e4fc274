"""The benchmark of the monitor measures what it says it measures."""

from pathlib import Path

from benchmarks.monitoring import PROMPT, Served, measure, prompt
from compliance.probes.sae import load_sae
from compliance.records.audit import SaeRef
from tests.probes.tiny import save_tiny_sae, tiny_model, tiny_tokenizer


def served(folder: Path) -> Served:
    save_tiny_sae(folder / "sae")
    sae = load_sae(SaeRef(path="sae"), folder)
    return Served("tiny", tiny_model("llama"), tiny_tokenizer(), sae)


def test_the_prompt_has_as_many_tokens_as_are_said(tmp_path):
    _, inputs = prompt(served(tmp_path))

    assert inputs["input_ids"].shape == (1, PROMPT)


def test_every_clock_is_compared_for_prefill_and_generation(tmp_path):
    table = measure(served(tmp_path), 1)

    assert [row[0] for row in table.rows] == ["prefill"] * 4 + ["generation"] * 4
    inside = [row for row in table.rows if row[1] == "inside the hooks"]
    for _, _, _, spent, ratio in inside:
        assert float(spent) > 0 and float(ratio) > 1
    generation = next(row for row in table.rows if row[:2] == ("generation", "wall"))
    assert float(generation[2]) > float(table.rows[0][2])
