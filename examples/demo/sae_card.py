"""Measures an SAE on held-out text and writes its card: no number that was not measured.

What is measured is the SAE as it lies on disk, after rounding, in float32 arithmetic on float32
activations of the subject; sums are float64.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from residuals import SINK_FACTOR, Progress, Subject, capture, keep
from texts import HELD_OUT_PERCENT, OWN, Stratum, shares, strata, windows


@dataclass(frozen=True)
class Fidelity:
    """What the SAE keeps of one stratum's held-out activations."""

    stratum: str
    tokens: int
    excluded: int
    ev: float
    ev_global: float
    l0_mean: float
    l0_median: float
    l0_p95: float
    alive: int
    dense: int
    cosine: float


@dataclass(frozen=True)
class Loss:
    """Next-token loss in nats with the model's activations and with the SAE's in their place."""

    language: str
    tokens: int
    own: float
    spliced: float


def write_card(args: argparse.Namespace) -> None:
    """Measures the SAE on disk and writes its card beside it."""
    cfg = json.loads((args.out / "cfg.json").read_text(encoding="utf-8"))
    digest = cfg["metadata"]["subject_weights_sha256"]
    if digest != weights_digest(args.subject):
        sys.exit(f"{args.subject}: not the subject that this SAE was trained on ({digest[:12]})")
    subject, sae = Subject(args.subject, args.hook, torch.float32), Rounded(args.out)
    wanted = shares(strata(subject, args.languages), args.held_out_tokens)
    found = held_out_activations(subject, wanted, args.seed)
    fidelities, dead = measure(sae, found)
    losses = measure_losses(subject, sae, args) if args.loss_tokens else []
    card = "\n".join([*card_head(args, cfg), *card_tables(fidelities, dead, losses, cfg)])
    (args.out / "README.md").write_text(card + "\n", encoding="utf-8")
    print(card)


@cache
def weights_digest(subject: Path) -> str:
    """The subject's name in the card: sha256 of its weights."""
    with (subject / "model.safetensors").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def held_out_activations(
    subject: Subject, wanted: dict[Stratum, int], seed: int
) -> dict[Stratum, tuple[torch.Tensor, int]]:
    """Activations of every stratum, and how many positions were left out of each."""
    progress = Progress("held-out activations", sum(wanted.values()))
    return {
        stratum: capture(subject, windows(subject, stratum, True, count, seed), progress)
        for stratum, count in wanted.items()
    }


class Rounded:
    """The SAE as it lies on disk, loaded by SAELens."""

    def __init__(self, folder: Path) -> None:
        from sae_lens import SAE  # takes ten seconds

        self.sae = SAE.load_from_disk(folder)

    @torch.inference_mode()
    def run(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents and reconstruction."""
        latents = self.sae.encode(rows)
        return latents, self.sae.decode(latents)


def measure(
    sae: Rounded, found: dict[Stratum, tuple[torch.Tensor, int]]
) -> tuple[list[Fidelity], int]:
    """Fidelity of each stratum, and the number of latents that fired in none of them."""
    everything = torch.cat([rows for rows, _ in found.values()]).double().mean(0)
    fidelities, fired = [], []
    for stratum, (rows, excluded) in found.items():
        fidelity, counts = stratum_fidelity(sae, stratum.name, rows, excluded, everything)
        fidelities.append(fidelity)
        fired.append(counts > 0)
    return fidelities, int((~torch.stack(fired).any(0)).sum())


def stratum_fidelity(
    sae: Rounded, name: str, rows: torch.Tensor, excluded: int, everything: torch.Tensor
) -> tuple[Fidelity, torch.Tensor]:
    """EV = 1 - squared error / squared distance from the stratum's mean, in float64."""
    error, l0, cosines, counts = 0.0, [], [], 0
    for part in rows.split(1024):
        latents, output = sae.run(part)
        error += float((part.double() - output.double()).square().sum())
        l0.append((latents > 0).sum(-1))
        cosines.append(torch.cosine_similarity(part.double(), output.double(), dim=-1))
        counts = counts + (latents > 0).sum(0)
    exact, sparsity = rows.double(), torch.cat(l0).double()
    fidelity = Fidelity(
        stratum=name,
        tokens=len(rows),
        excluded=excluded,
        ev=1 - error / float((exact - exact.mean(0)).square().sum()),
        ev_global=1 - error / float((exact - everything).square().sum()),
        l0_mean=float(sparsity.mean()),
        l0_median=float(sparsity.median()),
        l0_p95=float(sparsity.quantile(0.95)),
        alive=int((counts > 0).sum()),
        dense=int((counts > 0.1 * len(rows)).sum()),
        cosine=float(torch.cat(cosines).mean()),
    )
    return fidelity, counts


def measure_losses(subject: Subject, sae: Rounded, args: argparse.Namespace) -> list[Loss]:
    """Next-token loss on plain held-out text, language by language."""
    progress = Progress("next-token loss", len(args.languages) * args.loss_tokens)
    return [language_loss(subject, sae, language, args, progress) for language in args.languages]


def language_loss(
    subject: Subject, sae: Rounded, language: str, args: argparse.Namespace, progress: Progress
) -> Loss:
    """Runs each window twice; positions that training left out keep their own activation."""
    chosen = windows(subject, Stratum(language, False), True, args.loss_tokens, args.seed)
    own = spliced = 0.0
    count = 0
    for window in chosen:
        tokens = torch.tensor([window.tokens])
        own += window_loss(subject, tokens)
        handle = subject.block.register_forward_hook(splice(sae, subject, tokens))
        spliced += window_loss(subject, tokens)
        handle.remove()
        count += len(window.tokens) - 1
        progress.advance(len(window.tokens))
    return Loss(language, count, own / count, spliced / count)


@torch.inference_mode()
def window_loss(subject: Subject, tokens: torch.Tensor) -> float:
    """Summed next-token loss in nats."""
    logits = subject.model(tokens, use_cache=False).logits[0, :-1].double()
    return float(torch.nn.functional.cross_entropy(logits, tokens[0, 1:], reduction="sum"))


def splice(sae: Rounded, subject: Subject, tokens: torch.Tensor) -> object:
    """A hook that puts reconstructions where the SAE was trained to give them."""
    is_bos = torch.zeros(tokens.shape[1], dtype=torch.bool)
    is_bos[0] = tokens[0, 0] == subject.tokenizer.bos_token_id

    def hook(_module: object, _args: object, output: torch.Tensor | tuple) -> object:
        residual = output if isinstance(output, torch.Tensor) else output[0]
        kept = keep(residual[0], is_bos)
        changed = residual.clone()
        changed[0, kept] = sae.run(residual[0, kept])[1]
        return changed if isinstance(output, torch.Tensor) else (changed, *output[1:])

    return hook


def is_emphasised(stratum: str, facts: dict) -> bool:
    """Whether training showed a stratum twice in each epoch."""
    return stratum.split(",")[0] == facts["emphasis"]


def card_head(args: argparse.Namespace, cfg: dict) -> list[str]:
    """What the SAE is and where it comes from."""
    meta, weights = cfg["metadata"], args.out / "sae_weights.safetensors"
    facts = meta["training"]
    trained = sum(facts["activations"].values())
    twice = {n: rows for n, rows in facts["activations"].items() if is_emphasised(n, facts)}
    epochs = facts["samples"] / (trained + sum(twice.values()))
    steps = facts["samples"] // facts["batch"]
    return [
        f"# SAE on {meta['model_name']}, {meta['hook_name']}",
        "",
        "Written by `examples/demo/train_sae.py`; every number below was measured by it on the",
        "weights as they lie here, after rounding to float16.",
        "",
        f"- Subject: {meta['model_name']}, `model.safetensors` sha256",
        f"  `{meta['subject_weights_sha256']}`",
        f"- Hook: `{meta['hook_name']}`, d_in {cfg['d_in']}, {cfg['d_sae']} latents",
        f"- Architecture: {cfg['architecture']}, trained as BatchTopK with k = {facts['k']}; one",
        f"  threshold for all latents, the lowest with mean L0 of at most {facts['max_l0']:g} in",
        "  every language and format of the training text",
        f"- Input normalisation: {cfg['normalize_activations']} (folded into the weights)",
        f"- Weights: float16, {weights.stat().st_size:,} bytes, sha256",
        f"  `{hashlib.sha256(weights.read_bytes()).hexdigest()}`",
        f"- Training: {trained:,} activations ({facts['dtype']}), {steps:,} steps of",
        f"  {facts['batch']:,} ({epochs:.1f} epochs), Adam, learning rate",
        f"  {facts['lr']:g}, seed {facts['seed']}, SAELens {meta['sae_lens_training_version']}",
        *([f"- Shown twice in each epoch: {', '.join(twice)}"] if twice else []),
        *text_lines(facts["languages"]),
        "- Left out of training and of every number here: a BOS at the first position, and",
        f"  attention sinks (norm above {SINK_FACTOR:g} times the stratum's median)",
        f"- Licence of the SAE: {args.licence}",
    ]


def text_lines(languages: list[str]) -> list[str]:
    """Where the text comes from and how the held-out part was kept apart."""
    if languages == [OWN]:
        return [
            "- Text: written by the subject itself after a BOS, at temperature 1",
            "- Split: held-out text was written with another seed",
        ]
    return [
        "- Text: LibreOffice help, from Debian's `libreoffice-help-*` packages (MPL-2.0), the same",
        f"  number of tokens in each of {', '.join(languages)}; paragraphs left in English in a",
        "  translated page are not used",
        f"- Split: {HELD_OUT_PERCENT} % of the pages are held out, by a hash of the page's path,",
        "  so that a page and its translations are on the same side",
    ]


def card_tables(fidelities: list[Fidelity], dead: int, losses: list[Loss], cfg: dict) -> list[str]:
    """The measured numbers and what they cannot show."""
    return [
        "",
        "## Held-out text",
        "",
        "EV is 1 - squared error / squared distance from the mean, float64; the mean is the",
        "stratum's, or that of all strata together (global). Alive: fired at least once in the",
        "stratum. Dense: fired on more than 10 % of its tokens.",
        "",
        "| stratum | tokens | left out | EV | EV (global) | L0 mean | median | p95 | alive | dense "
        "| cosine |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
        *map(fidelity_row, fidelities),
        "",
        f"{dead} of {cfg['d_sae']} latents fired nowhere in this held-out text.",
        *loss_lines(losses),
        "",
        "## Limits",
        "",
        "- One kind of text. On other text EV and L0 differ; measure them on the audit's own items",
        "  and neutral text.",
        f"- Nothing was trained behind position {cfg['metadata']['context_size']}.",
        "- Latents are not named, and none was looked for. EV says how much of the activations is",
        "  kept, not whether a concept has a latent of its own.",
    ]


def fidelity_row(f: Fidelity) -> str:
    """One line of the table, rounded for reading."""
    return (
        f"| {f.stratum} | {f.tokens:,} | {f.excluded} | {f.ev:.3f} | {f.ev_global:.3f} "
        f"| {f.l0_mean:.1f} | {f.l0_median:.0f} | {f.l0_p95:.0f} | {f.alive} | {f.dense} "
        f"| {f.cosine:.3f} |"
    )


def loss_lines(losses: list[Loss]) -> list[str]:
    """A table, or the statement that there is none."""
    if not losses:
        return ["", "The change of the next-token loss was not measured."]
    rows = [
        f"| {loss.language} | {loss.tokens:,} | {loss.own:.3f} | {loss.spliced:.3f} "
        f"| {loss.spliced - loss.own:+.3f} |"
        for loss in losses
    ]
    return [
        "",
        "Next-token loss in nats on plain held-out text, with the model's own activations and with",
        "reconstructions at all positions that are not left out. So few tokens, and no interval: a",
        "small difference, of either sign, says nothing.",
        "",
        "| language | tokens | own | SAE | delta CE |",
        "|---|---|---|---|---|",
        *rows,
    ]
