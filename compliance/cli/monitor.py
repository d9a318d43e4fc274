"""What a monitor wrote while a model served, at the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from compliance.monitor.reading import Chained, Log

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
EXISTING = click.Path(exists=True, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
NEW = click.Path(dir_okay=False, path_type=Path)

log_folder = click.argument("folder", type=FOLDER)


@click.group()
def monitor() -> None:
    """Check, report and review the event log of a model that is watched."""


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


@monitor.command()
@click.argument("logs", nargs=-1, required=True, type=FOLDER, metavar="LOG...")
@click.option(
    "--pack", required=True, type=EXISTING, help="The pack whose probes watched; a folder or a ZIP."
)
@click.option(
    "--reviewed", multiple=True, type=FILE,
    help="A queue with what reviewers decided; may be given again.",
)  # fmt: skip
@click.option("--html", "page", type=NEW, help="Write a page to this file; it needs nothing else.")
@click.option("--json", "as_json", is_flag=True, help="Print the record.")
@click.pass_context
def report(
    context: click.Context,
    logs: tuple[Path, ...],
    pack: Path,
    reviewed: tuple[Path, ...],
    page: Path | None,
    as_json: bool,
) -> None:
    """Say what the event logs in LOG show: alerts, drift, and what went wrong."""
    from compliance import workflow
    from compliance.cli.console import Console, print_json
    from compliance.cli.monitor_text import report_lines

    found = workflow.report_monitoring(logs, pack, reviewed=reviewed, page=page, progress=Console())
    if as_json:
        print_json(found)
    else:
        click.echo("\n".join(report_lines(found)))
    context.exit(1 if found.damage else 0)


@monitor.command()
@log_folder
@click.option("--out", required=True, type=NEW, help="A .csv or .jsonl file that is not there yet.")
@click.pass_context
def queue(context: click.Context, folder: Path, out: Path) -> None:
    """Write the alerts of the log in FOLDER to a file, for people to review; it holds no words."""
    from compliance import workflow
    from compliance.records.page import printable

    found = workflow.queue_alerts(folder, out)
    for one in found.damage:
        click.echo(printable(f"damaged: {one}; no alert of its chain is written"))
    click.echo(f"{_several(found.alerts, 'alert')} to review")
    context.exit(1 if found.damage else 0)


@monitor.command()
@click.argument("queue", type=FILE)
@click.option("--pack", required=True, type=EXISTING, help="The pack whose probes watched.")
@click.option(
    "--to", "target", required=True, type=click.Path(path_type=Path),
    help="Folder of the suite that is made; it must not be there.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the record.")
def labels(queue: Path, pack: Path, target: Path, as_json: bool) -> None:
    """Make a suite of benign items of the false alerts in QUEUE, for the next calibration."""
    from compliance import workflow
    from compliance.cli.console import print_json
    from compliance.cli.monitor_text import label_lines

    found = workflow.label_alerts(queue, pack, target)
    if as_json:
        print_json(found)
    else:
        click.echo("\n".join(label_lines(found)))


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
