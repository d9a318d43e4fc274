"""All versions that are kept."""

from __future__ import annotations

from pathlib import Path

import click

from compliance import workflow
from compliance.cli.console import print_json

folder_argument = click.argument("folder", type=click.Path(path_type=Path))
as_json = click.option("--json", "json_output", is_flag=True, help="Print the record as JSON.")


@click.group()
def archive() -> None:
    """All versions of a system's packs, as 'pack' and 'audit' put them beside the audit.

    FOLDER is the archive, or the folder of an audit. It is an OCFL storage root, which other tools
    read too.
    """


@archive.command("list")
@folder_argument
@as_json
def list_(folder: Path, json_output: bool) -> None:
    """List what is kept in FOLDER."""
    found = workflow.archive_list(folder)
    if json_output:
        print_json(found)
        return
    for one in found.versions:
        added = f"{one.added_at:%Y-%m-%d %H:%M:%SZ}"
        click.echo(f"{one.system} {one.name}  {added}  {one.added_bytes:>12,} bytes  {one.message}")


@archive.command()
@folder_argument
@click.argument("version")
@click.option(
    "--to",
    type=click.Path(path_type=Path),
    default=Path("."),
    help="Folder in which the pack's folder is made. Default: this one.",
)
def get(folder: Path, version: str, to: Path) -> None:
    """Restore VERSION from FOLDER, byte by byte.

    VERSION is a pack such as demo-1.0.0, its version alone, or v1, v2, ... as listed; of a pack
    that was signed again later the last is taken.
    """
    click.echo(workflow.archive_get(folder, version, to=to))


@archive.command()
@folder_argument
@as_json
@click.pass_context
def check(ctx: click.Context, folder: Path, json_output: bool) -> None:
    """Check that everything in FOLDER is what was added."""
    found = workflow.archive_check(folder)
    if json_output:
        print_json(found)
    else:
        for line in found.summary():
            click.echo(line)
    ctx.exit(0 if found.ok else 1)
