"""What `compliance suites check` found: a test set's quality in numbers, against stated limits."""

from typing import Annotated

from pydantic import Field

from compliance.records.base import SCHEMA_VERSION, Record
from compliance.records.suite import Modality, Rendering

Fraction = Annotated[float, Field(ge=0, le=1)]


class Limits(Record):
    """What a suite is held against. An author may choose others, in print."""

    length_auroc: Fraction = 0.05
    """How far the AUROC of length alone may lie from 0.5."""

    pair_length: Fraction = 0.3
    """How much longer one of a pair may be than the other, in characters."""

    unequal_pairs: Fraction = 0.05
    """Share of pairs in which it may be longer than that."""

    ngram_auroc: Fraction = 0.65
    """Largest AUROC of character n-grams, on groups that were left out of the fit."""

    skeleton_likeness: Fraction = 0.8
    """From here on two groups of a concept, rare words masked, count as one template."""

    wording_likeness: Annotated[float, Field(ge=0.5, le=1)] = 0.7
    """Share of words from which on two groups count as copies of one another."""

    script: Fraction = 0.4
    """Smallest share of letters in the script of the item's language; code may have less."""

    language: Fraction = 0.02
    """Share of a language's items that may look like another language of the suite."""

    numbers: Fraction = 0.01
    """Share of translations in which numbers may differ from the original."""


class Area(Record):
    """An AUROC with its 95 % interval."""

    value: float
    low: float
    high: float


class Power(Record):
    """What a cell of this size can show, at the default claims and the strictest step of Holm."""

    confirm_groups: int
    benign_confirm: int

    sensitivity: float | None = None
    """Smallest sensitivity that is shown to exceed 0.5 with 80 % power; absent: none is."""

    auroc: float | None = None
    """Smallest AUROC that is told from 0.5 with 80 % power; absent: none is."""

    attainable: bool
    """Whether outcomes as good as can be would show every condition of "supported"."""

    supported: Fraction
    """Probability of "supported" for a probe of sensitivity 0.9 with false alarms of 0.01 and
    0.05."""


class CellSize(Record):
    """How much of one concept there is in one language, in text or in one form of pictures."""

    concept: str
    language: str
    modality: Modality = "text"
    rendering: Rendering = "plain"
    groups: int
    positives: int
    hard_negatives: int
    strata: dict[str, int]
    """Groups by stratum."""

    formats: dict[str, int]
    """Positives and hard negatives by format."""

    power: Power


class CellReport(CellSize):
    """One concept in one language, with what gives its labels away."""

    words: tuple[float, float, float] | None = None
    """Quartiles of the words an item has; characters where words are not set apart."""

    pair_length: tuple[float, float, float] | None = None
    """Quartiles of the positive's length over the hard negative's; absent without pairs."""

    unequal_pairs: Fraction | None = None
    """Share of pairs in which one is longer than the other by more than the limit says."""

    length: dict[str, Area]
    """AUROC of length alone, by unit or tokenizer: of the words that a probe reads."""

    ngrams: Area | None = None
    """AUROC of n-grams of the words that a probe reads; absent where a fit has too few groups."""

    ngrams_whole: Area | None = None
    """The same of all turns; absent where those are the words that are read."""


class BenignReport(Record):
    """The benign negatives of one language, and how much neutral text there is."""

    language: str
    items: int
    """Texts; ``formats`` and ``words`` are of these."""

    pictures: int = 0
    neutral: int
    formats: dict[str, int]
    words: tuple[float, float, float] | None = None
    """Absent: there are no texts."""


class SuiteOverview(Record):
    """A suite's sizes and what they can show."""

    name: str
    version: str
    title: str
    licence: str
    items: int
    groups: int
    cells: tuple[CellSize, ...]
    """In text."""

    picture_cells: tuple[CellSize, ...] = ()
    """The same concepts with pictures, by form."""

    benign: tuple[BenignReport, ...]


class PictureReport(Record):
    """The pictures of a suite: what their files alone tell."""

    files: int
    """Different pictures."""

    items: int
    """Items that show one."""

    changed: tuple[str, ...] = ()
    """Files that are not what their items name."""

    shared: tuple[str, ...] = ()
    """Pictures that positives and hard negatives share where the meaning is in the picture alone:
    nothing could tell them apart."""


class Origins(Record):
    """Where a language's items come from, and whether a person has looked at them."""

    language: str
    items: int
    origins: dict[str, int]
    reviewed: int


class Rule(Record):
    """One limit, held against one place of the suite."""

    name: str
    where: str
    found: float
    limit: float
    passed: bool
    n: int
    """What was looked at: groups, items or pairs."""

    examples: tuple[str, ...] = ()
    """The first of what goes beyond the limit, as a reader can find it."""


class SuiteReport(SuiteOverview):
    """Sizes, shortcuts, and every limit the suite is held against."""

    schema_version: Annotated[str, Field(pattern=r"^1\.0$")] = SCHEMA_VERSION
    digest: str
    limits: Limits
    cells: tuple[CellReport, ...]
    origins: tuple[Origins, ...]
    rules: tuple[Rule, ...]
    pictures: PictureReport | None = None
    """Absent: there are none."""

    not_measured: tuple[str, ...]
    """What the check does not look at, and why, in sentences."""

    weakest: str
    """The concept and language with the strongest shortcut, in a sentence."""

    @property
    def passed(self) -> bool:
        """Whether every rule holds, and nothing is wrong with a picture."""
        spoilt = self.pictures is not None and (self.pictures.changed or self.pictures.shared)
        return all(rule.passed for rule in self.rules) and not spoilt
