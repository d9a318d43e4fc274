"""What only a provider can say: which of it is still missing, and a form to fill in.

    for gap in gaps(system, catalog):
        print(gap.display, gap.prompt)

Needs no model, no run and no renderer: gaps can be closed before anything is measured.
"""

import json
import textwrap
from pathlib import Path

from compliance.catalog.citations import display
from compliance.catalog.load import Catalog
from compliance.documents import read_yaml
from compliance.errors import ConfigError
from compliance.records.audit import Declared, SystemFacts
from compliance.records.base import SCHEMA_VERSION, Record
from compliance.records.catalog import DeclaredKey, Provision

WIDTH = 96


class Gap(Record):
    """One declared fact that is missing."""

    key: str
    provision: str
    """Id in the catalog, such as ``art13.3.a``."""

    display: str
    """As people cite it, such as ``13(3)(a)``."""

    title: str
    prompt: str
    where_appropriate: bool
    """The law asks for it only where it applies; the reason why not is then declared instead."""


def read_system(path: Path) -> SystemFacts:
    """Read ``system.yaml``.

    Raises:
        ConfigError: It cannot be read, or something in it is withheld, which only a copy of a pack
            can do.
    """
    system = read_yaml(path, SystemFacts)
    for key, fact in system.declared.items():
        if fact.withheld is not None:
            raise ConfigError(
                f"{path.name}: declared.{key}: 'withheld' stands in copies of packs only",
                hint="declare the fact; 'compliance redact' withholds it from a copy",
            )
    return system


def answer(system: SystemFacts, key: str) -> Declared | None:
    """What was declared under ``key``; a blank text is no answer, and a withheld one is."""
    declared = system.declared.get(key)
    if declared is None or declared.withheld:
        return declared
    return declared if (declared.text or declared.not_applicable or "").strip() else None


def gaps(system: SystemFacts, catalog: Catalog) -> tuple[Gap, ...]:
    """Every key of the catalog without an answer, in the law's order."""
    return tuple(
        Gap(
            key=declared.key,
            provision=provision.id,
            display=display(provision.id),
            title=provision.title,
            prompt=declared.prompt,
            where_appropriate=_where_appropriate(provision, catalog),
        )
        for declared, provision in catalog.declared_keys()
        if answer(system, declared.key) is None
    )


def scaffold_system(name: str, catalog: Catalog) -> str:
    """Text of a ``system.yaml`` with every key of the catalog, explained and left blank.

    It loads as `SystemFacts`, and until it is filled in every key is a gap.
    """
    head = [
        "# What only the provider can declare about the system. Blank answers are printed in the",
        "# report as missing. Where a point does not apply, write instead of text:",
        '#     not_applicable: "the reason"',
        f'schema_version: "{SCHEMA_VERSION}"',
        f"name: {json.dumps(name)}",
        f"title: {json.dumps(name)}",
        'version: "0.1.0"',
        "declared:",
    ]
    keys = [_entry(key, provision, catalog) for key, provision in catalog.declared_keys()]
    return "\n".join([*head, *keys]) + "\n"


def _entry(declared: DeclaredKey, provision: Provision, catalog: Catalog) -> str:
    where = " (where it applies)" if _where_appropriate(provision, catalog) else ""
    title = f"{display(provision.id)} {provision.title}{where}"
    comments = [title, declared.prompt, *textwrap.wrap(declared.help, WIDTH)]
    lines = [f"  # {line}" for line in comments]
    return "\n".join(["", *lines, f"  {declared.key}:", '    text: ""'])


def _where_appropriate(provision: Provision, catalog: Catalog) -> bool:
    rule = catalog.rule(provision.id)
    return rule is not None and rule.where_appropriate
