"""Where a user begins: the demo, a scaffold, what is not declared, which suites there are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from compliance.assessment.summary import explain
from compliance.catalog.declarations import Gap, read_system, scaffold_system
from compliance.catalog.declarations import gaps as find_gaps
from compliance.catalog.load import load_catalog
from compliance.documents import parse_yaml
from compliance.errors import (
    ResourceError,
    StorageError,
)
from compliance.packs.reading import read_pack
from compliance.progress import SILENT, Progress
from compliance.records.audit import SystemFacts
from compliance.resources import data_dir
from compliance.storage import write_bytes, write_text

if TYPE_CHECKING:
    pass

from compliance.workflow.audits import audit


@dataclass(frozen=True)
class Demo:
    """What the demo made, and why its verdicts are what they are."""

    pack: Path
    public_key: Path
    why: list[str]


def demo(folder: Path, *, full: bool = False, progress: Progress = SILENT) -> Demo:
    """Audit the example's model and SAE; ``folder`` receives runs, keys and packs.

    Raises:
        ResourceError: This is not a checkout, or its model has not been fetched.
    """
    example = data_dir("templates").parent / "examples" / "demo"
    if not (example / "audit.yaml").is_file():
        raise ResourceError(
            "the demo's model and SAE are not part of an installed package",
            hint="clone the repository and run 'make demo' there",
        )
    if not (example.parent / "vision" / "subject" / "model.safetensors").is_file():
        raise ResourceError(
            "the demo's model has not been fetched",
            hint="run 'python examples/demo/subject.py', then 'python examples/vision/subject.py'",
        )
    here = Path(os.path.relpath(example, folder)).as_posix()
    text = (example / ("audit-full.yaml" if full else "audit.yaml")).read_text(encoding="utf-8")
    write_text(folder / "audit.yaml", text.replace(": ./", f": {here}/"))
    write_bytes(folder / "system.yaml", (example / "system.yaml").read_bytes())
    built = audit(folder / "audit.yaml", progress=progress)
    with read_pack(built) as opened:
        why = explain(opened.evidence.findings)
    return Demo(pack=built, public_key=folder / "keys" / "issuer.pub.pem", why=why)


def init(folder: Path, *, name: str | None = None) -> list[Path]:
    """Write a commented ``audit.yaml`` and ``system.yaml`` and a small suite to start from.

    Args:
        folder: Made when missing. A file that is there already is never overwritten.
        name: The system's name; default: the folder's.

    Raises:
        StorageError: One of the files is there already.
        ConfigError: The name is not in lower case letters, digits and hyphens.
    """
    name = name or folder.resolve().name.lower()
    scaffold = data_dir("templates/scaffold")
    system = scaffold_system(name, load_catalog())
    parse_yaml(system, "--name", SystemFacts)
    files = {"system.yaml": system}
    for source in sorted(path for path in scaffold.rglob("*") if path.is_file()):
        files[source.relative_to(scaffold).as_posix()] = source.read_text(encoding="utf-8")
    existing = [path for path in sorted(files) if (folder / path).exists()]
    if existing:
        raise StorageError(
            f"{folder / existing[0]}: is there already, and is never overwritten",
            hint="choose another folder",
        )
    for path, text in sorted(files.items()):
        write_text(folder / path, text)
    return [folder / path for path in sorted(files)]


def gaps(folder: Path) -> tuple[Gap, ...]:
    """What ``system.yaml`` in ``folder`` does not declare yet."""
    return find_gaps(read_system(folder / "system.yaml"), load_catalog())
