#!/usr/bin/env bash
# Makes the pictures of docs/report.md from the demo's report into docs/images, each below 150 kB.
#
#   docs/images/make.sh [REPORT.pdf [REPORT.html]]     default: the newest report in demo/packs
#
# Pages are found by what stands on them. Run 'make demo' before. Needs pdftoppm and pdftotext (Debian:
# poppler-utils) and Chromium, which 'make test' installs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

shopt -s nullglob
reports=("${1:-}")
[[ $# -gt 0 ]] || reports=(demo/packs/*/data/report.pdf)
[[ ${#reports[@]} -gt 0 ]] || { echo "no report in demo/packs; run 'make demo' first" >&2; exit 2; }
pdf=${reports[-1]}
html=${2:-${pdf%.pdf}.html}

pages=$(mktemp -d)
trap 'rm -rf "$pages"' EXIT
pdftotext -layout "$pdf" "$pages/text"

PYTHONPATH=. .venv/bin/python - "$pdf" "$html" "$pages" <<'PYTHON'
import io
import re
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.reports.browser import browser_path

PDF, HTML, FOLDER = map(Path, sys.argv[1:])
TARGET = Path("docs/images")
MAX_BYTES = 150_000
GAP = 12

# By picture: words of the page that it begins with, and how many pages it has.
PAGES = {
    "pack": ("Read this first|At a glance", 2),
    "law": (r"^ *Article 13\(3\)\(b\)\(ii\) ", 2),
    "concept": ("Each concept has one probe", 2),
    "pictures": ("Heat maps: each square", 2),
    "feature": (r"^ *4 +The features\n(?:.*\n){0,3}.*A card for each feature", 2),
    "limits": ("These limits hold for every page", 1),
    "trace": ("Every verdict sentence has an identifier", 1),
}
# What each phone shows at its top.
PHONES = ("body", ".scroll:has(.matrix)", ".finding")


def page_of(pattern: str) -> int | None:
    """The first page with such words, from 1."""
    texts = (FOLDER / "text").read_text(encoding="utf-8").split("\f")
    return next((n for n, t in enumerate(texts, 1) if re.search(pattern, t, re.MULTILINE)), None)


def paper(first: int, count: int, dpi: int) -> list[Image.Image]:
    where = FOLDER / f"{first}-{dpi}"
    command = ["pdftoppm", "-png", "-r", dpi, "-f", first, "-l", first + count - 1, PDF, where]
    subprocess.run([str(word) for word in command], check=True)
    return [Image.open(path) for path in sorted(FOLDER.glob(f"{where.name}-*.png"))]


def phones(scale: float) -> list[Image.Image]:
    with sync_playwright() as playwright, playwright.chromium.launch(
        executable_path=browser_path()
    ) as browser:
        page = browser.new_page(
            viewport={"width": 390, "height": 844}, device_scale_factor=scale
        )
        page.goto(HTML.absolute().as_uri())
        shots = []
        for selector in PHONES:
            page.locator(selector).first.evaluate("e => e.scrollIntoView({block: 'start'})")
            shots.append(Image.open(io.BytesIO(page.screenshot())))
        return shots


def sheet(pictures: list[Image.Image]) -> bytes:
    """Side by side on grey, as a PNG of few colours."""
    width = sum(p.width for p in pictures) + GAP * (len(pictures) + 1)
    height = max(p.height for p in pictures) + 2 * GAP
    ground = Image.new("RGB", (width, height), "#c8c8c8")
    left = GAP
    for picture in pictures:
        ground.paste(picture.convert("RGB"), (left, GAP))
        left += picture.width + GAP
    out = io.BytesIO()
    ground.quantize(128).save(out, "PNG", optimize=True)
    return out.getvalue()


def write(name: str, sizes: tuple[float, ...], draw) -> None:
    """The largest of some sizes that is small enough as a file."""
    for size in sizes:
        data = sheet(draw(size))
        if len(data) <= MAX_BYTES:
            break
    else:
        raise SystemExit(f"{name}.png: {len(data)} bytes at its smallest size")
    (TARGET / f"{name}.png").write_bytes(data)
    print(f"{name}.png: {len(data) // 1000} kB")


for name, (pattern, count) in PAGES.items():
    first = page_of(pattern)
    if first is None:
        print(f"{name}.png: left as it is, no page has such words: {pattern}", file=sys.stderr)
        continue
    write(name, (84, 80, 76, 72, 66, 60), lambda dpi: paper(first, count, int(dpi)))
write("html-phone", (1.0, 0.9, 0.8), phones)
PYTHON
