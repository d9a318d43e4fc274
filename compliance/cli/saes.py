"""Which releases of SAELens' registry can be used, and why others cannot."""

from __future__ import annotations

import click


@click.command()
@click.option("--refused", is_flag=True, help="Only what is refused.")
@click.option("--json", "json_output", is_flag=True, help="Print the list as JSON.")
def saes(refused: bool, json_output: bool) -> None:
    """List SAELens' releases: what is resolved, what is refused and why."""
    from dataclasses import asdict

    from compliance.probes.registry import list_releases

    releases = [r for r in list_releases() if not (refused and r.resolved)]
    if json_output:
        import json

        click.echo(json.dumps([asdict(r) for r in releases], indent=2))
        return
    for release in releases:
        state = "resolved" if release.resolved else f"refused: {release.reason}"
        click.echo(f"{release.release}  {release.model}  {release.saes} SAEs  {state}")
    count = sum(r.resolved for r in releases)
    click.echo(f"{count} of {len(releases)} releases resolved")
