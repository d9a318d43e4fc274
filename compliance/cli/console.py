"""What commands share: progress on stderr, records as JSON on stdout."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from compliance.records.base import Record

EVERY = 5.0
"""Seconds between lines where stderr is not a terminal."""


class Console:
    """Progress for a person: one line that is rewritten, or a line now and then in a log."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._last = 0.0

    def stage(self, text: str) -> None:
        """Say that a stage begins."""
        click.echo(f"... {text}", err=True)
        self._last = time.monotonic()

    def advance(self, done: int, total: int, seconds_left: float | None) -> None:
        """Say how far a stage is."""
        finished = done == total
        if not finished and time.monotonic() - self._last < (0.2 if self._live else EVERY):
            return
        self._last = time.monotonic()
        left = "" if seconds_left is None or finished else f", about {_duration(seconds_left)} left"
        line = f"    {done:,} of {total:,} items{left}"
        if self._live:
            click.echo(f"\r{line:<70}", nl=finished, err=True)
        else:
            click.echo(line, err=True)


def print_json(record: Record) -> None:
    """The record itself, on stdout."""
    click.echo(record.model_dump_json(exclude_none=True, indent=2))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min"
