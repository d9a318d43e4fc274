"""The ``compliance`` command. Exit codes: 0 yes, 1 no, 2 could not tell.

Commands are loaded when they are called, so that ``compliance --help`` answers at once.
"""

from __future__ import annotations

from importlib import import_module

import click

from compliance import __version__
from compliance.errors import ComplianceError, VerificationError

COMMANDS = {
    "demo": ("demo", "Audit a small real model; ends with a signed evidence pack."),
    "init": ("declare", "Scaffold audit.yaml, system.yaml and a suite."),
    "gaps": ("declare", "List what is not declared yet."),
    "suites": ("suites", "List the suites that ship, and check any suite."),
    "saes": ("saes", "List the releases of SAELens and what can be used."),
    "features": ("features", "Find features, look at one, make its card."),
    "audit": ("audit", "Run the whole way, from audit.yaml to a signed pack."),
    "plan": ("audit", "Freeze what is to be measured."),
    "observe": ("audit", "Run the next pass over the model."),
    "lock": ("audit", "Freeze probe, cut-offs and controls before confirming."),
    "assess": ("audit", "Compute results and verdicts from the observations."),
    "report": ("audit", "Render the report of an assessment."),
    "pack": ("audit", "Build the signed pack."),
    "mitigate": ("mitigate", "Ask a model before and after something is suppressed."),
    "stamp": ("stamp", "Prove by an authority's clock that a pack was signed by now."),
    "keys": ("keys", "Make signing keys, and show what identifies them."),
    "sign": ("sign", "Sign a pack for yourself, in a role."),
    "approve": ("sign", "Approve a pack: sign it in the role approver."),
    "verify": ("verify", "Check that a pack is complete, unchanged and recomputable."),
    "diff": ("diff", "Show what changed between two packs, with intervals."),
    "compare": ("compare", "Show several subjects under one lock, side by side."),
    "gate": ("diff", "Fail when a new pack is worse than tolerated."),
    "archive": ("archive", "List, restore and check all versions that are kept."),
    "trail": ("trail", "Show the audit trail, state something in it, prove, check."),
    "redact": ("redact", "Make a copy of a pack for the public, a deployer or an authority."),
    "disclose": ("redact", "Disclose an item of a pack later, with its proof."),
    "card": ("card", "Write what a pack shows into a model's README."),
    "monitor": ("monitor", "Check, report and review the event log of a model that is watched."),
    "law": ("law", "Show a provision: wording, dates, what evidence can show."),
}
"""Module and one line of help for each command, in the order of use."""


class Failure(click.ClickException):
    """One of our errors as a message and an exit code."""

    def __init__(self, error: ComplianceError) -> None:
        from compliance.records.page import printable  # what it quotes may be a stranger's

        text = f"{error}\nHint: {error.hint}" if error.hint else str(error)
        super().__init__(printable(text))
        self.exit_code = 1 if isinstance(error, VerificationError) else 2


class Commands(click.Group):
    """Loads a command when it is called, and turns our errors into text in one place."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"compliance.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except ComplianceError as error:
            raise Failure(error) from error
        except MemoryError as error:
            short = ComplianceError(
                "there is not enough memory to read this",
                hint="if you do not know who made it, do not read it on a larger machine either",
            )
            raise Failure(short) from error
        except KeyboardInterrupt as error:
            stopped = ComplianceError(
                "interrupted; everything finished so far is kept",
                hint="run the same command again to go on",
            )
            raise Failure(stopped) from error


@click.group(cls=Commands)
@click.version_option(__version__, prog_name="compliance")
def main() -> None:
    """Measure safety concepts inside a model and turn what was seen into signed evidence.

    It never says that a system complies. It says what was measured, how well, what was not, and
    what the evidence cannot show.
    """
