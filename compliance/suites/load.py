"""Reads a suite: a folder with ``suite.yaml`` (datasheet), ``items.jsonl`` and ``images/``.

    suite = load_suite("compliance:seed", base=Path.cwd())
    suite.facts.digest

``compliance:NAME`` is a suite that ships with the package. What makes items contradict each other
is refused here, so that every later stage can rely on it. Of pictures it is only asked whether they
are there; ``compliance.suites.pictures.read_picture`` checks each when it is read.
"""

import hashlib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from compliance.documents import leads_out, read_json_lines, read_yaml
from compliance.errors import ResourceError, SuiteError
from compliance.records.base import canonical_bytes
from compliance.records.suite import Datasheet, Item, Label, SuiteFacts, Variant
from compliance.resources import data_dir

SHIPPED = "compliance:"


@dataclass(frozen=True)
class Suite:
    """Items of one suite, ordered by id, with its datasheet."""

    datasheet: Datasheet
    items: tuple[Item, ...]
    digest: str

    folder: Path | None = None
    """Where its pictures lie; None for a suite that was made in memory."""

    @property
    def facts(self) -> SuiteFacts:
        """What a plan records of the suite."""
        return SuiteFacts(
            name=self.datasheet.name,
            version=self.datasheet.version,
            digest=self.digest,
            items=len(self.items),
            groups=len({item.group for item in self.items}),
            datasheet=self.datasheet,
        )


def load_suite(name: str, base: Path) -> Suite:
    """Load a suite.

    Args:
        name: ``compliance:NAME`` for one that ships with the package, else a folder.
        base: What a relative folder is relative to.

    Raises:
        SuiteError: There is no such suite, or it cannot be read, or its items contradict
            each other, or a picture is not there.
    """
    folder = _folder(name, base)
    for file in ("suite.yaml", "items.jsonl"):
        _refuse_link_out(folder / file, folder, name)
    datasheet = read_yaml(folder / "suite.yaml", Datasheet, error=SuiteError)
    items = tuple(read_json_lines(folder / "items.jsonl", Item, error=SuiteError))
    check_items(items, datasheet)
    _refuse_missing_pictures(items, datasheet, folder)
    ordered = tuple(sorted(items, key=lambda item: item.id))
    digest = suite_digest(datasheet, ordered)
    return Suite(datasheet=datasheet, items=ordered, digest=digest, folder=folder)


def suite_digest(datasheet: Datasheet, items: Iterable[Item]) -> str:
    """Digest over the datasheet and the items in the given order, one canonical line each."""
    state = hashlib.sha256(canonical_bytes(datasheet) + b"\n")
    for item in items:
        state.update(canonical_bytes(item) + b"\n")
    return "sha256:" + state.hexdigest()


def check_items(items: tuple[Item, ...], datasheet: Datasheet) -> None:
    """Refuse items that contradict each other or the datasheet.

    Raises:
        SuiteError: No items, an id twice, a group of two concepts, a language or concept the
            datasheet does not name, a concept with one label only in text or in a kind of
            picture, one input in two groups, a group of one label in a paired suite, or of two in
            an unpaired one, or pictures of a language with different words about them.
    """
    if not items:
        raise SuiteError(
            f"suite {datasheet.name}: items.jsonl holds no items", hint="add at least one group"
        )
    _refuse_repeated_ids(items, datasheet)
    _refuse_unnamed(items, datasheet)
    _refuse_unsourced_neutral_text(items, datasheet)
    _refuse_mixed_groups(items, datasheet)
    _refuse_one_sided(items, datasheet)
    _refuse_repeated_inputs(items, datasheet)
    _refuse_other_pairing(items, datasheet)
    _refuse_other_carriers(items, datasheet)


def _folder(name: str, base: Path) -> Path:
    if name.startswith(SHIPPED):
        try:
            return data_dir(f"evidence/suites/{name.removeprefix(SHIPPED)}")
        except ResourceError as error:
            raise SuiteError(
                f"suite {name}: none of that name ships with this package",
                hint="'compliance suites list' shows those that do",
            ) from error
    folder = base / name
    if not folder.is_dir():
        raise SuiteError(
            f"suite {name}: no such folder",
            hint="a suite is a folder; see 'compliance suites list'",
        )
    return folder


def _refuse_repeated_ids(items: tuple[Item, ...], datasheet: Datasheet) -> None:
    repeated = [name for name, count in Counter(item.id for item in items).items() if count > 1]
    if repeated:
        raise SuiteError(
            f"suite {datasheet.name}: id {repeated[0]!r} appears more than once"
            + (f" (and {len(repeated) - 1} others)" if len(repeated) > 1 else ""),
            hint="give every item an id of its own",
        )


def _refuse_unnamed(items: tuple[Item, ...], datasheet: Datasheet) -> None:
    for item in items:
        if item.language not in datasheet.languages:
            raise SuiteError(
                f"suite {datasheet.name}, item {item.id}: language {item.language!r} is not "
                f"among the datasheet's {list(datasheet.languages)}",
                hint="correct the item, or name the language in suite.yaml",
            )
        if item.concept is not None and item.concept not in datasheet.concepts:
            raise SuiteError(
                f"suite {datasheet.name}, item {item.id}: concept {item.concept!r} is not "
                f"among the datasheet's {sorted(datasheet.concepts)}",
                hint="correct the item, or define the concept in suite.yaml",
            )


def _refuse_unsourced_neutral_text(items: tuple[Item, ...], datasheet: Datasheet) -> None:
    """Neutral text has a named source, and is there in every language or in none."""
    found = {item.language for item in items if item.label is Label.NEUTRAL}
    if found and datasheet.neutral is None:
        raise SuiteError(
            f"suite {datasheet.name}: there is neutral text, from where is not said",
            hint="name its source in suite.yaml, under 'neutral'",
        )
    lacking = [one for one in datasheet.languages if one not in found]
    if datasheet.neutral and lacking:
        raise SuiteError(
            f"suite {datasheet.name}: suite.yaml names neutral text, and there is none in "
            f"{lacking[0]!r}",
            hint="add items with label 'neutral' in every language, or leave 'neutral' out",
        )


def _refuse_mixed_groups(items: tuple[Item, ...], datasheet: Datasheet) -> None:
    """A group is one meaning: one concept, and one item per label, language and kind."""
    concepts: dict[str, str | None] = {}
    seen: dict[tuple[str, ...], str] = {}
    for item in items:
        if concepts.setdefault(item.group, item.concept) != item.concept:
            raise SuiteError(
                f"suite {datasheet.name}, group {item.group}: items of two concepts "
                f"({concepts[item.group]} and {item.concept})",
                hint="a group is one meaning of one concept; it must not straddle splits",
            )
        place = (item.group, item.label, item.language, item.modality, item.rendering)
        if place in seen:
            raise SuiteError(
                f"suite {datasheet.name}, group {item.group}: items {seen[place]} and {item.id} "
                f"are both {item.label} in {item.language}{_as_picture(*place[3:])}",
                hint="put the second into a group of its own",
            )
        seen[place] = item.id


def _refuse_one_sided(items: tuple[Item, ...], datasheet: Datasheet) -> None:
    labels: dict[tuple[str, str, str], set[Label]] = defaultdict(set)
    for item in items:
        if item.concept is not None:
            labels[item.concept, item.modality, item.rendering].add(item.label)
    for (concept, *form), found in labels.items():
        missing = {Label.POSITIVE, Label.HARD_NEGATIVE} - found
        if missing:
            raise SuiteError(
                f"suite {datasheet.name}, concept {concept}: no {min(missing)} items"
                f"{_as_picture(*form)}",
                hint="a concept needs positives and hard negatives to be told apart",
            )


def _as_picture(modality: str, rendering: str) -> str:
    """What a message adds where it is about pictures."""
    return "" if modality == "text" else f" ({modality}, {rendering})"


def _refuse_repeated_inputs(items: tuple[Item, ...], datasheet: Datasheet) -> None:
    """Splits follow groups, so an input of two groups could be fitted on and confirmed with."""
    seen: dict[tuple[str, tuple[tuple[str, str], ...]], Item] = {}
    for item in items:
        first = seen.setdefault((item.language, normalised(item)), item)
        if first.group != item.group:
            raise SuiteError(
                f"suite {datasheet.name}: items {first.id} and {item.id} are the same input in "
                f"{item.language}, in groups {first.group} and {item.group}",
                hint="drop one, or put both into one group; case and spaces make no difference",
            )


def _refuse_other_pairing(items: tuple[Item, ...], datasheet: Datasheet) -> None:
    """Each group is a pair, or none is: statistics of pairs must not meet half of one."""
    groups: dict[tuple[str, ...], dict[Label, str]] = defaultdict(dict)
    for item in items:
        if item.concept is not None:
            form = (item.modality, item.rendering) if datasheet.paired else ("text", "plain")
            groups[item.group, *form].setdefault(item.label, item.id)
    for (group, *form), found in groups.items():
        where = f"suite {datasheet.name}, group {group}"
        if datasheet.paired and len(found) == 1:
            missing = min({Label.POSITIVE, Label.HARD_NEGATIVE} - found.keys())
            raise SuiteError(
                f"{where}: no {missing} item{_as_picture(*form)}, and the suite is paired",
                hint="add it; or, where the suite has no pairs at all, put 'paired: false' into "
                "suite.yaml",
            )
        if not datasheet.paired and len(found) == 2:
            raise SuiteError(
                f"{where}: items {found[Label.POSITIVE]} (positive) and "
                f"{found[Label.HARD_NEGATIVE]} (hard-negative), and the suite is unpaired",
                hint="give each a group of its own; or, where every group is a pair, leave "
                "'paired: false' out of suite.yaml",
            )


def _refuse_other_carriers(items: tuple[Item, ...], datasheet: Datasheet) -> None:
    """Words about a picture that differ between items would carry what the picture should."""
    first: dict[Variant, Item] = {}
    for item in items:
        if item.modality != "image":
            continue
        other = first.setdefault(item.variant, item)
        if (item.text, item.messages) != (other.text, other.messages):
            raise SuiteError(
                f"suite {datasheet.name}: items {other.id} and {item.id} have different words "
                f"beside their {item.rendering} pictures in {item.language}",
                hint="give all the same words or none; where the words mean something, the "
                "modality is 'image-text'",
            )


def _refuse_missing_pictures(items: tuple[Item, ...], datasheet: Datasheet, folder: Path) -> None:
    for item in items:
        if item.image is None:
            continue
        path = folder / item.image.path
        if not path.is_file():
            raise SuiteError(
                f"suite {datasheet.name}, item {item.id}: {item.image.path} is not there",
                hint="a suite's pictures lie in its folder, in 'images'; fetch it whole",
            )
        _refuse_link_out(path, folder, datasheet.name)


def _refuse_link_out(path: Path, folder: Path, name: str) -> None:
    """What a suite's maker did not put into it is none of it."""
    if leads_out(path, folder):
        raise SuiteError(
            f"suite {name}: {path.relative_to(folder).as_posix()} is a link that leads out of "
            "the folder",
            hint="put the file itself there",
        )


def normalised(item: Item) -> tuple[tuple[str, str], ...]:
    """The input by role and text, without what a reader would not see as a difference.

    A picture stands first, by its digest.
    """
    turns = [(m.role, m.content) for m in item.messages or ()] or [("user", item.text or "")]
    words = tuple(
        (role, " ".join(unicodedata.normalize("NFKC", text).casefold().split()))
        for role, text in turns
    )
    return words if item.image is None else (("image", item.image.digest), *words)
