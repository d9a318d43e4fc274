"""What the files of pictures tell: whether they are the ones, and whether two labels share one."""

from __future__ import annotations

import hashlib
from collections import defaultdict

from compliance.documents import open_file
from compliance.errors import SuiteError
from compliance.records.suite import Image, Item, Label
from compliance.records.suite_report import PictureReport
from compliance.suites.load import Suite


def report(suite: Suite) -> PictureReport | None:
    """Look at every picture's digest and at who shows it; None where there are no pictures.

    Raises:
        SuiteError: A picture cannot be read.
    """
    showing = [item for item in suite.items if item.image is not None]
    images = {item.image.path: item.image for item in showing if item.image}
    if not images:
        return None
    return PictureReport(
        files=len(images),
        items=len(showing),
        changed=tuple(path for path in sorted(images) if not _is_unchanged(suite, images[path])),
        shared=tuple(_shared(showing)),
    )


def _is_unchanged(suite: Suite, image: Image) -> bool:
    if suite.folder is None:
        raise SuiteError(f"suite {suite.datasheet.name}: its pictures are in no folder")
    path = suite.folder / image.path
    try:
        with open_file(path) as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SuiteError(
            f"{path}: cannot be read: {error.strerror}", hint="fetch the suite again, whole"
        ) from error
    return f"sha256:{found}" == image.digest


def _shared(items: list[Item]) -> list[str]:
    """Pictures of positives that are also hard negatives' of the same concept, each with both."""
    by_label: dict[tuple[str | None, str], dict[Label, str]] = defaultdict(dict)
    for item in items:
        if item.image and item.modality == "image":
            by_label[item.concept, item.image.path].setdefault(item.label, item.id)
    return [
        f"{path}: {found[Label.POSITIVE]} and {found[Label.HARD_NEGATIVE]}"
        for (_, path), found in by_label.items()
        if {Label.POSITIVE, Label.HARD_NEGATIVE} <= found.keys()
    ]
