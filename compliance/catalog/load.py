"""Reads the catalog and answers for it.

    catalog = load_catalog()                     # the one that ships
    catalog = load_catalog(Path("./our-law"))    # an auditor's own
    catalog.provision("13(3)(b)(ii)").applies_from

Every key of both files is checked; an unknown key or provision is an error that names it.
"""

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from compliance.catalog.citations import display, normalise
from compliance.documents import MAX_PROBLEMS, read_text, yaml_values
from compliance.errors import CatalogError
from compliance.records.base import Record, digest_bytes
from compliance.records.catalog import (
    DeclaredKey,
    Mapping,
    MappingRule,
    Provision,
    Provisions,
)
from compliance.records.evidence import LawFacts
from compliance.resources import data_dir

PROVISIONS = "provisions.yaml"
MAPPING = "mapping.yaml"

SomeRecord = TypeVar("SomeRecord", bound=Record)


@dataclass(frozen=True)
class Catalog:
    """Provisions and mapping as they were read, with the digests of their files."""

    law: Provisions
    mapping: Mapping
    provisions_digest: str
    mapping_digest: str

    def provision(self, id_or_display: str) -> Provision:
        """Find a provision by its id (``art13.3.b.ii``) or as it is displayed.

        Raises:
            CatalogError: There is none; the message names the nearest.
        """
        wanted = normalise(id_or_display)
        for provision in self.law.provisions:
            if wanted in (normalise(provision.id), normalise(display(provision.id))):
                return provision
        raise self._unknown(id_or_display)

    def rule(self, id_or_display: str) -> MappingRule | None:
        """The mapping's rule for a provision; None where the mapping says nothing about it.

        Raises:
            CatalogError: There is no such provision.
        """
        provision = self.provision(id_or_display)
        return next((r for r in self.mapping.rules if r.provision == provision.id), None)

    def declared_keys(self) -> tuple[tuple[DeclaredKey, Provision], ...]:
        """Every key that ``system.yaml`` may declare, with its provision, in the law's order."""
        return tuple(
            (declared, self.provision(rule.provision))
            for rule in self.mapping.rules
            for declared in rule.declared
        )

    def facts(self) -> LawFacts:
        """What a pack states about the law it was written against."""
        return LawFacts(
            provisions_digest=self.provisions_digest,
            mapping_digest=self.mapping_digest,
            instrument=self.law.meta.instrument,
            compiled=self.law.meta.compiled.isoformat(),
        )

    def _unknown(self, wanted: str) -> CatalogError:
        names = {normalise(display(p.id)): p.id for p in self.law.provisions}
        is_id = re.fullmatch(r"[a-z]+[0-9]+[a-z]?(\.[a-zA-Z0-9]+)*", wanted)
        shown = normalise(display(wanted) if is_id else wanted)
        article = shown.split("(")[0]
        alike = [name for name in names if name.split("(")[0] == article] or list(names)
        close = difflib.get_close_matches(shown, alike, n=3, cutoff=0.5)
        near = ", ".join(display(names[name]) for name in close)
        message = f"{wanted}: no such provision in the catalog"
        note = next((n for n in (self._note(names[name]) for name in close) if n), None)
        return CatalogError(
            f"{message}; nearest: {near}" if near else message,
            hint=note or "cite as 13(3)(b)(ii) or by id, as art13.3.b.ii",
        )

    def _note(self, provision_id: str) -> str | None:
        """What the catalog warns about the article of a provision, if anything."""
        article = provision_id.split(".")[0]
        return next((p.note for p in self.law.provisions if p.id == article), None)


def load_catalog(folder: Path | None = None) -> Catalog:
    """Read provisions and mapping and check them against each other.

    Args:
        folder: Holds ``provisions.yaml`` and ``mapping.yaml``; without it, the shipped catalog.

    Raises:
        CatalogError: A file is missing, misshapen, or cites what the other does not have.
    """
    folder = folder or data_dir("evidence/catalog")
    law, provisions_digest = _read(folder / PROVISIONS, Provisions)
    mapping, mapping_digest = _read(folder / MAPPING, Mapping)
    _check_mapping(law, mapping)
    return Catalog(law, mapping, provisions_digest, mapping_digest)


def _check_mapping(law: Provisions, mapping: Mapping) -> None:
    known = {provision.id: provision for provision in law.provisions}
    for rule in (*mapping.rules, *mapping.also):
        if rule.provision not in known:
            raise CatalogError(
                f"{MAPPING}: a rule is about {rule.provision}, which {PROVISIONS} does not have",
                hint="correct the rule, or add the provision with its wording and source",
            )
        dates = known[rule.provision].applies_from
        for kind in dates if isinstance(dates, dict) else ():
            if kind not in mapping.application:
                raise CatalogError(
                    f"{MAPPING}: 'application' has no words for {kind!r}, "
                    f"which {rule.provision} uses",
                    hint=f"add application: {{{kind}: ...}}",
                )


def _read(path: Path, shape: type[SomeRecord]) -> tuple[SomeRecord, str]:
    """A file as a record, and the digest of its bytes."""
    text = _text(path)
    _, value = yaml_values(text, path.name, error=CatalogError)
    try:
        return shape.model_validate(value), digest_bytes(text.encode("utf-8"))
    except ValidationError as problem:
        found = problem.errors()[:MAX_PROBLEMS]
        lines = [f"{path.name}: {_where(e['loc'], value)}: {e['msg']}" for e in found]
        raise CatalogError(
            "\n".join(lines), hint="compare with the catalog that ships with this software"
        ) from problem


def _text(path: Path) -> str:
    if not path.is_file():
        raise CatalogError(
            f"{path.name}: cannot be read from {path.parent}: no such file",
            hint=f"a catalog is a folder with {PROVISIONS} and {MAPPING}",
        )
    return read_text(path, error=CatalogError)


def _where(location: tuple[int | str, ...], value: Any) -> str:
    """``provisions.3.title (art13.3)``: the path, and the id of the entry it leads through."""
    name = None
    for part in location:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            break
        if isinstance(value, dict):
            name = value.get("key") or value.get("id") or value.get("provision") or name
    path = ".".join(str(part) for part in location) or "the whole file"
    return f"{path} ({name})" if name else path
