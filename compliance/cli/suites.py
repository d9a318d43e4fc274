"""What suites there are, and whether one can be used."""

from __future__ import annotations

from pathlib import Path

import click

from compliance import workflow


@click.group()
def suites() -> None:
    """List the suites that ship, and check any suite."""


@suites.command("list")
def list_suites() -> None:
    """List the suites that ship, with items per concept and language."""
    for suite in workflow.shipped_suites():
        _print_suite(suite)


@suites.command()
@click.argument("suite")
def check(suite: str) -> None:
    """Read SUITE (a folder, or compliance:NAME) and refuse what contradicts itself."""
    _print_suite(workflow.check_suite(suite, Path.cwd()))
    click.echo("the items can be used: shapes, ids, groups, labels and language tags agree")


def _print_suite(suite: workflow.SuiteOverview) -> None:
    click.echo(f"{suite.name} {suite.version}: {suite.title} ({suite.licence})")
    for (concept, label), by_language in suite.counts.items():
        cells = ", ".join(f"{language} {n}" for language, n in by_language.items())
        click.echo(f"  {concept} {label}: {cells}")
