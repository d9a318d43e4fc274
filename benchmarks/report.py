"""What a report costs to render, beside WeasyPrint alone on the same HTML.

    python -m benchmarks.report
    python -m benchmarks.report --pack examples/demo/packs/demo-1.0.0

makes up audits of more and more concepts and languages, and for the report of each prints: its
pages; processor seconds of the HTML, of `render_pdf` and of the plainest program that writes the
same HTML with WeasyPrint to PDF/A-3a with tags and the same attachments; the ratio of the last two,
which should be at most 1.1; pages per second; and the peak memory of the process that renders.

Seconds are of the processor, children included, so that a busy machine counts for less; each is
the least of some tries that take turns, or of one where that takes long. Every try is a process of
its own, which starts the renderer in one more. On both sides the start of the interpreter that
renders is counted, and on ours also that the HTML is made.

The ratio can be below one. We patch one property of pydyf in our child, `_remember_pages` in
`compliance.reports.pdf`: without it, the list of all pages is made anew for each tag, so that the
time of tagging grows with the square of the pages. WeasyPrint alone pays that.

Made-up audits hold no words of items, and so no example with marked tokens; a pack has them where
the audit that made it stands around it, with its test sets unchanged.
"""

from __future__ import annotations

import argparse
import base64
import json
import multiprocessing
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from pypdf import PdfReader

from benchmarks.worlds import CONCEPT, World, make_files, make_plan
from compliance.assessment.assess import assess
from compliance.catalog import load_catalog
from compliance.documents import read_yaml
from compliance.errors import ComplianceError
from compliance.records.audit import AuditConfig, SystemFacts
from compliance.records.base import canonical_bytes
from compliance.records.evidence import Evidence
from compliance.records.report import Report
from compliance.records.subject import Environment
from compliance.reports.build import build_report
from compliance.reports.levels import LEVELS, at_level
from compliance.reports.observed import Observed
from compliance.reports.render import render_html, render_pdf
from compliance.workflow.observed import observed_of, pictures_of, used_items
from compliance.workflow.stages import load_suites

LANGUAGES = ("en", "ja", "zh-Hans", "el", "vi", "ru", "de", "fr", "es", "it", "ko", "bg")
SIZES = ((1, 2), (2, 6), (10, 12))
"""Concepts and languages of full reports of about 40, 60 and 200 pages. The standard level of the
first has about 20; a full one has no fewer than 40, most of them on the law and the methods."""

TRIES = 3
LONG = 30.0
"""What took so many seconds is not tried again."""

WHEN = datetime(2027, 1, 15, tzinfo=UTC)
IDENTIFIER = b"\x01" * 16

PEER = """
import base64, json, sys
import weasyprint
from weasyprint.urls import URLFetcher
task = json.load(sys.stdin.buffer)
files = [weasyprint.Attachment(string=base64.b64decode(data), name=name)
         for name, data in task["attachments"].items()]
page = weasyprint.HTML(string=task["html"], url_fetcher=URLFetcher(allowed_protocols=["data"]))
pdf = page.write_pdf(pdf_variant="pdf/a-3a", pdf_tags=True, attachments=files)
sys.stdout.buffer.write(pdf)
"""
"""The peer: the documented way to write such a PDF, in as few lines as it takes."""


@dataclass(frozen=True)
class Cost:
    """What one call took, its children included."""

    seconds: float
    """Of the processor."""

    mib: float
    """Largest resident set of the child that renders, or where that is less, of the process that
    started it, which Linux counts in: about 170. Of no use where the call starts none."""

    made: bytes


@dataclass(frozen=True)
class Line:
    """What is printed of one report."""

    name: str
    pages: int
    html: float
    ours: float
    peer: float
    mib: float
    peer_mib: float


def made_up(concepts: int, languages: int) -> Evidence:
    """Evidence of a simulated audit whose one concept stands there under several names.

    Args:
        concepts: How many names.
        languages: How many of `LANGUAGES`.
    """
    plan = make_plan(LANGUAGES[:languages], random_latents=9, bootstrap_draws=20, flips=20)
    tags = dict.fromkeys(plan.languages, 3.0)
    lock, files = make_files(plan, World(effect=tags, groups=40, benign=80))
    one = assess(
        plan, lock, files,
        system=SystemFacts(name="made-up", title="Made-up system", version="1"),
        environment=Environment(python="", packages={}, machine="", device="cpu"),
        law=load_catalog().facts(),
        confirm_openings=1,
    )  # fmt: skip
    text = one.model_dump_json()
    copies = [text.replace(f'"{CONCEPT}', f'"{CONCEPT}-{n}') for n in range(1, concepts + 1)]
    return _together([Evidence.model_validate_json(copy) for copy in copies])


def _together(copies: Sequence[Evidence]) -> Evidence:
    """One audit of all concepts; what belongs to no concept is taken once."""
    first = copies[0]
    plan, lock = first.plan, first.lock
    results = {result.id: result for copy in copies for result in copy.results}
    return first.model_copy(
        update={
            "plan": plan.model_copy(
                update={
                    "probes": tuple(p for copy in copies for p in copy.plan.probes),
                    "cells": tuple(c for copy in copies for c in copy.plan.cells),
                }
            ),
            "lock": lock.model_copy(
                update={
                    "probes": tuple(p for copy in copies for p in copy.lock.probes),
                    "cut_offs": tuple(c for copy in copies for c in copy.lock.cut_offs),
                }
            ),
            "results": tuple(results.values()),
            "findings": tuple(f for copy in copies for f in copy.findings),
        }
    )


def of_pack(pack: Path) -> tuple[Evidence, Observed | None]:
    """Evidence of a pack, and what its run saw of items where they can be found."""
    data = pack / "data"
    evidence = Evidence.model_validate_json((data / "evidence.json").read_bytes())
    below = data / "observations"
    files = {p.relative_to(below).as_posix(): p.read_bytes() for p in below.glob("*/*")}
    audit = pack.resolve().parent.parent
    try:
        suites = load_suites(read_yaml(audit / "audit.yaml", AuditConfig), audit)
        items = used_items(evidence.plan, suites)
        return evidence, observed_of(evidence, items, files, pictures_of(suites))
    except ComplianceError as problem:
        print(f"without items, since {problem}", file=sys.stderr)
        return evidence, None


def report_of(evidence: Evidence, observed: Observed | None = None) -> Report:
    """The full report, dated with a day of its own."""
    return build_report(
        evidence, load_catalog(), pack_id="measured-1.0.0", version="1.0.0", built_at=WHEN,
        observed=observed,
    )  # fmt: skip


def write_html(report: Report) -> bytes:
    """The HTML as a pack has it."""
    return render_html(report).encode()


def write_ours(report: Report, attachments: Mapping[str, bytes]) -> bytes:
    """The PDF as a pack has it."""
    return render_pdf(report, attachments=attachments, identifier=IDENTIFIER, when=WHEN)


def write_peer(html: str, attachments: Mapping[str, bytes]) -> bytes:
    """The PDF that WeasyPrint alone makes of a page."""
    files = {name: base64.b64encode(data).decode() for name, data in attachments.items()}
    task = json.dumps({"html": html, "attachments": files}).encode()
    return subprocess.run(
        [sys.executable, "-c", PEER], input=task, stdout=subprocess.PIPE, check=True
    ).stdout


def cost(call: Callable[..., bytes], *given: object) -> Cost:
    """What a call takes in a process of its own.

    Args:
        call: A function of a module, so that another process finds it.
        given: Its arguments.
    """
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=fresh) as pool:
        return pool.submit(_measured, call, given).result()


def _measured(call: Callable[..., bytes], given: Sequence[object]) -> Cost:
    before = _seconds()
    made = call(*given)
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return Cost(_seconds() - before, peak / unit, made)


def _seconds() -> float:
    """Of the processor, of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def line(name: str, report: Report, attachments: Mapping[str, bytes], tries: int) -> Line:
    """Measure one report, ours and the peer in turns."""
    html = render_html(report, paper=True)
    pages, ours, peers = [], [], []
    for _ in range(tries):
        pages.append(cost(write_html, report))
        ours.append(cost(write_ours, report, attachments))
        peers.append(cost(write_peer, html, attachments))
        if ours[-1].seconds > LONG:
            break
    best = min(ours, key=lambda one: one.seconds)
    peer = min(peers, key=lambda one: one.seconds)
    return Line(
        name=name,
        pages=page_count(best.made),
        html=min(one.seconds for one in pages),
        ours=best.seconds,
        peer=peer.seconds,
        mib=best.mib,
        peer_mib=peer.mib,
    )


def page_count(pdf: bytes) -> int:
    """Pages of a PDF."""
    return len(PdfReader(BytesIO(pdf)).pages)


def table(lines: Iterator[Line]) -> Iterator[str]:
    """The printed table, a line as soon as it is known."""
    yield (f"{'report':<34} {'pages':>5} {'HTML s':>7} {'ours s':>7} {'alone s':>8} "
           f"{'ratio':>6} {'pages/s':>8} {'MiB':>6} {'alone':>6}")  # fmt: skip
    for one in lines:
        yield (f"{one.name:<34} {one.pages:>5} {one.html:>7.2f} {one.ours:>7.1f} "
               f"{one.peer:>8.1f} {one.ours / one.peer:>6.2f} {one.pages / one.ours:>8.1f} "
               f"{one.mib:>6.0f} {one.peer_mib:>6.0f}")  # fmt: skip


def lines(
    sizes: Sequence[tuple[int, int]], pack: Path | None, tries: int
) -> Iterator[Line]:  # fmt: skip
    """Each report in full; of the first also the shorter levels."""
    for place, (name, evidence, observed) in enumerate(_audits(sizes, pack)):
        report = report_of(evidence, observed)
        attachments = {"evidence.json": canonical_bytes(evidence)}
        for level in LEVELS if place == 0 else LEVELS[-1:]:
            yield line(f"{name}, {level}", at_level(report, level), attachments, tries)


def _audits(
    sizes: Sequence[tuple[int, int]], pack: Path | None
) -> Iterator[tuple[str, Evidence, Observed | None]]:
    if pack is not None:
        yield pack.name, *of_pack(pack)
        return
    for concepts, languages in sizes:
        yield f"{concepts} x {languages} cells", made_up(concepts, languages), None


def _size(text: str) -> tuple[int, int]:
    concepts, languages = (int(part) for part in text.split("x"))
    return concepts, languages


def main() -> None:
    """Print a line for each report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--sizes", type=_size, nargs="*", default=SIZES, metavar="CONCEPTSxLANGUAGES"
    )
    parser.add_argument("--pack", type=Path, help="folder of a pack, in place of made-up audits")
    parser.add_argument("--tries", type=int, default=TRIES)
    given = parser.parse_args()
    for text in table(lines(given.sizes, given.pack, given.tries)):
        print(text, flush=True)


if __name__ == "__main__":
    main()
