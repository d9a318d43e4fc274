"""The law as data, at the command line."""

from __future__ import annotations

import click

from compliance.cli.console import print_json


@click.command()
@click.argument("provision")
@click.option("--json", "json_output", is_flag=True, help="Print the provision as JSON.")
def law(provision: str, json_output: bool) -> None:
    """Show a PROVISION, such as '13(3)(b)(ii)': wording, dates, what evidence can show."""
    from compliance.catalog.citations import display
    from compliance.catalog.load import load_catalog

    catalog = load_catalog()
    found = catalog.provision(provision)
    if json_output:
        print_json(found)
        return
    click.echo(f"{display(found.id)}  {found.title}  [{found.id}]")
    click.echo(f"\n{found.official_text or found.summary}")
    if found.official_text is None:
        click.echo("(summary; the wording is not in the catalog)")
    if isinstance(found.applies_from, dict):
        for kind, day in found.applies_from.items():
            click.echo(f"applies from {day}: {catalog.mapping.application.get(kind, kind)}")
    elif found.applies_from:
        click.echo(f"applies from {found.applies_from}")
    if found.pack_role:
        click.echo(f"\nevidence can supply: {found.pack_role.what_a_feature_probe_pack_can_supply}")
        if found.pack_role.what_it_must_not_claim:
            click.echo(f"it must not claim: {found.pack_role.what_it_must_not_claim}")
    click.echo(f"\n{found.source}\n{catalog.law.meta.caution}")
