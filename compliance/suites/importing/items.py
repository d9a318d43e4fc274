"""Makes items of a row, as a mapping says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from compliance.records.importing import (
    FileEntry,
    ImportMapping,
    ItemTemplate,
    Lookup,
    SkipRule,
    TurnColumn,
    item_columns,
)
from compliance.records.suite import WITHOUT_CONCEPT, Item
from compliance.suites.importing.images import take_picture
from compliance.suites.importing.rows import Refused, Row, Unfit
from compliance.suites.importing.templates import (
    INVISIBLE,
    Values,
    cell,
    columns,
    describe,
    fill,
    fill_name,
    fill_text,
    find,
    look_up,
    names_in,
    refuse_invisible,
    shorten,
)


class ItemMaker:
    """Makes the items of the rows of one source file.

    Args:
        mapping: What its columns mean.
        entry: What is true of every row.
        folder: What paths of pictures are relative to.
        out: Where pictures are stored, in ``images/``.
    """

    def __init__(self, mapping: ImportMapping, entry: FileEntry, folder: Path, out: Path) -> None:
        self._mapping, self._entry, self._folder, self._out = mapping, entry, folder, out
        self.kept_invisible = 0
        """Items whose texts hold characters that nobody sees, kept because the mapping says so."""

    def items(self, row: Row, number: int) -> Iterator[Item | Refused]:
        """What a row becomes.

        Args:
            row: The row.
            number: Of the rows of its file that are not blank, from one.
        """
        values = {
            **row.values,
            "#row": number,
            "#pair": (number + 1) // 2,
            "#file": row.file,
            "#language": self._entry.language,
            "#label": self._entry.label,
        }
        try:
            for rule in self._mapping.skip:
                refuse_skipped(rule, values)
        except Unfit as error:
            yield error.at(row.file, row.number)
            return
        for template in self._mapping.items:
            for one in self._by_language(values):
                try:
                    yield self._item(template, one)
                except Unfit as error:
                    yield error.at(row.file, row.number)

    def _by_language(self, values: dict[str, object]) -> Iterator[dict[str, object]]:
        if not self._mapping.language_columns:
            yield values
        for language, column in self._mapping.language_columns.items():
            yield {**values, "#language": language, "#text": find(values, column), "#in": column}

    def _item(self, template: ItemTemplate, values: dict[str, object]) -> Item:
        if "#in" in values and not cell(values, "#text").strip():
            column = str(values["#in"])
            raise Unfit(column, "no text in a language", f"no text in {column}", on_purpose=True)
        label = self._pick(template.label, values) or self._entry.label
        language = self._pick(template.language, values) or values["#language"]
        language = language or self._mapping.languages[0]
        values = {**values, "#label": str(label), "#language": language}
        fields: dict[str, Any] = {
            "id": fill_name(template.id, values),
            "group": fill_name(template.group, values),
            "label": label,
            "language": language,
            "format": self._pick(template.format, values),
            "stratum": _slug(template.stratum, values),
            "origin": self._pick(template.origin, values),
            "restricted": True if self._pick(template.restricted, values) else None,
            "reviewed": self._line(template.reviewed, values),
            "source": self._line(template.source, values),
            "licence": self._line(template.licence, values) or self._mapping.licence,
            **self._input(template, values),
        }
        if label not in WITHOUT_CONCEPT:
            fields["concept"] = self._pick(template.concept, values)
        fields |= self._picture(template, values)
        item = _validated(fields, template)
        self._count_invisible(fields)
        return item

    def _picture(self, template: ItemTemplate, values: Values) -> dict[str, Any]:
        if template.image is None:
            return {}
        path = fill(template.image, values).strip()
        if not path:
            if template.words_are_fixed:
                raise Unfit(columns(template.image), "no image", "the cell is empty")
            return {}
        image = take_picture(
            path, self._folder, self._out, column=columns(template.image),
            description=self._line(template.description, values),
        )  # fmt: skip
        modality = "image" if template.words_are_fixed else "image-text"
        return {"image": image, "modality": modality, "rendering": template.rendering}

    def _pick(self, field: Any, values: Values) -> Any:
        return look_up(field, values) if isinstance(field, Lookup) else field

    def _line(self, template: str | None, values: Values) -> str | None:
        """A line of plain text, or nothing where all cells are empty."""
        if template is None or not _says(template, values):
            return None
        text = fill(template, values)
        refuse_invisible(columns(template), text)
        return text.strip() or None

    def _input(self, template: ItemTemplate, values: Values) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if template.text is not None:
            found["text"] = self._text(template.text, values)
        elif isinstance(template.messages, TurnColumn):
            found["messages"] = self._turns(template.messages.column, values)
        elif template.messages:
            found["messages"] = [
                {"role": turn.role, "content": self._text(turn.content, values)}
                for turn in template.messages
            ]
        choices = template.choices
        if choices and _says(choices.concept, values) and _says(choices.other, values):
            found["choices"] = {
                "concept": self._text(choices.concept, values),
                "other": self._text(choices.other, values),
            }
        return found

    def _text(self, template: str, values: Values) -> str:
        text = fill_text(template, values)
        if self._mapping.invisible == "refuse" and INVISIBLE.search(text):
            for column in names_in(template):
                self._refuse_invisible(self._named(column, values), cell(values, column))
        return text

    def _turns(self, column: str, values: Values) -> list[dict[str, str]]:
        """A dialogue that stands in one column as a list."""
        turns = find(values, column)
        if not isinstance(turns, list) or not turns:
            raise Unfit(column, "not a dialogue", "expected a list of objects, at least one")
        found = []
        for place, turn in enumerate(turns):
            where = f"{column}.{place}"
            if not isinstance(turn, dict) or not isinstance(turn.get("content"), str):
                raise Unfit(where, "not a dialogue", "expected an object with role and content")
            if turn.get("role") not in ("system", "user", "assistant"):
                reason = f"role is {turn.get('role')!r}, expected system, user or assistant"
                raise Unfit(where, "other role", reason)
            content = fill_text(f"{{{where}.content}}", values)
            if self._mapping.invisible == "refuse":
                self._refuse_invisible(where, content)
            found.append({"role": turn["role"], "content": content})
        return found

    def _refuse_invisible(self, column: str, text: str) -> None:
        if found := INVISIBLE.search(text):
            reason = describe(found.group(), found.start())
            raise Unfit(column, "invisible character", f"{reason}; 'invisible: keep' would keep it")

    def _named(self, column: str, values: Values) -> str:
        return str(values["#in"]) if column == "#text" else column

    def _count_invisible(self, fields: dict[str, Any]) -> None:
        if self._mapping.invisible == "keep":
            texts = [fields.get("text") or "", *(fields.get("choices") or {}).values()]
            texts += [turn["content"] for turn in fields.get("messages") or ()]
            self.kept_invisible += any(INVISIBLE.search(text) for text in texts)


def refuse_skipped(rule: SkipRule, values: Values) -> None:
    """Leave a row out where a rule says so.

    Raises:
        Unfit: It does.
    """
    value = cell(values, rule.column).strip()
    if value in rule.values if rule.values else value not in rule.unless:
        raise Unfit(rule.column, rule.reason, rule.reason, on_purpose=True)


def needed_columns(mapping: ImportMapping) -> list[str]:
    """Columns without which no row could become an item."""
    found = [name for template in mapping.items for name in item_columns(template)]
    found += [*mapping.language_columns.values(), *(rule.column for rule in mapping.skip)]
    return sorted({name for name in found if not name.startswith("#")})


def _says(template: str, values: Values) -> bool:
    """Whether any cell of a template holds something; true where it takes none."""
    names = names_in(template)
    return not names or any(cell(values, name).strip() for name in names)


def _slug(template: str | None, values: Values) -> str | None:
    """A stratum, spelt in lower case letters, digits and hyphens."""
    if template is None or not _says(template, values):
        return None
    return re.sub(r"[^a-z0-9]+", "-", fill_name(template, values).lower()).strip("-") or None


def _validated(fields: dict[str, Any], template: ItemTemplate) -> Item:
    try:
        return Item.model_validate({key: v for key, v in fields.items() if v is not None})
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0]) if first["loc"] else ""
        source = getattr(template, field, None)
        column = columns(source) if isinstance(source, str) else field
        reason = f"{field}: {first['msg'][0].lower()}{first['msg'][1:]}"
        raise Unfit(column, f"{field} does not fit", f"{reason}, found {_shown(first)}") from error


def _shown(problem: Any) -> str:
    found = problem["input"]
    return shorten(found) if isinstance(found, str) else type(found).__name__
