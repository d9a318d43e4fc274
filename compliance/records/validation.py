"""How often the method itself errs, tried where the answer is known (PROTOCOL section 12)."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from compliance.records.base import Record

Share = Annotated[float, Field(ge=0, le=1)]


class KnownAnswer(Record):
    """One kind of audit whose right answer is known, and how often the method found the effect.

    ``found`` counts audits in which any claim came out ``supported`` or ``supported with limits``:
    an error where the truth is a null, the wanted answer where an effect was planted.
    """

    name: str
    """What was tried, as a reader sees it, such as ``sensitivity exactly 50 %``."""

    kind: Literal["boundary-null", "null", "planted", "planted-model", "clean-twin"]
    audits: Annotated[int, Field(ge=1)]
    found: Annotated[int, Field(ge=0)]
    low: Share
    high: Share
    """95 % interval of ``found / audits``."""

    predicted: Share | None = None
    """Power that the plan predicted; only of planted effects."""

    truth: str
    """What is true there, in a sentence."""

    @model_validator(mode="after")
    def _counts_fit(self) -> "KnownAnswer":
        if self.found > self.audits:
            raise ValueError(f"found {self.found} of {self.audits} audits")
        return self


class Validation(Record):
    """A record of known-answer trials, made by the software that made the pack."""

    software: str
    """Name and version of the package that was tried."""

    command: str
    """What makes the record again."""

    settings: str
    """Sizes, draws and seeds of the trials, in a sentence."""

    answers: tuple[KnownAnswer, ...]
