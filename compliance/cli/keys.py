"""Keys: made, shown, and certified by themselves."""

from __future__ import annotations

from pathlib import Path

import click

from compliance import workflow
from compliance.cli.key_options import (
    key_source,
    new_passphrase,
    passphrase_file_option,
)


@click.group()
def keys() -> None:
    """Make signing keys, and show what identifies them."""


@keys.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--algorithm",
    type=click.Choice(["ecdsa-p256", "ed25519"]),
    default="ecdsa-p256",
    show_default=True,
    help="With ed25519 a pack has no CMS signature.",
)
@click.option("--name", help="Name and function of the person, for the certificate.")
@passphrase_file_option
def create(path: Path, algorithm: str, name: str | None, passphrase_file: Path | None) -> None:
    """Make a key at PATH: a file that ends in .pem, or a folder for issuer.pem."""
    private = path if path.suffix == ".pem" else path / "issuer.pem"
    passphrase = new_passphrase(passphrase_file)
    made = workflow.create_key(private, algorithm=algorithm, passphrase=passphrase, name=name)
    click.echo(made.key_id)
    click.echo(f"private key: {made.private} (keep it to yourself)")
    click.echo(f"public key:  {made.public} (give it to those who verify, and tell the key id)")
    click.echo(f"certificate: {made.certificate}")


@keys.command()
@click.argument("key")
@passphrase_file_option
def show(key: str, passphrase_file: Path | None) -> None:
    """Show what identifies KEY: a file with either half or a certificate, or a pkcs11: URI."""
    shown = workflow.show_key(key_source(key, passphrase_file=passphrase_file))
    click.echo(shown.key_id)
    click.echo(f"algorithm:   {shown.algorithm}")
    click.echo(f"certificate: {shown.certificate or 'none'}")
    click.echo(shown.public_pem, nl=False)


@keys.command()
@click.argument("key")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--name", help="Name and function of the person.")
@passphrase_file_option
def certify(key: str, out: Path, name: str | None, passphrase_file: Path | None) -> None:
    """Write a certificate of the private KEY, signed by itself, to OUT."""
    workflow.certify_key(key_source(key, name, passphrase_file=passphrase_file), out)
    click.echo(out)
