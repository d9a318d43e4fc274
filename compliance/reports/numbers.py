"""How results are written: one place, so that a number reads the same wherever it stands.

    Numbers(evidence.results, messages, level=0.95).of("deception/ja/text/plain/sensitivity").text

A share that is not zero or one is never rounded to it, and a missing result keeps its place with
a reason. Numbers are rounded in one way for all languages; a language gives its signs and words:

    with written_in(load_messages("de")):
        write(0.914, "share")            # '91,4 %'
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from compliance.records.finding import Result
from compliance.records.report import Number
from compliance.reports.locales import number_signs, percent_sign
from compliance.reports.messages import Messages, load_messages

SPACE = "\N{NO-BREAK SPACE}"
MINUS = "\N{MINUS SIGN}"
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
NOUNS_WITH_CAPITALS = frozenset({"de", "lb"})

_words: ContextVar[Messages | None] = ContextVar("words", default=None)
"""A number is written in a hundred places, none of which chooses the language; as with
`decimal.localcontext`, whoever makes the page does. Without it the language is English."""


@contextmanager
def written_in(words: Messages) -> Iterator[None]:
    """Within it, numbers are written as the language of ``words`` does."""
    token = _words.set(words)
    try:
        yield
    finally:
        _words.reset(token)


def write(value: float, kind: str) -> str:
    """``value`` in the way of its kind: share, points, auroc, count and so on."""
    return _with_unit(_bare(value, kind), kind)


def write_interval(low: float, high: float, kind: str) -> str:
    """Both ends, with the unit once."""
    ends = _language().units["interval"].format(low=_bare(low, kind), high=_bare(high, kind))
    return _with_unit(ends, kind)


def write_count(n: int) -> str:
    """A whole number, in groups of thousands."""
    return write(n, "count")


def write_p(p: float) -> str:
    """A p-value to three decimals; below that, "< 0.001"."""
    return _signs(f"<{SPACE}0.001" if p < 0.0005 else f"{min(p, 1):.3f}")


def write_percent(value: float) -> str:
    """A setting such as a limit or a level, without digits it does not have."""
    return _with_unit(_signs(f"{100 * value:.10g}"), "share")


def write_limit(limit: float, kind: str) -> str:
    """A condition's limit, in the unit of the number it is compared with."""
    match kind:
        case "share":
            return write_percent(limit)
        case "points":
            return _with_unit(_signs(f"{100 * limit:.10g}"), kind)
    return _signs(f"{limit:.10g}")


def _language() -> Messages:
    return _words.get() or load_messages()


def _signs(digits: str) -> str:
    """Python's way to write a number, with the group separator and decimal sign of the language."""
    return digits.translate(number_signs(_language().language))


def _with_unit(number: str, kind: str) -> str:
    match kind:
        case "share":
            return number + percent_sign(_language().language)
        case "points" | "signed-points":
            return _language().units["points"].replace(" ", SPACE).format(value=number)
    return number


def _bare(value: float, kind: str) -> str:
    """``value`` without its unit."""
    match kind:
        case "share":
            return _signs(_share(value))
        case "points" | "signed-points":
            return _signs(_decimal(100 * value, 1, signed=kind[0] == "s"))
        case "auroc" | "variance":
            return _signs(_decimal(value, 3))
        case "auroc-difference" | "signed":
            return _signs(_decimal(value, 3, signed=True))
        case "count":
            return _signs(f"{round(value):,}")
        case "p":
            return write_p(value)
        case "mean":
            return _signs(_decimal(value, 1))
    return _signs(_significant(value))


def _share(value: float) -> str:
    """In percent."""
    if 0 < value < 0.0005:
        return f"<{SPACE}0.1"
    if 0.9995 <= value < 1:
        return f">{SPACE}99.9"
    return f"{100 * value:.1f}"


def _decimal(value: float, digits: int, *, signed: bool = False) -> str:
    rounded = round(value, digits) + 0.0
    sign = MINUS if rounded < 0 else "+" if signed and rounded > 0 else ""
    return f"{sign}{abs(rounded):.{digits}f}"


def _significant(value: float) -> str:
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    mantissa, _, exponent = f"{value:.4g}".partition("e")
    power = f"{SPACE}×{SPACE}10{str(int(exponent)).translate(RAISED)}" if exponent else ""
    return mantissa.replace("-", MINUS) + power


class Numbers:
    """The results of an assessment, ready to print by id."""

    def __init__(self, results: Iterable[Result], words: Messages, *, level: float) -> None:
        self._results = {result.id: result for result in results}
        self._words = words
        self._level = level

    def ids(self) -> tuple[str, ...]:
        return tuple(self._results)

    def result(self, result_id: str) -> Result | None:
        return self._results.get(result_id)

    def has_value(self, result_id: str) -> bool:
        """Whether the result is there and is a number."""
        result = self._results.get(result_id)
        return result is not None and result.value is not None

    def of(self, result_id: str, *, absent: str | None = None, short: str | None = None) -> Number:
        """The result as it is printed.

        Args:
            result_id: Its address.
            absent: What to say where there is no such result; by default, that it is missing.
            short: The same in a word or two.
        """
        name = name_of(result_id)
        kind, label = self.describe(name, modality_of(result_id))
        result = self._results.get(result_id)
        if result is None:
            reason = absent or self._words.unknown["missing"]
            short = short or self._words.unknown["short"]
            return Number(result_id=result_id, name=name, label=label, reason=reason, short=short)
        return Number(
            result_id=result_id,
            name=name,
            label=label,
            text=None if result.value is None else write(result.value, kind),
            interval=self._interval(result, kind),
            n=None if result.n is None else write_count(result.n),
            p=None if result.p is None else write_p(result.p),
            method=result.method,
            reason=self._reason(result),
            short=None if result.value is not None else self._words.unknown["short"],
        )

    def describe(self, name: str, modality: str = "text") -> tuple[str, str]:
        """Kind and label of a result's name; an unknown name is its own label."""
        base, parameter = self._parsed(name, modality)
        words = self._words.results.get(base)
        if words is None:
            return "plain", name
        if "{parameter}" in words.label:
            return words.kind, words.label.format(parameter=parameter)
        return words.kind, f"{words.label}: {parameter}" if parameter else words.label

    def _parsed(self, name: str, modality: str) -> tuple[str, str]:
        """The catalog's key of a name, and in words what stands beside it in the name."""
        words = self._words
        if name in words.results:
            return name, ""
        if name.startswith("minus-"):
            control = name.removeprefix("minus-")
            return "minus", in_sentence(words.scorer(control, modality))
        head, _, rest = name.partition(".")
        match head:
            case "shift":
                shift, _, measure = rest.rpartition(".")
                return f"shift.{measure}", self._shift(shift)
            case "left-out":
                kind, _, value = rest.partition(".")
                named = words.units["named"]
                return head, named.format(kind=words.clusters.get(kind, kind), value=value)
            case "effect" | "effect-minus" | "kl" | "side-loss" | "side-kl":
                return head, self._change(rest)
            case "capability":
                return "capability-change", self._change(rest)
            case "side-score":
                return head, self._change_of(rest)
            case "misses" | "hits" if rest in words.classes:
                return head, in_sentence(words.classes[rest].label)
        if "@" in name:
            head, _, parameter = name.partition("@")
            return head, _prevalence(parameter)
        plain = words.suffixes.get(rest) or words.scorer(rest, modality)
        return head, in_sentence(plain) if plain else ""

    def _shift(self, shift: str) -> str:
        known = self._words.shifts.get(shift)
        return in_sentence(known.label) if known else shift

    def _change(self, arm: str) -> str:
        """A change of the model in words, from its name in a result's."""
        words = self._words.sections["interventions"]
        kind, _, multiple = arm.partition(".")
        if kind != "dose":
            return words.get(f"arm_{kind}", arm)
        if multiple == "0":
            return words["arm_off"]
        return words["arm_dose"].format(multiple=_signs(multiple.replace("-", MINUS)))

    def _change_of(self, rest: str) -> str:
        """Another concept's probe, and the change."""
        other, _, arm = rest.partition(".")
        return self._words.sections["interventions"]["of_other"].format(
            concept=other, change=self._change(arm)
        )

    def _interval(self, result: Result, kind: str) -> str | None:
        if result.value is None or result.low is None or result.high is None:
            return None
        text = write_interval(result.low, result.high, kind)
        if result.level is not None and result.level != self._level:
            text += f" ({write_percent(result.level)})"
        return text

    def _reason(self, result: Result) -> str | None:
        if result.value is not None:
            return None
        known = self._words.reasons.get(result.reason or "")
        return known or result.reason or self._words.unknown["no_reason"]


def name_of(result_id: str) -> str:
    """What a result is called within its cell, its study, or its place of the instrument."""
    parts = result_id.split("/")
    if parts[0] == "mitigation":
        return f"mitigation.{parts[-1]}"
    return "/".join(parts[4:]) if len(parts) > 4 and parts[0] != "fidelity" else parts[-1]


def modality_of(result_id: str) -> str:
    """The modality that a result's address names; text where it names none."""
    parts = result_id.split("/")
    return parts[2] if len(parts) > 4 else "text"


def in_sentence(title: str) -> str:
    """A title inside a sentence: "Code backdoors" begins small, "AI use" does not.

    In a language whose nouns have capitals nothing changes, as what is a noun cannot be told.
    """
    if _language().language in NOUNS_WITH_CAPITALS:
        return title
    return title[0].lower() + title[1:] if title[1:2].islower() else title


def _prevalence(parameter: str) -> str:
    try:
        return write_percent(float(parameter))
    except ValueError:
        return parameter
