"""``compliance mitigate``: replies before and after something is suppressed."""

from __future__ import annotations

from pathlib import Path

import click

from compliance import workflow
from compliance.cli.audit import as_json, audit_file
from compliance.cli.console import Console, print_json


@click.command()
@audit_file
@as_json
def mitigate(audit_yaml: Path, json_output: bool) -> None:
    """Run the mitigation studies of AUDIT_YAML under its lock, and show what they show.

    A behaviour's rate before and after, the paired difference with its interval, over-refusal and
    side effects, in each language. Goes on where it stopped; 'compliance audit' runs the same.
    """
    found = workflow.mitigate(audit_yaml, Console())
    if json_output:
        print_json(found)
        return
    from compliance.cli.mitigate_text import study_lines

    for line in study_lines(found):
        click.echo(line)
