"""Trains the SAE that the demo audits, and writes the card that says how good it is.

The way of the data: help pages in six languages -> windows of tokens -> residual-stream
activations of the subject at one hook -> a BatchTopK SAE, trained by SAELens and saved as JumpReLU
-> float16 -> measured on pages that training never saw -> card.

What is measured is the rounded SAE that lies on disk, in float32 arithmetic on float32 activations
of the subject. Training sees activations computed in bfloat16, which is several times faster and
close enough to learn from.

    python examples/demo/train_sae.py                          the demo, with its defaults
    python examples/demo/train_sae.py --subject DIR --out DIR  another subject
    python examples/demo/train_sae.py --card                   measure again, train nothing

With ``--languages own`` the subject writes its text itself. Otherwise the text is the help of
LibreOffice, from Debian's packages libreoffice-help-en-us, -ja, -zh-cn, -el, -vi and -ru (MPL-2.0).
Two runs on one machine give the same SAE; on another machine sums are made in another order, and
the SAE differs in its last digits and then in more.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import torch
from residuals import Progress, Subject, capture
from sae_card import weights_digest, write_card
from safetensors.torch import load_file, save, save_file
from texts import HELP_FOLDERS, OWN, Stratum, shares, strata, windows

HERE = Path(__file__).parent


def main() -> int:
    """Trains unless only the card is asked for; always measures and writes the card."""
    args = arguments()
    torch.set_num_threads(args.threads)
    if not args.card:
        train(args, training_activations(args))
    write_card(args)
    return 0


def arguments() -> argparse.Namespace:
    """The demo's settings are the defaults."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--subject", type=Path, default=HERE / "subject", help="a transformers folder")
    add("--name", default="SmolLM2-135M-Instruct", help="the subject's name in the card")
    add("--hook", default="blocks.12.hook_resid_post")
    add("--out", type=Path, default=HERE / "sae", help="folder of the SAE and its card")
    add("--cache", type=Path, default=HERE / "cache", help="where activations are kept")
    add("--languages", nargs="+", default=list(HELP_FOLDERS), choices=[*HELP_FOLDERS, OWN])
    add("--latents", type=int, default=6144)
    add("--emphasis", default="en", help="language shown twice in each epoch; '' for none")
    add("--k", type=float, default=36, help="active latents in training, on average")
    add("--max-l0", type=float, default=38, help="mean L0 that no stratum exceeds in training")
    add("--tokens", type=int, default=480_000, help="tokens of training text")
    add("--samples", type=int, default=1_500_000, help="activations shown, over all epochs")
    add("--batch", type=int, default=1024)
    add("--lr", type=float, default=1e-3)
    add("--seed", type=int, default=0)
    add("--dtype", default="bfloat16", choices=["bfloat16", "float32"], help="of training text")
    add("--autocast", action=argparse.BooleanOptionalAction, default=True)
    add("--held-out-tokens", type=int, default=36_000)
    add("--loss-tokens", type=int, default=500, help="per language; 0 leaves the loss out")
    add("--licence", default="Apache-2.0", help="the SAE's, in the card")
    add("--threads", type=int, default=2)
    add("--card", action="store_true", help="measure the SAE that is there and write its card")
    return parser.parse_args()


def training_activations(args: argparse.Namespace) -> dict[str, torch.Tensor]:
    """Training activations by stratum, as float16, which rounds far finer than bfloat16 did."""
    subject = Subject(args.subject, args.hook, getattr(torch, args.dtype))
    wanted = shares(strata(subject, args.languages), args.tokens)
    progress = Progress("activations", sum(wanted.values()))
    return {s.name: cached(args, subject, s, count, progress) for s, count in wanted.items()}


def cached(
    args: argparse.Namespace, subject: Subject, stratum: Stratum, count: int, progress: Progress
) -> torch.Tensor:
    """Reads what an earlier run has computed with the same settings, or computes and keeps it.

    A stratum is kept as soon as it is done, so that a run that was stopped goes on there.
    """
    settings = [weights_digest(args.subject), args.hook, args.dtype, args.seed]
    text = json.dumps([*settings, stratum.name, count])
    path = args.cache / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.safetensors"
    if not path.is_file():
        args.cache.mkdir(parents=True, exist_ok=True)
        chosen = windows(subject, stratum, False, count, args.seed)
        rows, _ = capture(subject, chosen, progress)
        unfinished = path.with_suffix(".unfinished")
        save_file({"rows": rows.half()}, unfinished)
        unfinished.rename(path)
    return load_file(path)["rows"]


def train(args: argparse.Namespace, by_stratum: dict[str, torch.Tensor]) -> None:
    """Trains, folds every scale into the weights, sets the threshold, rounds and writes."""
    from sae_lens import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig  # takes ten seconds
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    torch.manual_seed(args.seed)
    rows = torch.cat(emphasised(by_stratum, args.emphasis))
    mean = rows.float().mean(0)
    scale = float(rows.shape[1] ** 0.5 / (rows.float() - mean).norm(dim=-1).mean())
    sae = BatchTopKTrainingSAE(
        BatchTopKTrainingSAEConfig(d_in=rows.shape[1], d_sae=args.latents, k=args.k)
    )
    sae.b_dec.data = mean * scale
    sae.activation_fn = CandidateTopK(args.k)
    steps = args.samples // args.batch
    config = SAETrainerConfig(
        total_training_samples=steps * args.batch,
        train_batch_size_samples=args.batch,
        lr=args.lr,
        lr_end=args.lr / 20,
        lr_warm_up_steps=steps // 20,
        lr_decay_steps=steps // 3,
        dead_feature_window=max(100, steps // 10),
        autocast=args.autocast,
    )
    SAETrainer(config, sae, shuffled(rows, scale, args.batch, args.seed)).fit()
    sae.fold_activation_norm_scaling_factor(scale)
    write_sae(args, sae, by_stratum)


def emphasised(by_stratum: dict[str, torch.Tensor], language: str) -> list[torch.Tensor]:
    """Every stratum once, and those of one language again.

    A model that was trained on English tells more apart in it, so that at the same L0 English is
    reconstructed worst; and it is the language that features are found in.
    """
    again = [rows for name, rows in by_stratum.items() if name.split(",")[0] == language]
    return [*by_stratum.values(), *again]


class CandidateTopK(torch.nn.Module):
    """BatchTopK's selection, with the same result as SAELens's and in half the time.

    Sorting millions of pre-activations costs more than the encoder does. A sample gives a bound
    that all selected ones exceed, and only what exceeds it is sorted.
    """

    STRIDE = 61
    """Prime, so that the sample meets all latents."""

    def __init__(self, k: float) -> None:
        super().__init__()
        self.k = k

    def forward(self, pre: torch.Tensor) -> torch.Tensor:
        flat = pre.relu().flatten()
        count = int(self.k * pre.shape[:-1].numel())
        sample = flat[:: self.STRIDE]
        bound = sample.topk(min(len(sample), int(1.15 * count / self.STRIDE) + 1)).values[-1]
        candidates = (flat >= bound).nonzero().squeeze(1)
        if len(candidates) < count:  # an unlucky sample
            candidates = torch.arange(len(flat))
        chosen = candidates[flat[candidates].topk(count).indices]
        return torch.zeros_like(flat).scatter(-1, chosen, flat[chosen]).reshape(pre.shape)


def shuffled(rows: torch.Tensor, scale: float, batch: int, seed: int) -> Iterator[torch.Tensor]:
    """Endless batches; every row once in each epoch."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(rows), generator=generator)
        for start in range(0, len(rows) - batch + 1, batch):
            yield rows[order[start : start + batch]].float() * scale


def write_sae(args: argparse.Namespace, sae: object, by_stratum: dict[str, torch.Tensor]) -> None:
    """Saves in SAELens' format, with float16 weights that load into float32.

    ``dtype`` in ``cfg.json`` stays float32: it says what SAELens computes in, and with float16
    there the encoder's sums would be rounded, too.
    """
    sae.save_inference_model(args.out)
    path = args.out / "sae_weights.safetensors"
    weights = {name: tensor.half() for name, tensor in load_file(path).items()}
    weights["threshold"] = threshold(weights, by_stratum, args.max_l0)
    path.unlink()  # save_file leaves files that only their owner can read
    path.write_bytes(save(weights))
    cfg = json.loads((args.out / "cfg.json").read_text(encoding="utf-8"))
    subject = Subject(args.subject, args.hook, torch.float32)
    cfg["metadata"] = {
        "sae_lens_version": version("sae-lens"),
        "sae_lens_training_version": version("sae-lens"),
        "model_name": args.name,
        "hook_name": args.hook,
        "context_size": subject.context,
        "prepend_bos": subject.prepends_bos,
        "subject_weights_sha256": weights_digest(args.subject),
        "training": training_facts(args, by_stratum),
    }
    (args.out / "cfg.json").write_text(json.dumps(cfg, indent=1, sort_keys=True) + "\n")


def training_facts(args: argparse.Namespace, by_stratum: dict[str, torch.Tensor]) -> dict:
    """What the card says of the training, kept with the SAE so that a card can be made again."""
    names = "emphasis k max_l0 samples batch lr seed dtype autocast languages"
    settings = {name: getattr(args, name) for name in names.split()}
    return settings | {"activations": {name: len(rows) for name, rows in by_stratum.items()}}


def threshold(
    weights: dict[str, torch.Tensor], by_stratum: dict[str, torch.Tensor], most: float
) -> torch.Tensor:
    """One threshold for all latents: the lowest that keeps every stratum's mean L0 within ``most``.

    BatchTopK's own running estimate is made over all languages together and leaves one language
    denser than another. Set on training activations with the rounded weights.
    """
    lowest = max(
        float(stratum_threshold(weights, rows[:: max(1, len(rows) // 4000)].float(), most))
        for rows in by_stratum.values()
    )
    return torch.full_like(weights["b_enc"], lowest)


def stratum_threshold(
    weights: dict[str, torch.Tensor], rows: torch.Tensor, l0: float
) -> torch.Tensor:
    """The pre-activation that just ``l0`` latents a position exceed, on average."""
    w = {name: tensor.float() for name, tensor in weights.items()}
    pre = ((rows - w["b_dec"]) @ w["W_enc"] + w["b_enc"]).flatten()
    return pre.topk(int(l0 * len(rows))).values[-1]


if __name__ == "__main__":
    sys.exit(main())
