"""A time stamp for a pack that is there."""

from __future__ import annotations

from pathlib import Path

import click

from compliance import workflow
from compliance.cli.console import Console


@click.command()
@click.argument("pack", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--authority",
    required=True,
    metavar="URL",
    help="Address of a time-stamp authority (RFC 3161), http or https.",
)
def stamp(pack: Path, authority: str) -> None:
    """Prove by somebody else's clock that PACK (a folder) was signed by now.

    The authority sees a digest alone. A stamp that is there is replaced.
    """
    click.echo(workflow.stamp(pack, authority=authority, progress=Console()))
