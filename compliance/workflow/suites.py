"""What suites there are, and how good one is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from compliance.documents import read_yaml
from compliance.progress import SILENT, Progress
from compliance.quality.check import check, overview
from compliance.records.suite_report import Limits, SuiteOverview, SuiteReport
from compliance.resources import data_dir
from compliance.storage import write_text
from compliance.suites.load import SHIPPED, load_suite
from compliance.suites.rendering.typographic import Choice
from compliance.suites.rendering.typographic import render_suite as write_rendered


def check_suite(
    name: str,
    base: Path,
    *,
    limits: Path | None = None,
    tokenizers: Sequence[str] = (),
    page: Path | None = None,
    progress: Progress = SILENT,
) -> SuiteReport:
    """Measure a suite, and write the report as a page where one is wanted.

    Args:
        name: ``compliance:NAME``, or a folder.
        base: What a relative folder is relative to.
        limits: YAML file; None: the defaults.
        tokenizers: ``tokenizer.json`` files or folders, to count tokens with.
        page: HTML file to write; an older one is replaced.
        progress: Is told what is being measured.

    Raises:
        ConfigError: The limits do not fit.
        SuiteError: It cannot be read, its items contradict each other, or a package is missing.
        ReportError: The page cannot be rendered.
        StorageError: The page cannot be written.
    """
    report = check(
        load_suite(name, base),
        limits=read_yaml(limits, Limits) if limits else None,
        tokenizers=tokenizers,
        progress=progress,
    )
    if page:
        from compliance.reports.suite_page import render_suite_page

        write_text(page, render_suite_page(report))
    return report


def shipped_suites() -> list[SuiteOverview]:
    """The suites that ship with the package."""
    folders = sorted(path for path in data_dir("evidence/suites").iterdir() if path.is_dir())
    return [overview(load_suite(f"{SHIPPED}{folder.name}", folder)) for folder in folders]


def render_suite(
    name: str, base: Path, target: Path, choice: Choice, *, progress: Progress = SILENT
) -> SuiteOverview:
    """Make a suite of another one's texts and pictures of them.

    Args:
        name: ``compliance:NAME``, or a folder.
        base: What a relative folder is relative to.
        target: Folder of the new suite; must not be there.
        choice: Which part of it, and in which size.
        progress: Is told about pictures.

    Returns:
        Its sizes.

    Raises:
        SuiteError: It cannot be read, or something of it cannot be drawn.
        StorageError: ``target`` is there already, or cannot be written; nothing is left behind.
    """
    return overview(write_rendered(load_suite(name, base), target, choice, progress))
