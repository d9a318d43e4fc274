"""Checking a pack."""

from __future__ import annotations

from pathlib import Path

import click

from compliance import workflow
from compliance.cli.console import Console, print_json

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def _roles(
    ctx: click.Context, option: click.Parameter, given: tuple[str, ...]
) -> dict[str, list[Path]]:
    """``ROLE=PEM``, once for each key."""
    found: dict[str, list[Path]] = {}
    for text in given:
        role, sign, path = text.partition("=")
        if not (role and sign and path):
            raise click.BadParameter(f"{text!r}: expected ROLE=PEM, such as reviewer=anna.pem")
        found.setdefault(role, []).append(FILE.convert(path, option, ctx))
    return found


@click.command()
@click.argument("pack", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--level",
    type=click.Choice(["integrity", "recompute", "reproduce"]),
    default="recompute",
    show_default=True,
    help="integrity: digests, signatures, times, trail. recompute: every number, verdict and "
    "sentence too. reproduce: run the model again, too.",
)
@click.option(
    "--deep",
    is_flag=True,
    help="Also draw the null of the search for features again.",
)
@click.option(
    "--key", type=FILE, help="The issuer's public key, in PEM form, from outside the pack."
)
@click.option(
    "--role",
    "roles",
    metavar="ROLE=PEM",
    multiple=True,
    callback=_roles,
    help="Public key of a person who may sign in a role; repeat it for each key.",
)
@click.option("--authority", type=FILE, help="Certificates of time-stamp authorities, in PEM form.")
@click.option("--checkpoint", type=FILE, help="A checkpoint of the trail that somebody else kept.")
@click.option("--mapping", type=FILE, help="Your own mapping.yaml: which points of the law change.")
@click.option("--claims", type=FILE, help="Your own limits, in YAML: which verdicts change.")
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    help="With reproduce: run only so many items of each part, drawn by the root digest.",
)
@click.option("--model", help="With reproduce: the model's folder, file or hub id.")
@click.option(
    "--sae",
    "saes",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    multiple=True,
    help="With reproduce: an SAE's folder; repeat it in the plan's order.",
)
@click.option(
    "--disclosure",
    "disclosures",
    type=FILE,
    multiple=True,
    help="A file of 'compliance disclose', to be proved against the root digest; may be repeated.",
)
@click.option("--json", "json_output", is_flag=True, help="Print the verification as JSON.")
@click.pass_context
def verify(
    ctx: click.Context,
    pack: Path,
    level: str,
    deep: bool,
    key: Path | None,
    roles: dict[str, list[Path]],
    authority: Path | None,
    checkpoint: Path | None,
    mapping: Path | None,
    claims: Path | None,
    sample: int | None,
    model: str | None,
    saes: tuple[Path, ...],
    disclosures: tuple[Path, ...],
    json_output: bool,
) -> None:
    """Check that PACK (a folder or a ZIP) is complete, unchanged and recomputable."""
    if level == "integrity" and (deep or mapping or claims):
        raise click.UsageError("--deep, --mapping and --claims compute; use --level recompute")
    if level != "reproduce" and (sample or model or saes):
        raise click.UsageError("--sample, --model and --sae need --level reproduce")
    again = workflow.Again(sample, model, saes) if level == "reproduce" else None
    verification = workflow.verify(
        pack,
        level=level,
        deep=deep,
        outside=workflow.Outside(
            key=key, roles=roles, authorities=authority, checkpoint=checkpoint
        ),
        again=again,
        claims=claims,
        mapping=mapping,
        progress=Console(),
    )
    verification = workflow.with_disclosures(verification, disclosures)
    if json_output:
        print_json(verification)
    else:
        for line in verification.summary():
            click.echo(line)
    ctx.exit(0 if verification.ok else 1)
