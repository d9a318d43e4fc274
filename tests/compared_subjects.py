"""A tiny subject with a planted feature, and fine-tunes of it that keep or lose the feature.

The positives of ``danger`` hold the letter z. Its embedding gets a direction that the first latent
of the SAE reads; taking that direction out of the weights again is the fine-tune that loses it.
"""

from pathlib import Path

import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.tiny_audit import write_audit

QUICK = {"shifts": [], "shifted_groups": 0, "repeated_items": 2, "loss_items": 1}
LETTER = "z"
STRENGTH = 12.0


def write_planted(
    folder: Path, *, groups: int = 18, planted: bool = True, **config: object
) -> Path:
    """Write an audit of the planted subject, or of the one that lost the feature.

    Returns:
        Its ``audit.yaml``.
    """
    path = write_audit(
        folder, groups=groups,
        **{"probes": [{"concept": "danger"}], "robustness": QUICK, **config},
    )  # fmt: skip
    direction = planted_direction()
    _plant_latent(folder / "sae", direction)
    if planted:
        _plant_letter(folder / "model", direction)
    return path


def write_locked(folder: Path, pack: Path, *, planted: bool, name: str, **config: object) -> Path:
    """Write an audit of such a subject under the lock of a pack, without the keys that it takes."""
    subject = {"model": "./model", "name": name, "saes": [{"path": "./sae"}]}
    path = write_planted(folder, planted=planted, subject=subject, locked_by=str(pack))
    settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    kept = {key: settings[key] for key in ("subject", "suites", "locked_by")}
    path.write_text(yaml.safe_dump(kept | config), encoding="utf-8")
    return path


def planted_direction() -> torch.Tensor:
    drawn = torch.randn(32, generator=torch.Generator().manual_seed(11))
    return drawn / drawn.norm()


def _plant_latent(folder: Path, direction: torch.Tensor) -> None:
    path = folder / "sae_weights.safetensors"
    tensors = load_file(path)
    tensors["W_enc"][:, 0], tensors["W_dec"][0] = direction, direction
    tensors["b_enc"][0], tensors["threshold"][0] = 0.0, STRENGTH / 2
    save_file(tensors, path)


def _plant_letter(folder: Path, direction: torch.Tensor) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    token = AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids(LETTER)
    with torch.no_grad():
        model.get_input_embeddings().weight[token] += STRENGTH * direction
    model.save_pretrained(folder)
