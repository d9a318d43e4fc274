"""The audit trail at the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from compliance.records.trail import Entry
    from compliance.workflow import trails

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
SHORT = len("sha256:") + 12
"""Characters of a digest that are printed."""

LONG_FACTS = ("record", "token", "groups", "observations", "environment")
"""Facts that no line has room for; ``--json`` prints them."""

audit_file = click.argument("audit_yaml", type=FILE)
trail_file = click.argument("trail", type=FILE)

output_option = click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write it. Default: it is printed.",
)  # fmt: skip


@click.group()
def trail() -> None:
    """Show the audit trail, state something in it, sign its head, prove and check."""


@trail.command()
@trail_file
@click.option("--json", "as_json", is_flag=True, help="Print all entries as a JSON array.")
def show(trail: Path, as_json: bool) -> None:
    """List the entries of TRAIL: a trail, or the audit.yaml beside it."""
    from compliance.records.base import to_json
    from compliance.workflow import trails

    entries = trails.show_trail(trail)
    if as_json:
        click.echo(json.dumps([to_json(entry) for entry in entries], indent=2, ensure_ascii=False))
        return
    for entry in entries:
        click.echo(_line(entry))


@trail.command()
@audit_file
@click.argument("kind", type=click.Choice(["deviation", "superseded", "withdrawn"]), metavar="KIND")
@click.option("--by", required=True, metavar="TEXT", help="Your name and function.")
@click.option("--text", metavar="TEXT", help="What was done otherwise, or why.")
@click.option(
    "--pack", type=click.Path(exists=True, path_type=Path),
    help="The pack that is superseded or withdrawn.",
)  # fmt: skip
def add(
    audit_yaml: Path, kind: trails.Statement, by: str, text: str | None, pack: Path | None
) -> None:
    """State a deviation from the plan, or that a pack is superseded or withdrawn.

    KIND is deviation, superseded or withdrawn. An entry is never taken out again.
    """
    from compliance.workflow import trails

    click.echo(_line(trails.state(audit_yaml, kind, by=by, text=text, pack=pack)))


@trail.command()
@audit_file
@click.option("--key", required=True, type=FILE, help="A private key in PEM form.")
@click.option("--passphrase-file", type=FILE, help="A file with the passphrase of the key.")
@output_option
def checkpoint(
    audit_yaml: Path, key: Path, passphrase_file: Path | None, output: Path | None
) -> None:
    """Sign the head of the trail, for somebody else to keep."""
    from compliance.keys.opening import KeySource, read_secret
    from compliance.workflow import trails

    secret = read_secret(passphrase_file) if passphrase_file else None
    note = trails.sign_trail(audit_yaml, KeySource(key, secret))
    _give(note, output)


@trail.command()
@trail_file
@click.option("--entry", type=click.IntRange(min=1), metavar="N", help="That entry N is there.")
@click.option("--since", type=FILE, help="That the trail goes on from this checkpoint.")
@output_option
def prove(trail: Path, entry: int | None, since: Path | None, output: Path | None) -> None:
    """Print a proof about TRAIL, or the audit.yaml beside it. Checking it needs no trail."""
    from compliance.records.base import canonical_bytes
    from compliance.workflow import trails

    if entry is not None and since is None:
        proof: trails.Proof = trails.prove_entry(trail, entry)
    elif since is not None and entry is None:
        proof = trails.prove_since(trail, since)
    else:
        raise click.UsageError("give either --entry or --since")
    _give(canonical_bytes(proof) + b"\n", output)


@trail.command()
@click.argument("trail", type=FILE, required=False)
@click.option(
    "--checkpoint", "checkpoints", type=FILE, multiple=True,
    help="A signed head that somebody kept; may be given again.",
)  # fmt: skip
@click.option("--key", type=FILE, help="The public key of who signed it, in PEM form.")
@click.option("--proof", type=FILE, help="What 'compliance trail prove' printed.")
@click.pass_context
def check(
    context: click.Context, trail: Path | None, checkpoints: tuple[Path, ...], key: Path | None,
    proof: Path | None,
) -> None:  # fmt: skip
    """Check TRAIL, or the audit.yaml beside it, against checkpoints; or a proof without a trail."""
    from compliance.keys import load_public_key
    from compliance.records.verification import Outcome
    from compliance.workflow import trails

    found = trails.check_trail(
        trail,
        checkpoints=checkpoints,
        key=load_public_key(key) if key else None,
        proof=proof,
    )
    for one in found:
        click.echo(one.line)
    failed = any(one.status is Outcome.FAILED for one in found)
    context.exit(1 if failed else 0)


def _give(data: bytes, output: Path | None) -> None:
    """Print, or write and print where."""
    if output is None:
        click.echo(data, nl=False)
    else:
        from compliance.storage import write_bytes

        write_bytes(output, data)
        click.echo(output)


def _line(entry: Entry) -> str:
    """An entry on one line: number, moment, kind, who, and its short facts."""
    from compliance.packs.folder import printable

    facts = (f"{name}={_short(value)}" for name, value in sorted(entry.facts.items())
             if name not in LONG_FACTS)  # fmt: skip
    line = f"{entry.sequence:>4}  {entry.at}  {entry.kind:<19}  {entry.actor}  {' '.join(facts)}"
    return printable(line.rstrip())


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text[:SHORT] if text.startswith("sha256:") else text
