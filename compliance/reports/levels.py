"""Three levels of detail of one report: two pages, about twenty, and all.

    full = build_report(...)
    brief = at_level(full, "brief")

Each is the same record with fewer chapters, so that no sentence can differ between them.
"""

from typing import get_args

from compliance.records.report import Level, Report
from compliance.reports.messages import Messages, load_messages

CHAPTERS: dict[Level, tuple[str, ...]] = {
    "brief": (),
    "standard": ("reading", "law", "concepts", "limits", "changes", "verification"),
}
"""Chapters of the shorter levels; the full report has all."""

FILES: dict[Level, str] = {
    "brief": "report-brief.pdf",
    "standard": "report-standard.pdf",
    "full": "report.pdf",
}
"""What a pack calls the PDF of each level."""

LEVELS = get_args(Level)


def at_level(report: Report, level: Level) -> Report:
    """The report with the chapters of a level.

    Args:
        report: The full one.
        level: How much is to be printed.
    """
    if level == "full":
        return report
    words = load_messages(report.language)
    chapters = CHAPTERS[level]
    return report.model_copy(
        update={
            "level": level,
            "level_note": _note(words, report, level, chapters),
            "chapters": chapters,
        }
    )


def _note(words: Messages, report: Report, level: Level, chapters: tuple[str, ...]) -> str:
    """Where the rest is, and which chapters are only there."""
    missing = [h.number for h in report.contents if h.key not in chapters]
    return words.levels[level].note.format(
        pack=report.pack_id, missing=", ".join(missing),
        **{name: FILES[name] for name in LEVELS},
    )  # fmt: skip
