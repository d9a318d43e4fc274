"""Checking a pack."""

from __future__ import annotations

from pathlib import Path

import click

from compliance import workflow
from compliance.cli.console import Console, print_json


@click.command()
@click.argument("pack", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--level",
    type=click.Choice(["integrity", "recompute"]),
    default="recompute",
    show_default=True,
    help="integrity: digests, signature, trail. recompute: every number too.",
)
@click.option(
    "--deep",
    is_flag=True,
    help="Also draw the null of the search for features again.",
)
@click.option(
    "--key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The issuer's public key, in PEM form, from outside the pack.",
)
@click.option("--json", "json_output", is_flag=True, help="Print the verification as JSON.")
@click.pass_context
def verify(
    ctx: click.Context, pack: Path, level: str, deep: bool, key: Path | None, json_output: bool
) -> None:
    """Check that PACK (a folder or a ZIP) is complete, unchanged and recomputable."""
    if deep and level == "integrity":
        raise click.UsageError("--deep repeats a computation; it needs --level recompute")
    verification = workflow.verify(pack, level=level, deep=deep, key=key, progress=Console())
    if json_output:
        print_json(verification)
    else:
        for line in verification.summary():
            click.echo(line)
    ctx.exit(0 if verification.ok else 1)
