"""Reads a suite: a folder with ``suite.yaml`` (datasheet), ``items.jsonl`` and ``images/``.

    suite = load_suite("compliance:seed", base=Path.cwd())
    suite.facts.digest

``compliance:NAME`` is a suite that ships with the package. What makes items contradict each other
is refused here, so that every later stage can rely on it. Of pictures it is only asked whether they
are there; ``compliance.suites.pictures.read_picture`` checks each when it is read.

Items are read one by one, and what is checked is what is kept of them: columns and digests, a
hundred bytes an item (``compliance.suites.stored``). The items of a small suite are kept, too.
"""

import hashlib
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compliance.documents import leads_out, read_json_lines, read_yaml
from compliance.errors import ResourceError, SuiteError
from compliance.records.base import canonical_bytes
from compliance.records.suite import Datasheet, Item, Label, SuiteFacts, Variant
from compliance.resources import data_dir
from compliance.suites.stored import Collector, Columns, Kind, Outline, StoredItems, outlines_of

SHIPPED = "compliance:"

KEPT = 20_000
"""Items of a suite that are kept as objects, two or three kilobytes each; of a larger suite none is
kept, and each is read from its file when it is asked for."""

INPUT_DIGEST = 16
"""Bytes of an input's digest: no two of a million are the same by chance."""

_SIDES = {Label.HARD_NEGATIVE: 2, Label.POSITIVE: 1}
"""A bit for each label of a concept, in the order of their names."""


@dataclass(frozen=True)
class Suite:
    """Items of one suite, ordered by id, with its datasheet."""

    datasheet: Datasheet
    items: Sequence[Item]
    digest: str

    folder: Path | None = None
    """Where its pictures lie; None for a suite that was made in memory."""

    @property
    def outlines(self) -> Sequence[Outline]:
        """Of its items, in their order: all but the words, at hand also where those are not."""
        return outlines_of(self.items)

    @property
    def facts(self) -> SuiteFacts:
        """What a plan records of the suite."""
        return SuiteFacts(
            name=self.datasheet.name,
            version=self.datasheet.version,
            digest=self.digest,
            items=len(self.items),
            groups=len({outline.group for outline in self.outlines}),
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
        problem = _link_out(folder / file, folder, name)
        if problem is not None:
            raise problem
    datasheet = read_yaml(folder / "suite.yaml", Datasheet, error=SuiteError)
    items = _checked_items(folder, datasheet)
    digest = suite_digest(datasheet, items)
    return Suite(datasheet=datasheet, items=items, digest=digest, folder=folder)


def _checked_items(folder: Path, datasheet: Datasheet) -> Sequence[Item]:
    """The items of a suite, ordered by id."""
    path = folder / "items.jsonl"
    seen, kept = _Seen(datasheet, folder), []
    for number, line in enumerate(read_json_lines(path, Item, error=SuiteError), start=1):
        seen.add(line.record, line.start, line.data)
        if number <= KEPT:
            kept.append(line.record)
        elif kept:
            kept.clear()
    columns = seen.refuse_contradictions()
    order = np.argsort(columns.ids, kind="stable")
    if kept:
        return tuple(kept[place] for place in order)
    return StoredItems(path, columns.taken(order))


def suite_digest(datasheet: Datasheet, items: Iterable[Item]) -> str:
    """Digest over the datasheet and the items in the given order, one canonical line each."""
    state = SuiteDigest(datasheet)
    for item in items:
        state.add(item)
    return state.digest()


class SuiteDigest:
    """The same of items that come one by one."""

    def __init__(self, datasheet: Datasheet) -> None:
        self.items = 0
        self._state = hashlib.sha256(canonical_bytes(datasheet) + b"\n")

    def add(self, item: Item) -> None:
        """Take in the next item."""
        self.items += 1
        self._state.update(canonical_bytes(item) + b"\n")

    def digest(self) -> str:
        """The digest, with its ``sha256:``."""
        return "sha256:" + self._state.hexdigest()


class _Seen:
    """What is to be known of all items before any of them contradicts another, or does not.

    A suite has one mistake that is told: the first kind, and of that kind the first in the file.
    """

    def __init__(self, datasheet: Datasheet, folder: Path) -> None:
        self._datasheet, self._folder = datasheet, folder
        self._collector = Collector()
        self._inputs = bytearray()
        self._carriers: dict[Variant, Item] = {}
        self._other_carrier: SuiteError | None = None
        self._no_picture: SuiteError | None = None

    def add(self, item: Item, start: int, line: bytes) -> None:
        """The next item, and the line of the file that it is from."""
        self._collector.add(item, start, line)
        self._inputs += _input_digest(item)
        if item.modality == "image" and self._other_carrier is None:
            other = self._carriers.setdefault(item.variant, item)
            self._other_carrier = _other_carrier(other, item, self._datasheet)
        if item.image is not None and self._no_picture is None:
            self._no_picture = _missing_picture(item, self._datasheet, self._folder)

    def refuse_contradictions(self) -> Columns:
        """Refuse items that contradict each other or the datasheet; else give their columns.

        Raises:
            SuiteError: No items, an id twice, a group of two concepts, a language or concept the
                datasheet does not name, a concept with one label only in text or in a kind of
                picture, one input in two groups, a group of one label in a paired suite, or of two
                in an unpaired one, pictures of a language with different words about them, or a
                picture that is not there.
        """
        columns, datasheet = self._collector.columns(), self._datasheet
        if not len(columns):
            raise SuiteError(
                f"suite {datasheet.name}: items.jsonl holds no items", hint="add at least one group"
            )
        _refuse_repeated_ids(columns, datasheet)
        _refuse_unnamed(columns, datasheet)
        _refuse_unsourced_neutral_text(columns, datasheet)
        groups = _numbered(columns.groups)
        _refuse_mixed_groups(columns, groups, datasheet)
        _refuse_one_sided(columns, datasheet)
        inputs = np.frombuffer(bytes(self._inputs), dtype=np.dtype((np.void, INPUT_DIGEST)))
        _refuse_repeated_inputs(columns, groups, _numbered(inputs), datasheet)
        _refuse_other_pairing(columns, groups, datasheet)
        for problem in (self._other_carrier, self._no_picture):
            if problem is not None:
                raise problem
        return columns


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


def _numbered(values: np.ndarray) -> np.ndarray:
    """A number for each value, the same for the same: int64 [n]."""
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def _firsts(values: np.ndarray) -> np.ndarray:
    """Where the value of each place stands first: int64 [n]."""
    _, first, number = np.unique(values, return_index=True, return_inverse=True)
    return first[number]


def _first(places: np.ndarray) -> int | None:
    """The first place that is true."""
    return int(np.argmax(places)) if places.any() else None


def _of_kind(columns: Columns, value: Callable[[Kind], bool | int]) -> np.ndarray:
    """What is to be said of each item's kind: [n]."""
    return np.array([value(kind) for kind in columns.names])[columns.kinds]


def _refuse_repeated_ids(columns: Columns, datasheet: Datasheet) -> None:
    names, first, counts = np.unique(columns.ids, return_index=True, return_counts=True)
    repeated = names[counts > 1][np.argsort(first[counts > 1])]
    if len(repeated):
        raise SuiteError(
            f"suite {datasheet.name}: id {repeated[0].decode()!r} appears more than once"
            + (f" (and {len(repeated) - 1} others)" if len(repeated) > 1 else ""),
            hint="give every item an id of its own",
        )


def _refuse_unnamed(columns: Columns, datasheet: Datasheet) -> None:
    languages, concepts = datasheet.languages, {None, *datasheet.concepts}
    place = _first(
        _of_kind(columns, lambda k: k.language not in languages or k.concept not in concepts)
    )
    if place is None:
        return
    item = columns[place]
    if item.language not in languages:
        raise SuiteError(
            f"suite {datasheet.name}, item {item.id}: language {item.language!r} is not "
            f"among the datasheet's {list(languages)}",
            hint="correct the item, or name the language in suite.yaml",
        )
    raise SuiteError(
        f"suite {datasheet.name}, item {item.id}: concept {item.concept!r} is not "
        f"among the datasheet's {sorted(datasheet.concepts)}",
        hint="correct the item, or define the concept in suite.yaml",
    )


def _refuse_unsourced_neutral_text(columns: Columns, datasheet: Datasheet) -> None:
    """Neutral text has a named source, and is there in every language or in none."""
    found = {kind.language for kind in columns.names if kind.label is Label.NEUTRAL}
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


def _refuse_mixed_groups(columns: Columns, groups: np.ndarray, datasheet: Datasheet) -> None:
    """A group is one meaning: one concept, and one item per label, language and kind."""
    concepts = list(dict.fromkeys(kind.concept for kind in columns.names))
    forms = list(dict.fromkeys((kind.label, *kind.variant) for kind in columns.names))
    concept = _of_kind(columns, lambda kind: concepts.index(kind.concept))
    form = _of_kind(columns, lambda kind: forms.index((kind.label, *kind.variant)))
    first, same = _firsts(groups), _firsts(groups * len(forms) + form)
    mixed, twice = concept != concept[first], same != np.arange(len(columns))
    place = _first(mixed | twice)
    if place is None:
        return
    item, where = columns[place], f"suite {datasheet.name}, group {columns[place].group}"
    if mixed[place]:
        raise SuiteError(
            f"{where}: items of two concepts ({columns[first[place]].concept} and {item.concept})",
            hint="a group is one meaning of one concept; it must not straddle splits",
        )
    raise SuiteError(
        f"{where}: items {columns[same[place]].id} and {item.id} are both {item.label} in "
        f"{item.language}{_as_picture(item.modality, item.rendering)}",
        hint="put the second into a group of its own",
    )


def _refuse_one_sided(columns: Columns, datasheet: Datasheet) -> None:
    labels: dict[tuple[str, str, str], set[Label]] = defaultdict(set)
    for kind in columns.names:
        if kind.concept is not None:
            labels[kind.concept, kind.modality, kind.rendering].add(kind.label)
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


def _refuse_repeated_inputs(
    columns: Columns, groups: np.ndarray, inputs: np.ndarray, datasheet: Datasheet
) -> None:
    """Splits follow groups, so an input of two groups could be fitted on and confirmed with."""
    first = _firsts(inputs)
    place = _first(groups != groups[first])
    if place is not None:
        one, item = columns[first[place]], columns[place]
        raise SuiteError(
            f"suite {datasheet.name}: items {one.id} and {item.id} are the same input in "
            f"{item.language}, in groups {one.group} and {item.group}",
            hint="drop one, or put both into one group; case and spaces make no difference",
        )


def _refuse_other_pairing(columns: Columns, groups: np.ndarray, datasheet: Datasheet) -> None:
    """Each group is a pair, or none is: statistics of pairs must not meet half of one."""
    forms = list(dict.fromkeys((kind.modality, kind.rendering) for kind in columns.names))
    form = _of_kind(columns, lambda kind: forms.index((kind.modality, kind.rendering)))
    whole = _firsts(groups * len(forms) + form if datasheet.paired else groups)
    label = _of_kind(columns, lambda kind: 0 if kind.concept is None else _SIDES[kind.label])
    sides = np.zeros(len(columns), dtype=np.int64)
    np.bitwise_or.at(sides, whole, label)
    wrong = (sides == 1) | (sides == 2) if datasheet.paired else sides == 3
    place = _first(wrong)
    if place is None:
        return
    where = f"suite {datasheet.name}, group {columns[place].group}"
    if datasheet.paired:
        missing = next(one for one, side in _SIDES.items() if not sides[place] & side)
        raise SuiteError(
            f"{where}: no {missing} item{_as_picture(*forms[form[place]])}, and the suite is "
            "paired",
            hint="add it; or, where the suite has no pairs at all, put 'paired: false' into "
            "suite.yaml",
        )
    positive, negative = (
        columns[int(np.argmax((whole == place) & (label == side)))].id for side in (1, 2)
    )
    raise SuiteError(
        f"{where}: items {positive} (positive) and {negative} (hard-negative), and the suite is "
        "unpaired",
        hint="give each a group of its own; or, where every group is a pair, leave "
        "'paired: false' out of suite.yaml",
    )


def _other_carrier(other: Item, item: Item, datasheet: Datasheet) -> SuiteError | None:
    """Words about a picture that differ between items would carry what the picture should."""
    if (item.text, item.messages) == (other.text, other.messages):
        return None
    return SuiteError(
        f"suite {datasheet.name}: items {other.id} and {item.id} have different words "
        f"beside their {item.rendering} pictures in {item.language}",
        hint="give all the same words or none; where the words mean something, the "
        "modality is 'image-text'",
    )


def _missing_picture(item: Item, datasheet: Datasheet, folder: Path) -> SuiteError | None:
    path = folder / item.image.path
    if not path.is_file():
        return SuiteError(
            f"suite {datasheet.name}, item {item.id}: {item.image.path} is not there",
            hint="a suite's pictures lie in its folder, in 'images'; fetch it whole",
        )
    return _link_out(path, folder, datasheet.name)


def _link_out(path: Path, folder: Path, name: str) -> SuiteError | None:
    """What a suite's maker did not put into it is none of it."""
    if not leads_out(path, folder):
        return None
    return SuiteError(
        f"suite {name}: {path.relative_to(folder).as_posix()} is a link that leads out of "
        "the folder",
        hint="put the file itself there",
    )


def _input_digest(item: Item) -> bytes:
    """Of what must not stand in two groups: a language and its words."""
    said = repr((item.language, normalised(item)))
    return hashlib.blake2b(said.encode(), digest_size=INPUT_DIGEST).digest()


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
