"""How long work tells what it is doing. The command line prints it; a caller may stay silent."""

from typing import Protocol


class Progress(Protocol):
    """Receives what a verb is doing."""

    def stage(self, text: str) -> None:
        """A new stage begins."""

    def advance(self, done: int, total: int, seconds_left: float | None) -> None:
        """Items done, items in all, and seconds left where they can be told."""


class _Silent:
    def stage(self, text: str) -> None:
        pass

    def advance(self, done: int, total: int, seconds_left: float | None) -> None:
        pass


SILENT: Progress = _Silent()
