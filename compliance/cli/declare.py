"""Scaffolding an audit, and what is not declared yet. Needs no torch."""

from __future__ import annotations

from pathlib import Path

import click

from compliance import workflow


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--name", help="The system's name in lower case; default: the folder's.")
def init(folder: Path, name: str | None) -> None:
    """Write audit.yaml, system.yaml and a suite to start from into FOLDER."""
    for path in workflow.init(folder, name=name):
        click.echo(path)
    click.echo(f"next: fill in system.yaml; 'compliance gaps {folder}' lists what is missing")


@click.command()
@click.argument(
    "folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default="."
)
@click.option("--json", "json_output", is_flag=True, help="Print the gaps as JSON.")
@click.pass_context
def gaps(ctx: click.Context, folder: Path, json_output: bool) -> None:
    """List what FOLDER/system.yaml does not declare yet. Exit code 1 when something is missing."""
    found = workflow.gaps(folder)
    if json_output:
        import json

        from compliance.records.base import to_json

        click.echo(json.dumps([to_json(gap) for gap in found], indent=2, ensure_ascii=False))
    else:
        for gap in found:
            where = " (where it applies)" if gap.where_appropriate else ""
            click.echo(f"{gap.display}{where}  {gap.key}: {gap.prompt}")
        click.echo(f"{len(found)} not declared")
    ctx.exit(1 if found else 0)
