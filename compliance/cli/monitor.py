"""What a monitor wrote while a model served, at the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from compliance.monitor.reading import Chained, Log

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)

log_folder = click.argument("folder", type=FOLDER)


@click.group()
def monitor() -> None:
    """Check the event log of a model that is watched."""


@monitor.command()
@log_folder
@click.pass_context
def check(context: click.Context, folder: Path) -> None:
    """Check that no event of the log in FOLDER was changed, and say which are missing."""
    from compliance import workflow
    from compliance.records.page import printable

    log = workflow.check_log(folder)
    for line in _summary(log):
        click.echo(printable(line))
    context.exit(1 if log.damage else 0)


def _summary(log: Log) -> list[str]:
    """What was found, damage first."""
    return [
        *(f"damaged: {damage}" for damage in log.damage),
        *(f"gap: {gap}" for gap in log.gaps),
        *(_chain(chain) for chain in log.chains),
        f"{sum(log.counts.values()):,} events in {_several(len(log.chains), 'chain')}: "
        + (", ".join(f"{count:,} {kind}" for kind, count in sorted(log.counts.items())) or "none"),
        f"{len(log.damage)} damaged, {_several(len(log.gaps), 'gap')}, "
        f"{_several(log.dropped, 'event')} not written",
    ]


def _chain(chain: Chained) -> str:
    """A chain on one line. Its head, kept elsewhere, shows later that nothing was cut off."""
    state = "still written" if chain.written else "closed" if chain.closed else "not closed"
    return (
        f"chain {chain.id}: events {chain.first:,} to {chain.last:,} in "
        f"{_several(len(chain.paths), 'file')}, {state}, head {chain.head}"
    )


def _several(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
