"""From a page of our own to PDF/A-3a and PDF/UA-1, in a child process with limits.

    pdf = html_to_pdf(page, attachments={"evidence.json": data}, identifier=digest, when=moment)

The child process runs this very module. It imports nothing of the package but errors, since what a
report is made of takes longer to load than a short page to render.
"""

import base64
import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

from compliance.errors import ReportError

MAX_SECONDS = 900
"""A pack with forty cells takes about a minute; this is room for a slow machine."""

MAX_BYTES = 6 * 2**30
PDF_VARIANT = "pdf/a-3a"
PICTURE = "data:image/png;base64,"
"""How the address of every picture begins."""

_PDFUAID = "http://www.aiim.org/pdfua/ns/id/"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"


def html_to_pdf(
    html: str,
    *,
    attachments: Mapping[str, bytes],
    identifier: bytes,
    when: datetime,
    max_seconds: int = MAX_SECONDS,
) -> bytes:
    """A page as PDF; the same arguments give the same bytes on one machine.

    Args:
        html: Of our own templates; it needs a title and a language.
        attachments: Files to embed, by the name they get.
        identifier: Of the document; take the digest of the inputs.
        when: Date of the document and of its attachments, time zone included.
        max_seconds: After that the rendering is ended.

    Raises:
        ReportError: Rendering failed, took too long or too much memory.
    """
    task = {
        "html": html,
        "attachments": {n: base64.b64encode(d).decode() for n, d in sorted(attachments.items())},
        "identifier": identifier.hex(),
        "when": _utc(when).isoformat(),
        "max_seconds": max_seconds,
        "max_bytes": MAX_BYTES,
    }
    return _in_child(json.dumps(task).encode(), max_seconds)


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
            [sys.executable, "-m", "compliance.reports.pdf"],
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
    _limit(task["max_seconds"], task["max_bytes"])
    data = _to_pdf(
        task["html"],
        {name: base64.b64decode(text) for name, text in task["attachments"].items()},
        bytes.fromhex(task["identifier"]),
        datetime.fromisoformat(task["when"]),
    )
    sys.stdout.buffer.write(data)


def _limit(seconds: int, size: int) -> None:
    """Bound memory and processor time, where the system can."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (size, size))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    except (ImportError, ValueError, OSError):
        return  # no such limits here; the parent still watches the clock


def _to_pdf(
    html: str, attachments: Mapping[str, bytes], identifier: bytes, when: datetime
) -> bytes:
    from weasyprint import HTML

    _remember_pages()
    _keep_fonts()
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


def _keep_fonts() -> None:
    """Let WeasyPrint's fonts keep alive the fonts of Pango whose glyphs they draw.

    Pango frees some where there are very many, and an emoji drawn after that would end the process.
    Nothing lets go of them again: they are needed until the PDF is written.
    """
    from weasyprint.pdf.fonts import Font
    from weasyprint.text.ffi import ffi, gobject

    ffi.cdef("gpointer g_object_ref (gpointer object);")
    made = Font.__init__

    def kept(self: Any, pango_font: Any, *args: Any) -> None:
        gobject.g_object_ref(pango_font)
        made(self, pango_font, *args)

    Font.__init__ = kept


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
