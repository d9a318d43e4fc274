"""What suites there are, and how good one is."""

from __future__ import annotations

from pathlib import Path

import click

from compliance import workflow
from compliance.cli import import_text, suite_text
from compliance.cli.console import Console, print_json
from compliance.errors import ComplianceError

EXISTING = click.Path(exists=True, path_type=Path)


@click.group()
def suites() -> None:
    """List the suites that ship, and check, import or render any suite."""


@suites.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print the records.")
def list_suites(as_json: bool) -> None:
    """List the suites that ship: items of each cell, and what their number can show."""
    for suite in workflow.shipped_suites():
        if as_json:
            print_json(suite)
        else:
            click.echo("\n".join(suite_text.overview(suite)))


@suites.command()
@click.argument("suite")
@click.option(
    "--tokenizer", "tokenizers", multiple=True, metavar="PATH",
    help="A tokenizer.json, or a folder with one, to count tokens with; may be given again.",
)  # fmt: skip
@click.option(
    "--limits", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML file with other limits.",
)  # fmt: skip
@click.option(
    "--html", "page", type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the report as a page.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the record.")
@click.pass_context
def check(
    context: click.Context,
    suite: str,
    tokenizers: tuple[str, ...],
    limits: Path | None,
    page: Path | None,
    as_json: bool,
) -> None:
    """Measure how good SUITE (a folder, or compliance:NAME) is, and hold it against limits."""
    report = workflow.check_suite(
        suite, Path.cwd(), limits=limits, tokenizers=tokenizers, page=page, progress=Console()
    )
    if as_json:
        print_json(report)
    else:
        click.echo("\n".join(suite_text.whole(report)))
    if not report.passed:
        context.exit(1)


@suites.command()
@click.argument("suite")
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--size", "sizes", type=click.IntRange(6, 256), multiple=True, default=(16, 24), metavar="PX",
    help="Size of the letters; given several times, each group has one of them (default: 16, 24).",
)  # fmt: skip
@click.option(
    "--width", type=click.IntRange(min=1), default=448, show_default=True, metavar="PX",
    help="Width of the pictures.",
)  # fmt: skip
@click.option(
    "--square", is_flag=True,
    help="Add white to make the pictures square, for models that cut or squash others.",
)  # fmt: skip
@click.option("--concept", "concepts", multiple=True, help="Only this one; may be given again.")
@click.option("--language", "languages", multiple=True, help="Only this one; may be given again.")
@click.option(
    "--groups", type=click.IntRange(min=2), metavar="N", help="At most N groups of each concept."
)
@click.option("--benign", type=click.IntRange(min=1), metavar="N", help="At most N benign groups.")
def render(
    suite: str,
    target: Path,
    sizes: tuple[int, ...],
    width: int,
    square: bool,
    concepts: tuple[str, ...],
    languages: tuple[str, ...],
    groups: int | None,
    benign: int | None,
) -> None:
    """Make TARGET of SUITE (a folder, or compliance:NAME): its texts, and pictures of them.

    Each text but neutral ones is also there as a picture of its words, black on white, in the same
    group; so TARGET takes SUITE's place in an audit. Equal texts give equal files.
    """
    choice = workflow.Choice(
        sizes=sizes, width=width, square=square, concepts=concepts, languages=languages,
        groups=groups, benign=benign,
    )  # fmt: skip
    try:
        found = workflow.render_suite(suite, Path.cwd(), target, choice, progress=Console())
    except KeyboardInterrupt as error:
        raise ComplianceError("interrupted; nothing was written") from error
    click.echo("\n".join(suite_text.overview(found)))


@suites.command("recipes")
def list_recipes() -> None:
    """List the recipes that 'suites import' knows by name."""
    for recipe in workflow.recipes():
        click.echo("\n".join(import_text.recipe(recipe)))


@suites.command("import")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...", type=EXISTING)
@click.option(
    "--mapping", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What columns and values of the files mean.",
)  # fmt: skip
@click.option("--recipe", metavar="NAME", help="A mapping that ships; see 'suites recipes'.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path),
    help="Folder of the suite; must not be there yet.",
)  # fmt: skip
@click.option("--split", metavar="NAME", help="Which split of a dataset folder.")
@click.option("--licence", metavar="TEXT", help="Of the files, for a recipe that cannot know it.")
@click.option(
    "--allow-refused", type=click.IntRange(min=0), default=0, show_default=True, metavar="N",
    help="How many rows or items may be broken before the exit code is 1.",
)  # fmt: skip
@click.pass_context
def import_files(
    context: click.Context,
    sources: tuple[Path, ...],
    mapping: Path | None,
    recipe: str | None,
    out: Path,
    split: str | None,
    licence: str | None,
    allow_refused: int,
) -> None:
    """Make a suite of each SOURCE: CSV, JSON, JSONL, Parquet, dataset folder or Inspect log."""
    try:
        imported = workflow.import_suite(
            sources, out, mapping=mapping, recipe=recipe, licence=licence, split=split,
            progress=Console(),
        )  # fmt: skip
    except KeyboardInterrupt as error:
        raise ComplianceError("interrupted; nothing was written") from error
    for line in import_text.refused(imported):
        click.echo(line, err=True)
    if imported.folder:
        click.echo("\n".join(import_text.written(imported)))
    if imported.trouble or sum(imported.refused.values()) > allow_refused:
        context.exit(1)
