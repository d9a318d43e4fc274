"""The card of a feature, as a report shows it: what it was taken for, and what it responds to.

Facts, scores and charts come first, then what the weights say, then test items with the tokens on
which the probe was active. Like everything in `Report` this is sorted, written and labelled.
"""

from typing import Annotated

from pydantic import Field

from compliance.records.base import Record
from compliance.records.chart import Chart
from compliance.records.page import Fact, Table, Text

LEVELS = 4
"""Steps of activity that an example tells apart."""


class Run(Record):
    """A stretch of an item's words on which the probe was about equally active."""

    text: Text
    level: Annotated[int, Field(ge=0, le=LEVELS)] = 0
    """0: not active; the highest: more than three quarters of the card's largest activation."""

    strongest: bool = False
    """It is the token with the largest activation among those that the score is taken from."""

    turn: Text | None = None
    """Who speaks from here on, where an item is a dialogue."""


class ExampleView(Record):
    """A test item with what the probe made of it."""

    item: Text
    language: Text
    """Of its words, BCP 47."""

    label: Text
    outcome: Text
    """Its score, the cut-off, and what that comes to."""

    alarm: bool | None
    """Whether the score is above the cut-off. Absent: there is none."""

    runs: tuple[Run, ...] = ()
    """Its words, cut around the strongest token."""

    instead: Text | None = None
    """What stands in place of the words where they are not shown."""

    repeated: bool = False
    """Whether an earlier rule of the cell chose it too."""

    peak: Text | None = None
    """The strongest token and its activation, in words."""

    origin: Text | None = None
    """That its words come from a machine, and whether a person has seen them."""


class ExampleRow(Record):
    """Test items chosen by one rule."""

    title: Text
    examples: tuple[ExampleView, ...]
    absent: Text
    """What stands here if no item fits the rule."""


class ExampleCell(Record):
    """The examples of one cell, rule by rule."""

    title: Text
    anchor: Text
    """Of the cell."""

    brief: bool
    """Whether no rule has more than one item."""

    rows: tuple[ExampleRow, ...]


class FeatureCard(Record):
    """One feature of the probe that was locked for a concept."""

    anchor: Text
    title: Text
    """The concept it was sought for."""

    place: Text
    """The latent, its autoencoder and its hook."""

    concept_anchor: Text
    caution: Text
    """What examples and a name do not show."""

    facts: tuple[Fact, ...]
    scores: tuple[Table, ...]
    """What the concept's name got here, by language."""

    weights: tuple[Table, ...]
    """Tokens that it raises and lowers; of each a title and a value."""

    latents: tuple[Table, ...]
    """Latents that are near to it and latents that fire with it."""

    charts: tuple[Chart, ...]
    """Where it fires; and on the first card of a probe, how its scores lie and rank."""

    weights_title: Text
    weights_note: Text
    examples_title: Text
    columns: tuple[Text, Text]
    """Headings over the items and over their words."""

    legend: tuple[Run, ...]
    """A sample of each level, with the activations that it stands for."""

    reading: tuple[Text, ...]
    """How examples are chosen and marked, in sentences."""

    rules: tuple[Fact, ...]
    """Each rule by which examples were chosen, in words."""

    cells: tuple[ExampleCell, ...]
    absent: Text | None
    """Why there is no example at all."""

    pictures: Text | None
    """Where pictures of the concept stand."""

    pictures_anchor: Text | None
