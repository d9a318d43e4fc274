"""From `Report` to pages: one template, once as HTML and once, through WeasyPrint, as PDF.

    html = render_html(report)
    pdf = render_pdf(report, attachments={"evidence.json": data}, identifier=digest, when=moment)

The HTML is one file without scripts; its policy lets a browser load nothing, of pictures those that
are in the file. The PDF is
PDF/A-3a and PDF/UA-1 at once and is made in a child process with limits of time and memory, since
hostile or huge content must not take the parent with it. Nothing is fetched from anywhere.
"""

import base64
import hashlib
import io
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import jinja2
from markupsafe import Markup

from compliance.errors import ReportError
from compliance.records.report import Report
from compliance.reports.context import anchor
from compliance.reports.messages import load_messages
from compliance.resources import data_dir, data_file

MAX_SECONDS = 900
"""A pack with forty cells takes about a minute; this is room for a slow machine."""

MAX_BYTES = 6 * 2**30
PDF_VARIANT = "pdf/a-3a"
GENERATOR = "sae-compliance"
STYLES = ("report.css", "charts.css", "features.css")
"""Put one after the other; of two rules the later one holds."""

PICTURE = "data:image/png;base64,"
"""How the address of every picture begins."""

_PDFUAID = "http://www.aiim.org/pdfua/ns/id/"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"


def render_html(report: Report, *, paper: bool = False) -> str:
    """The report as one HTML file that needs nothing else.

    Args:
        report: What to show.
        paper: Leave out what a page shows only when it is opened, such as the data of a chart.

    Raises:
        ReportError: A template does not fit the report.
    """
    words = load_messages(report.language)
    css = page_style(words.ui)
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


def html_to_pdf(
    html: str,
    *,
    attachments: Mapping[str, bytes],
    identifier: bytes,
    when: datetime,
    max_seconds: int = MAX_SECONDS,
) -> bytes:
    """A page of our own templates as PDF; see `render_pdf`. It needs a title and a language."""
    task = {
        "html": html,
        "attachments": {n: base64.b64encode(d).decode() for n, d in sorted(attachments.items())},
        "identifier": identifier.hex(),
        "when": _utc(when).isoformat(),
        "max_seconds": max_seconds,
    }
    return _in_child(json.dumps(task).encode(), max_seconds)


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
    environment.globals["method_anchor"] = lambda key: anchor("method", key)
    return environment


def _namespace(words: Any) -> Any:
    """Words by attribute alone, so that a key such as ``items`` is never a method of dict."""
    if isinstance(words, dict):
        return SimpleNamespace(**{key: _namespace(value) for key, value in words.items()})
    return [_namespace(word) for word in words] if isinstance(words, list) else words


def page_style(words: Mapping[str, Any]) -> str:
    """The one style sheet, with the words that it prints beside page numbers."""
    sheets = (data_file(f"templates/report/{name}") for name in STYLES)
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


def _utc(when: datetime) -> datetime:
    if when.tzinfo is None:
        raise ReportError(
            f"when: {when.isoformat()} has no time zone",
            hint="give a moment with its zone, such as datetime(..., tzinfo=UTC)",
        )
    return when.astimezone(UTC).replace(microsecond=0)


def _in_child(task: bytes, max_seconds: int) -> bytes:
    """Run `main` of this module in a process of its own."""
    environment = {k: v for k, v in os.environ.items() if k != "SOURCE_DATE_EPOCH"}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "compliance.reports.render"],
            input=task, capture_output=True, timeout=max_seconds, env=environment, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as problem:
        raise ReportError(
            f"the PDF was not ready after {max_seconds} s",
            hint="the HTML has the same content; very long texts make rendering slow",
        ) from problem
    if done.returncode == 0 and done.stdout.startswith(b"%PDF-"):
        return done.stdout
    raise ReportError(
        f"the PDF could not be rendered: {_last_line(done.stderr)}",
        hint="a limit of memory or time was reached, or a font or library is missing; "
        "see the requirements of WeasyPrint",
    )


def _last_line(data: bytes) -> str:
    lines = data.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "the process ended without a message"


def main() -> None:
    """Read a task from standard input and write the PDF to standard output."""
    task = json.load(sys.stdin.buffer)
    _limit(task["max_seconds"])
    data = _to_pdf(
        task["html"],
        {name: base64.b64decode(text) for name, text in task["attachments"].items()},
        bytes.fromhex(task["identifier"]),
        datetime.fromisoformat(task["when"]),
    )
    sys.stdout.buffer.write(data)


def _limit(seconds: int) -> None:
    """Bound memory and processor time, where the system can."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, MAX_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    except (ImportError, ValueError, OSError):
        return  # no such limits here; the parent still watches the clock


def _to_pdf(
    html: str, attachments: Mapping[str, bytes], identifier: bytes, when: datetime
) -> bytes:
    from weasyprint import HTML

    _remember_pages()
    complaints = _complaints()
    fetcher = _closed_fetcher()
    document = HTML(string=html, url_fetcher=fetcher).render(
        pdf_variant=PDF_VARIANT, pdf_tags=True, pdf_identifier=identifier
    )
    if document.metadata.attachments:
        raise ReportError("the page names an attachment, which is not its own")
    moment = when.strftime("%Y-%m-%dT%H:%M:%SZ")
    document.metadata.created = document.metadata.modified = moment
    document.metadata.attachments = [
        _attachment(name, data, when, fetcher) for name, data in attachments.items()
    ]
    _declare_ua(document.metadata)
    out = io.BytesIO()
    document.write_pdf(out, pdf_variant=PDF_VARIANT, pdf_tags=True, pdf_identifier=identifier)
    if complaints:
        raise ReportError(f"the page has what the renderer does not know: {complaints[0]}")
    return out.getvalue()


def _remember_pages() -> None:
    """Let pydyf list a document's pages once and not for each of its tags.

    The time of tagging then grows with the tags alone, and not also with the pages.
    """
    import pydyf

    listed = pydyf.PDF.page_references.fget

    def page_references(pdf: Any) -> tuple[bytes, ...]:
        known: tuple[bytes, ...] = getattr(pdf, "_known_pages", ())
        if 3 * len(known) != len(pdf.pages["Kids"]):  # number, generation and R of each page
            known = pdf._known_pages = listed(pdf)
        return known

    pydyf.PDF.page_references = property(page_references)


def _complaints() -> list[str]:
    """Collects the renderer's warnings, such as a lost link or an unknown property."""
    from weasyprint.logger import LOGGER

    found: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    LOGGER.addHandler(Collect(level=logging.WARNING))
    return found


def _attachment(name: str, data: bytes, when: datetime, fetcher: Any) -> Any:
    from weasyprint import Attachment

    return Attachment(
        string=data, name=name, description=name, relationship="Source",
        created=when, modified=when, url_fetcher=fetcher,
    )  # fmt: skip


def _closed_fetcher() -> Any:
    """A fetcher that refuses all but the pictures that stand in the page itself."""
    from weasyprint.urls import FatalURLFetchingError, URLFetcher

    class Closed(URLFetcher):
        def fetch(self, url: str, headers: Mapping[str, str] | None = None) -> Any:
            if url.startswith(PICTURE):
                return super().fetch(url, headers)
            raise FatalURLFetchingError(f"the report asks for {url[:200]!r}, which is not its own")

    return Closed()


def _declare_ua(metadata: Any) -> None:
    """Say PDF/UA-1 in the same RDF that says PDF/A-3a; a second RDF would be ignored."""
    original = metadata.generate_rdf_metadata

    def generate(*args: Any, **kwargs: Any) -> bytes:
        for prefix, namespace in _PREFIXES.items():
            ElementTree.register_namespace(prefix, namespace)
        tree = ElementTree.fromstring(original(*args, **kwargs))
        about = ElementTree.SubElement(tree, f"{{{_RDF}}}Description", {f"{{{_RDF}}}about": ""})
        ElementTree.SubElement(about, f"{{{_PDFUAID}}}part").text = "1"
        tree.append(ElementTree.fromstring(_UA_SCHEMA))
        return ElementTree.tostring(tree, encoding="utf-8")

    metadata.generate_rdf_metadata = generate


_PREFIXES = {
    "pdfuaid": _PDFUAID,
    "pdfaExtension": "http://www.aiim.org/pdfa/ns/extension/",
    "pdfaSchema": "http://www.aiim.org/pdfa/ns/schema#",
    "pdfaProperty": "http://www.aiim.org/pdfa/ns/property#",
}
"""PDF/A asks for these very prefixes."""

_UA_SCHEMA = """
<rdf:Description xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
    xmlns:pdfaExtension="http://www.aiim.org/pdfa/ns/extension/"
    xmlns:pdfaSchema="http://www.aiim.org/pdfa/ns/schema#"
    xmlns:pdfaProperty="http://www.aiim.org/pdfa/ns/property#" rdf:about="">
  <pdfaExtension:schemas><rdf:Bag><rdf:li rdf:parseType="Resource">
    <pdfaSchema:schema>PDF/UA identification schema</pdfaSchema:schema>
    <pdfaSchema:namespaceURI>http://www.aiim.org/pdfua/ns/id/</pdfaSchema:namespaceURI>
    <pdfaSchema:prefix>pdfuaid</pdfaSchema:prefix>
    <pdfaSchema:property><rdf:Seq><rdf:li rdf:parseType="Resource">
      <pdfaProperty:name>part</pdfaProperty:name>
      <pdfaProperty:valueType>Integer</pdfaProperty:valueType>
      <pdfaProperty:category>internal</pdfaProperty:category>
      <pdfaProperty:description>Part of ISO 14289 this file conforms to</pdfaProperty:description>
    </rdf:li></rdf:Seq></pdfaSchema:property>
  </rdf:li></rdf:Bag></pdfaExtension:schemas>
</rdf:Description>
"""
"""PDF/A knows only its own metadata; other schemas describe themselves."""


if __name__ == "__main__":
    main()
