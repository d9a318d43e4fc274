"""What changed between two packs, and whether a build may pass."""

from __future__ import annotations

from pathlib import Path

import click

from compliance import workflow
from compliance.cli.console import Console, print_json

as_json = click.option("--json", "json_output", is_flag=True, help="Print the record as JSON.")
UNCHECKED = (
    "not checked: the issuer of either pack; 'compliance verify --key' checks that they are whose "
    "you think"
)


@click.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@as_json
def diff(old: Path, new: Path, json_output: bool) -> None:
    """Show what changed from pack OLD to pack NEW, folders or ZIPs.

    Subject, test sets, plan, law, declared facts and verdicts; and each main number on the items
    that both saw, with an interval and a p value adjusted over all cells.
    """
    from compliance.cli.diff_text import diff_lines

    found = workflow.diff(old, new, progress=Console())
    if json_output:
        print_json(found)
    else:
        for line in diff_lines(found):
            click.echo(line)
    click.echo(UNCHECKED, err=True)


@click.command()
@click.argument("new", type=click.Path(path_type=Path))
@click.option(
    "--against",
    required=True,
    type=click.Path(path_type=Path),
    help="The accepted pack, a folder or a ZIP.",
)
@click.option(
    "--tolerances",
    type=click.Path(path_type=Path),
    help="What may be lost, as YAML. Without it nothing may.",
)
@as_json
@click.pass_context
def gate(
    ctx: click.Context, new: Path, against: Path, tolerances: Path | None, json_output: bool
) -> None:
    """Fail when pack NEW is worse than an accepted one by more than declared.

    Exit code 0: it is not; 1: it is, or a pack is damaged; 2: nobody could tell.
    """
    from compliance.cli.diff_text import gate_lines

    found = workflow.gate(new, against, tolerances=tolerances, progress=Console())
    if json_output:
        print_json(found)
    else:
        for line in gate_lines(found):
            click.echo(line)
    click.echo(UNCHECKED, err=True)
    ctx.exit(2 if found.passed is None else 0 if found.passed else 1)
