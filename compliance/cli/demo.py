"""The whole way on the model and SAE of the checkout's example."""

from __future__ import annotations

from pathlib import Path

import click

from compliance import workflow
from compliance.cli.console import Console


@click.command()
@click.option("--full", is_flag=True, help="All groups of the suite; takes several times longer.")
@click.option(
    "--to",
    type=click.Path(file_okay=False, path_type=Path),
    default="demo",
    show_default=True,
    help="Folder for runs, keys and packs.",
)
def demo(full: bool, to: Path) -> None:
    """Audit SmolLM2-135M-Instruct with the SAE of this project and write a signed pack."""
    shown = workflow.demo(to, full=full, progress=Console())
    click.echo(f"pack: {shown.pack}")
    click.echo(f"open:   {shown.pack / 'data' / 'report.html'} (or report.pdf beside it)")
    click.echo(f"verify: compliance verify {shown.pack} --key {shown.public_key}")
    for line in shown.why:
        click.echo(line)
