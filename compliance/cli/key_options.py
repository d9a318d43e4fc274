"""Options of commands that sign, and questions for what must not stand on a command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from compliance.errors import PackError

if TYPE_CHECKING:
    from compliance.keys.opening import KeySource

Command = TypeVar("Command", bound=Callable[..., Any])

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
PIN_VARIABLE = "COMPLIANCE_PIN"

passphrase_file_option = click.option(
    "--passphrase-file",
    type=FILE,
    help="File with the key's passphrase, or the token's PIN. Default: asked for on a terminal.",
)


certificate_option = click.option(
    "--certificate",
    type=FILE,
    help="X.509 certificate of the key, PEM. Default: KEY.crt.pem beside KEY.pem.",
)


def signer_options(key_help: str, *, required: bool = False) -> Callable[[Command], Command]:
    """The options ``--key``, ``--name`` and ``--passphrase-file``."""
    options = (
        click.option("--key", required=required, metavar="FILE|URI", help=key_help),
        click.option(
            "--name",
            required=required,
            help="Name and function of the person who signs, such as 'A. Person, QA'.",
        ),
        passphrase_file_option,
    )

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def key_source(
    key: Path | str,
    name: str | None = None,
    certificate: Path | None = None,
    passphrase_file: Path | None = None,
) -> KeySource:
    """Where the key is, with its passphrase or PIN: from a file, a variable, or the terminal.

    Raises:
        PackError: The key needs a passphrase, and nobody is there to be asked.
    """
    from compliance.keys.opening import KeySource, read_secret

    secret = read_secret(passphrase_file) if passphrase_file else _asked(key)
    return KeySource(key if _in_token(key) else Path(key), secret, name, certificate)


def _in_token(key: Path | str) -> bool:
    from compliance.keys.opening import KeySource

    return KeySource(key).in_token


def _asked(key: Path | str) -> str | None:
    from compliance.keys.private import needs_passphrase
    from compliance.keys.tokens import parse_uri

    if _in_token(key):
        if parse_uri(str(key)).pin_file:
            return None
        return os.environ.get(PIN_VARIABLE) or (_prompt("PIN") if at_terminal() else None)
    path = Path(key)
    if not path.exists() or not needs_passphrase(path):
        return None
    if not at_terminal():
        raise PackError(
            f"{path}: the key needs its passphrase, and nobody is at a terminal",
            hint="give --passphrase-file FILE",
        )
    return _prompt(f"Passphrase of {path}")


def _prompt(text: str) -> str:
    return str(click.prompt(text, hide_input=True, err=True))


def new_passphrase(passphrase_file: Path | None) -> bytes | None:
    """The passphrase of a key that is made: from a file, or typed twice; None where it is empty."""
    if passphrase_file:
        from compliance.keys.opening import read_secret

        return read_secret(passphrase_file).encode("utf-8")
    if not at_terminal():
        click.echo("the key is written without a passphrase", err=True)
        return None
    typed = click.prompt(
        "Passphrase (empty: none)",
        default="",
        show_default=False,
        hide_input=True,
        confirmation_prompt=True,
        err=True,
    )
    return str(typed).encode("utf-8") or None


def at_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty()
