"""A person signs a pack in a role: they are shown what, and asked."""

from __future__ import annotations

from pathlib import Path

import click

from compliance import workflow
from compliance.cli.key_options import at_terminal, key_source, signer_options

KEY_HELP = "Your own private key: a PEM file, or a pkcs11: URI."
pack_argument = click.argument("pack", type=click.Path(exists=True, path_type=Path))
yes_option = click.option(
    "--yes-i-sign",
    is_flag=True,
    help="Sign without being asked, where the person who signs has looked at it before.",
)


@click.command()
@pack_argument
@click.option("--role", required=True, help="preparer, reviewer, approver, or another role.")
@signer_options(KEY_HELP, required=True)
@yes_option
def sign(
    pack: Path, role: str, key: str, name: str, passphrase_file: Path | None, yes_i_sign: bool
) -> None:
    """Sign PACK for yourself, in a role. Shows what is signed, and asks."""
    _sign(pack, role, key, name, passphrase_file, yes_i_sign)


@click.command()
@pack_argument
@click.option("--role", default="approver", show_default=True, help="Another role.")
@signer_options(KEY_HELP, required=True)
@yes_option
def approve(
    pack: Path, role: str, key: str, name: str, passphrase_file: Path | None, yes_i_sign: bool
) -> None:
    """Approve PACK: the same as sign, in the role approver."""
    _sign(pack, role, key, name, passphrase_file, yes_i_sign)


def _sign(
    pack: Path, role: str, key: str, name: str, passphrase_file: Path | None, yes_i_sign: bool
) -> None:
    source = key_source(key, name, passphrase_file=passphrase_file)
    shown = workflow.look_before_signing(pack, role=role, key=source)
    click.echo("This is what will be signed, with a statement that it was signed in this role:")
    for line in shown.lines():
        click.echo(f"  {line}")
    if not yes_i_sign:
        if not at_terminal():
            raise click.UsageError("nobody is at a terminal to be asked; see --yes-i-sign")
        click.confirm(f"Do you, {name}, sign this as {role}?", abort=True, err=True)
    click.echo(f"signed: {workflow.sign(shown)}")
