"""Copies of a pack for others, and items that are disclosed later."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from compliance import workflow
from compliance.cli.console import Console
from compliance.cli.key_options import certificate_option, key_source, signer_options

if TYPE_CHECKING:
    from compliance.records.pack import Profile

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
disclosures_option = click.option(
    "--disclosures",
    type=FILE,
    help="The run's disclosures.jsonl: restricted items, which no pack shows.",
)


@click.command()
@click.argument("pack", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--profile",
    type=click.Choice(["public", "deployer", "authority"]),
    required=True,
    help="public: no texts, no pictures. deployer: as built. authority: everything.",
)
@signer_options("The issuer's private key, which signed the pack. Must be given.")
@certificate_option
@click.option(
    "--rules", type=FILE, help="A redaction.yaml: which declared facts are withheld from whom."
)
@disclosures_option
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write the copy into. Default: the one that holds the pack.",
)
def redact(
    pack: Path,
    profile: Profile,
    key: str | None,
    name: str | None,
    certificate: Path | None,
    passphrase_file: Path | None,
    rules: Path | None,
    disclosures: Path | None,
    out: Path | None,
) -> None:
    """Make a copy of PACK for others, with less or more shown and the same root digest."""
    if key is None:
        raise click.UsageError("--key must be given: the one that signed the pack")
    folder = workflow.redact(
        pack,
        profile,
        key=key_source(key, name, certificate, passphrase_file),
        target=out,
        rules=rules,
        disclosures=disclosures,
        progress=Console(),
    )
    click.echo(folder)


@click.command()
@click.argument("pack", type=click.Path(exists=True, path_type=Path), required=False)
@click.argument("item", required=False)
@click.option("--field", help="Disclose this field of the item alone, such as text.")
@disclosures_option
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write."
)
@click.option("--check", type=FILE, help="Check a disclosure instead; with --root.")
@click.option("--root", metavar="DIGEST", help="The root digest to check against: sha256:...")
@click.pass_context
def disclose(
    ctx: click.Context,
    pack: Path | None,
    item: str | None,
    field: str | None,
    disclosures: Path | None,
    output: Path | None,
    check: Path | None,
    root: str | None,
) -> None:
    """Write an ITEM of PACK with the proof that it belongs to the pack's root digest.

    With --check and --root, check such a file; that needs no pack.
    """
    from compliance.records.base import canonical_bytes
    from compliance.records.verification import Outcome
    from compliance.storage import write_bytes

    if check is not None:
        if root is None or pack is not None:
            raise click.UsageError("--check FILE needs --root DIGEST, and no pack")
        found = workflow.disclosure_check(check, root)
        click.echo(found.line)
        ctx.exit(0 if found.status is Outcome.PASSED else 1)
    if pack is None or item is None or output is None or root is not None:
        raise click.UsageError("give PACK, ITEM and -o FILE; or --check FILE and --root DIGEST")
    disclosure = workflow.disclose(pack, item, field=field, disclosures=disclosures)
    write_bytes(output, canonical_bytes(disclosure))
    click.echo(output)
