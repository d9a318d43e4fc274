#!/usr/bin/env bash
# Renders the first two pages of the demo's report, side by side, into docs/images/pack.png.
#
#   docs/images/make.sh [REPORT.pdf]     default: the newest report in demo/packs; run 'make demo' before
#
# Needs pdftoppm (Debian: poppler-utils), which 'make demo' and 'make test' install too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

shopt -s nullglob
reports=("${1:-}")
[[ $# -gt 0 ]] || reports=(demo/packs/*/data/report.pdf)
[[ ${#reports[@]} -gt 0 ]] || { echo "no report in demo/packs; run 'make demo' first" >&2; exit 2; }

pages=$(mktemp -d)
trap 'rm -rf "$pages"' EXIT
pdftoppm -png -r 80 -f 1 -l 2 "${reports[-1]}" "$pages/page"

.venv/bin/python - docs/images/pack.png "$pages"/page-*.png <<'PYTHON'
import sys

from PIL import Image

target, *names = sys.argv[1:]
pages = [Image.open(name).convert("RGB") for name in names]
gap = 12
width = sum(page.width for page in pages) + gap * (len(pages) + 1)
sheet = Image.new("RGB", (width, max(page.height for page in pages) + 2 * gap), "#c8c8c8")
left = gap
for page in pages:
    sheet.paste(page, (left, gap))
    left += page.width + gap
sheet.quantize(64).save(target, optimize=True)
PYTHON
