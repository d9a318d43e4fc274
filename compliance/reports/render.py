"""From `Report` to pages: one template, once as HTML and once, through WeasyPrint, as PDF.

    html = render_html(report)
    pdf = render_pdf(report, attachments={"evidence.json": data}, identifier=digest, when=moment)

The HTML is one file without scripts; its policy lets a browser load nothing, of pictures those that
are in the file. The PDF is PDF/A-3a and PDF/UA-1 at once and is made in a child process
(`compliance.reports.pdf`) with limits of time and memory, since hostile or huge content must not
take the parent with it. Nothing is fetched from anywhere.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import jinja2
from markupsafe import Markup

from compliance.errors import ReportError
from compliance.records.report import Report
from compliance.reports.context import anchor
from compliance.reports.messages import load_messages
from compliance.reports.pdf import MAX_SECONDS, html_to_pdf
from compliance.resources import data_dir, data_file

GENERATOR = "sae-compliance"
STYLES = ("report.css", "charts.css", "features.css")
"""Put one after the other; of two rules the later one holds."""

FOR_BROWSERS = "browser.css"
"""Comes last, and is left out on paper, whose renderer refuses what it does not know."""


def render_html(report: Report, *, paper: bool = False) -> str:
    """The report as one HTML file that needs nothing else.

    Args:
        report: What to show.
        paper: Leave out what a page shows only when it is opened, such as the data of a chart.

    Raises:
        ReportError: A template does not fit the report.
    """
    words = load_messages(report.language)
    css = page_style(words.ui, paper=paper)
    try:
        page = (
            templates()
            .get_template("report/report.html.j2")
            .render(
                report=report,
                paper=paper,
                w=_namespace(words.ui),
                css=Markup(css),
                policy=page_policy(css, pictures=report.has_pictures),
                generator=GENERATOR,
            )
        )
    except (jinja2.TemplateError, KeyError) as problem:
        raise ReportError(f"report template: {problem}") from problem
    return page if report.level == "full" else _without_dead_links(page)


_LINK = re.compile(r'<a((?: [a-z]+="[^"<>]*")*?) href="#([^"]*)">(.*?)</a>')
_ID = re.compile(r' id="([^"]*)"')


def _without_dead_links(page: str) -> str:
    """Links to what a shorter report leaves out, as plain words; links hold text alone."""
    there = set(_ID.findall(page))

    def kept(found: re.Match[str]) -> str:
        attributes, target, text = found.groups()
        if target in there:
            return found[0]
        return f"<span{attributes}>{text}</span>" if attributes else text

    return _LINK.sub(kept, page)


def render_pdf(
    report: Report,
    *,
    attachments: Mapping[str, bytes],
    identifier: bytes,
    when: datetime,
    max_seconds: int = MAX_SECONDS,
) -> bytes:
    """The report as PDF/A-3a and PDF/UA-1; the same arguments give the same bytes on one machine.

    Args:
        report: What to show.
        attachments: Files to embed, by the name they get.
        identifier: Of the document; take the digest of the inputs.
        when: Date of the document and of its attachments, time zone included.
        max_seconds: After that the rendering is ended.

    Raises:
        ReportError: Rendering failed, took too long or too much memory.
    """
    return html_to_pdf(
        render_html(report, paper=True),
        attachments=attachments,
        identifier=identifier,
        when=when,
        max_seconds=max_seconds,
    )


def templates() -> jinja2.Environment:
    """Jinja over the shipped templates: everything escaped, nothing undefined."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(data_dir("templates")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["paper"] = False  # unless a page is said to be for paper
    environment.globals["method_anchor"] = lambda key: anchor("method", key)
    return environment


def _namespace(words: Any) -> Any:
    """Words by attribute alone, so that a key such as ``items`` is never a method of dict."""
    if isinstance(words, dict):
        return SimpleNamespace(**{key: _namespace(value) for key, value in words.items()})
    return [_namespace(word) for word in words] if isinstance(words, list) else words


def page_style(words: Mapping[str, Any], *, paper: bool = False) -> str:
    """The one style sheet, with the words that it prints beside page numbers."""
    names = STYLES if paper else (*STYLES, FOR_BROWSERS)
    sheets = (data_file(f"templates/report/{name}") for name in names)
    text = "".join(sheet.read_text(encoding="utf-8") for sheet in sheets)
    return text.replace("PAGE_WORD", words["page"]).replace("OF_WORD", words["of"])


def page_policy(css: str, *, pictures: bool = False) -> str:
    """A policy under which a browser loads and runs nothing but this one style sheet.

    Args:
        css: The style sheet.
        pictures: Whether the page holds pictures, as data URIs.
    """
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    shown = "; img-src data:" if pictures else ""
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'{shown}; base-uri 'none'; "
        "form-action 'none'"
    )
