"""Chromium for tests of the HTML report, driven by Playwright, and axe-core for its rules.

Playwright brings neither browser nor rules: the browser is the system's, and the rules stand in
``axe-playwright-python`` as one script. Only `PAGE_SCRIPT` is ours.
"""

import shutil
from importlib.resources import files
from pathlib import Path

import pytest

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
PLACES = (Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"),)

TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
"""WCAG 2.2 at level AA holds the versions before it."""

PAGE_SCRIPT = Path(__file__).with_name("browser.js")


def browser_path() -> str:
    """The browser to run; skips the test where there is none."""
    found = [path for path in map(shutil.which, NAMES) if path]
    found += [str(path) for path in PLACES if path.exists()]
    if not found:
        pytest.skip("no Chromium here (Debian: chromium-headless-shell)")
    return found[0]


def axe_script() -> str:
    """The source of axe-core, which defines ``axe`` in a page."""
    return (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
