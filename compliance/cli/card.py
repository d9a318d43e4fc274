"""Extracts of a pack in a model's README."""

from __future__ import annotations

from pathlib import Path

import click

from compliance import workflow
from compliance.cli.console import Console


@click.command()
@click.argument("pack", type=click.Path(path_type=Path))
@click.argument("readme", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The issuer's public key, in PEM form, from outside the pack.",
)
@click.option("--url", help="Where readers can get the pack: an address of the web.")
@click.option("--remove", is_flag=True, help="Take out what was written; PACK is not looked at.")
@click.option("--dry-run", is_flag=True, help="Print what would change, and write nothing.")
def card(
    pack: Path, readme: Path, key: Path | None, url: str | None, remove: bool, dry_run: bool
) -> None:
    """Write what PACK shows into README, the model card of a Hugging Face repository.

    A section, the metadata model-index, and a file in .eval_results beside it. Digests and
    signatures of the pack are checked first.
    """
    if remove and (key or url):
        raise click.UsageError("--remove writes nothing, so it takes neither --key nor --url")
    if remove:
        edits = workflow.remove_card(readme, write=not dry_run)
    else:
        edits = workflow.card(pack, readme, key=key, url=url, write=not dry_run, progress=Console())
    for edit in edits:
        if dry_run:
            click.echo(edit.diff(), nl=False)
        elif edit.before is not None or edit.after is not None:
            click.echo(f"{edit.path}: {edit.outcome}")
    if not remove and key is None:
        click.echo("not checked: the issuer; no key was given, and the card says so", err=True)
