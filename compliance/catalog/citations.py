"""How a provision is cited: stored ids and the form people read.

    display("art13.3.b.ii")    # '13(3)(b)(ii)'
    display("annex4.2.g")      # 'Annex IV 2(g)'
    cited("art13.3.b.ii")      # 'Article 13(3)(b)(ii)'

Both forms are derived from the id, so that a citation is spelt in one way everywhere.
"""

import re

_ROMAN = ((10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"))


def display(provision_id: str) -> str:
    """The form people read, without the word "Article"."""
    head, *points = provision_id.split(".")
    kind, number = _split(head)
    match kind:
        case "art":
            return number + "".join(f"({point})" for point in points)
        case "annex":
            return " ".join([f"Annex {_roman(int(number))}", *_annex_points(points)])
    return f"{kind.capitalize()} {number}" + "".join(f"({point})" for point in points)


def cited(provision_id: str) -> str:
    """The form that stands alone in a sentence: ``Article 13(1)``, ``Annex IV 3``."""
    shown = display(provision_id)
    return f"Article {shown}" if provision_id.startswith("art") else shown


def normalise(text: str) -> str:
    """What two spellings of one citation have in common: case, blanks and "Article" are dropped."""
    compact = re.sub(r"\s+", "", text).lower()
    return re.sub(r"^(article|art\.|art(?=\d))", "", compact)


def _split(head: str) -> tuple[str, str]:
    kind = head.rstrip("0123456789")
    if kind == head:  # an inserted article, such as art4a
        kind = re.sub(r"\d+[a-z]$", "", head)
    return kind, head[len(kind) :]


def _annex_points(points: list[str]) -> list[str]:
    """``['s1', '2', 'c']`` to ``['Section 1,', '2(c)']``."""
    sections = [f"Section {point[1:]}," for point in points if re.fullmatch(r"s\d+", point)]
    rest = [point for point in points if not re.fullmatch(r"s\d+", point)]
    if rest and rest[0].isupper():
        sections.append(f"Section {rest.pop(0)},")
    tail = [rest[0] + "".join(f"({point})" for point in rest[1:])] if rest else []
    return [*sections, *tail]


def _roman(number: int) -> str:
    text = ""
    for value, letters in _ROMAN:
        while number >= value:
            text, number = text + letters, number - value
    return text
