"""Several subjects side by side: fine-tunes, or checkpoints of one training run."""

from __future__ import annotations

from pathlib import Path

import click

from compliance import workflow
from compliance.cli.console import Console, print_json

UNCHECKED = (
    "not checked: the issuers of these packs, and their numbers against their observations; "
    "'compliance verify --key' checks both"
)


@click.command()
@click.argument("packs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "json_output", is_flag=True, help="Print the record as JSON.")
@click.option(
    "--html",
    "page",
    type=click.Path(path_type=Path),
    help="Write a page with charts to this file; it needs nothing else.",
)
@click.option(
    "--sae",
    "saes",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder of an SAE that a pack names; matches features where packs read different SAEs.",
)
def compare(
    packs: tuple[Path, ...], json_output: bool, page: Path | None, saes: tuple[Path, ...]
) -> None:
    """Show in which cells concepts appear, move or vanish from the first pack to each other.

    PACKS are folders or ZIPs, in the order in which they are shown. Tested are packs under one lock
    (locked_by in audit.yaml); others are shown beside them.
    """
    from compliance.cli.compare_text import compare_lines

    found = workflow.compare_packs(packs, saes=saes, page=page, progress=Console())
    if json_output:
        print_json(found)
    else:
        for line in compare_lines(found):
            click.echo(line)
    click.echo(UNCHECKED, err=True)
