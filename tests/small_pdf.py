"""A PDF that readers open, for tests that need one and no report."""

import io

import pypdf


def small_pdf() -> bytes:
    """One empty page, the same bytes each time."""
    writer = pypdf.PdfWriter()
    writer.add_blank_page(200, 200)
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()
