"""Features: find them, look at one, make its card, hand the locked ones on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from compliance import workflow
from compliance.cli.console import Console

EXISTING = click.Path(exists=True, path_type=Path)
audit_file = click.argument(
    "audit_yaml", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
sae_option = click.option(
    "--sae", type=click.IntRange(min=0), default=0, show_default=True, metavar="N",
    help="Which of the audit's SAEs, counted from 0.",
)  # fmt: skip
prompt_option = click.option(
    "--prompt", metavar="TEXT", help="Also show the latent on the tokens of this text."
)
attention_option = click.option(
    "--attention", is_flag=True, help="Also show where the hooked layer looks. Needs --prompt."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")


@click.group()
def features() -> None:
    """Find features, look at one, make its card, and write what was locked for Neuronpedia."""


@features.command()
@click.argument("text", nargs=-1, metavar="TEXT...")
@click.option(
    "--explanations", multiple=True, type=EXISTING, metavar="FILE",
    help="A file of Neuronpedia's, or a folder of batches; may be given again.",
)  # fmt: skip
@click.option(
    "--run", "--pack", "seen", type=EXISTING, metavar="PATH",
    help="A run's folder, its audit.yaml, or a pack.",
)  # fmt: skip
@click.option("--concept", help="A concept of the run or pack.")
@click.option(
    "-n", "most", type=click.IntRange(1, 1000), default=10, show_default=True,
    help="At most so many.",
)  # fmt: skip
@as_json
def find(
    text: tuple[str, ...], explanations: tuple[Path, ...], seen: Path | None,
    concept: str | None, most: int, as_json: bool,
) -> None:  # fmt: skip
    """Find features by TEXT in labels, or by how well they separated a concept in a search."""
    from compliance.cli import features_text

    by_label = bool(text or explanations)
    if by_label == bool(seen or concept):
        raise click.UsageError("give either TEXT and --explanations, or --run and --concept")
    if by_label:
        if not (text and explanations):
            raise click.UsageError("searching labels needs both TEXT and --explanations")
        named = workflow.find_named(" ".join(text), explanations, most)
        found: Any = [asdict(feature) | {"place": feature.place} for feature in named]
        lines = features_text.named(named)
    else:
        if not (seen and concept):
            raise click.UsageError("the best latents of a search need both --run and --concept")
        searched = workflow.find_searched(seen, concept, most)
        found, lines = _searched(searched), features_text.searched(searched)
    _print(found, lines, as_json)


@features.command()
@audit_file
@click.argument("latent", type=click.IntRange(min=0))
@sae_option
@prompt_option
@attention_option
@as_json
def show(
    audit_yaml: Path, latent: int, sae: int, prompt: str | None, attention: bool, as_json: bool
) -> None:
    """Show LATENT of an SAE of AUDIT_YAML: weights, logits, neighbours, and it on a text."""
    from compliance.cli import features_text

    shown = workflow.show_feature(
        audit_yaml, latent, sae=sae, prompt=prompt, attention=attention, progress=Console()
    )
    _print(_shown(shown) if as_json else None, features_text.shown(shown), as_json)


@features.command()
@click.argument("path", type=EXISTING)
@click.argument("latent_or_concept")
@click.option(
    "-o", "--out", required=True, type=click.Path(dir_okay=False, path_type=Path),
    help="HTML file to write; an older one is replaced.",
)  # fmt: skip
@sae_option
@prompt_option
@attention_option
def card(
    path: Path, latent_or_concept: str, out: Path, sae: int, prompt: str | None, attention: bool
) -> None:
    """Write a page: what was locked in PATH (audit.yaml, a run, a pack), or a latent's weights."""
    workflow.write_card(
        path, latent_or_concept, out, sae=sae, prompt=prompt, attention=attention,
        progress=Console(),
    )  # fmt: skip
    click.echo(out)


@features.command()
@click.argument("path", type=EXISTING)
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path),
    help="Folder of the export; must not be there yet.",
)  # fmt: skip
def export(path: Path, out: Path) -> None:
    """Write the locked features of PATH (audit.yaml, a run, a pack) as Neuronpedia's exports."""
    for file in workflow.export_features(path, out):
        click.echo(out / file)


def _searched(found: workflow.Searched) -> dict[str, Any]:
    return {
        **asdict(found.candidates),
        "concept": found.concept,
        "title": found.title,
        "language": found.language,
        "saes": [sae.model_dump(mode="json", exclude_none=True) for sae in found.saes],
        "locked": [feature.model_dump(mode="json", exclude_none=True) for feature in found.locked],
        "latents": [
            asdict(one) | {"feature": one.feature.model_dump(mode="json", exclude_none=True)}
            for one in found.candidates.latents
        ],
    }


def _shown(found: workflow.Shown) -> dict[str, Any]:
    """Everything, whole patterns of attention too."""
    prompted = found.prompted
    patterns = prompted.attention if prompted else None
    return {
        "model": found.model,
        "sae": found.sae.model_dump(mode="json", exclude_none=True),
        "number": found.number,
        "latent": found.latent,
        "place": found.link,
        "decoder_norm": found.decoder_norm,
        "top": found.top,
        "bottom": found.bottom,
        "nearest": found.nearest,
        "prompt": prompted and {
            "text": prompted.prompt,
            "tokens": [asdict(token) for token in prompted.tokens],
            "attention": patterns and {
                "hook_name": patterns.hook_name,
                "tokens": patterns.tokens,
                "content": patterns.content,
                "weights": patterns.weights.tolist(),
            },
        },
    }  # fmt: skip


def _print(value: Any, lines: Iterable[str], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(value, indent=2))
        return
    for line in lines:
        click.echo(line)
