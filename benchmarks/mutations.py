"""Kinds of changes to a pack, each with what a verifier must say of it, stated beforehand.

A kind draws one change from a stream of chance. It says which checks must fail and which file one
of them must name; a change that leaves every byte as it was is drawn again. Who makes a change
holds no key, a key of their own, or the issuer's key itself.
"""

from __future__ import annotations

import io
import json
import math
import re
import stat
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.forging import (
    Entry,
    Files,
    chained,
    checkpointed,
    entries_of,
    envelope,
    insider,
    relisted,
    retagged,
    root_of,
    signed,
)
from compliance.assessment.tables import read_table, table_bytes
from compliance.packs import layout
from compliance.packs.trust import NOTHING, Trust
from compliance.records.finding import Status, Verdict
from compliance.records.observation import CONFIRM_FILES, FIT_FILES
from compliance.records.verification import Outcome, Verification

LINK, FOLDER, PIPE = "link", "folder", "pipe"
NUMBERS, WORDS = "numbers", "words"
"""Depths of a verification beyond digests and signatures; each is a part of `recompute`."""

ANY: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Samples:
    """The packs that are changed, in memory, and what is known of them outside."""

    packs: Mapping[str, Files]
    """By the names of `benchmarks.sample_packs.Packs`."""

    zipped: bytes
    """``older`` as a ZIP."""

    keys: Mapping[str, Ed25519PrivateKey]
    """By role; ``stranger`` is nobody's."""

    trust: Trust
    names: Mapping[str, str]
    """What the packs are called."""

    @cached_property
    def issuer(self) -> Ed25519PrivateKey:
        return self.keys["issuer"]


@dataclass(frozen=True)
class Change:
    """A changed pack, and what must be said of it."""

    said: str
    """What was done."""

    files: Mapping[str, bytes]
    checks: frozenset[str] = ANY
    """Names of checks, one of which must fail; empty: any."""

    places: frozenset[str | None] = ANY
    """Files, one of which such a check must name; empty: any."""

    says: str = ""
    """What the message of such a check must hold."""

    base: str = "older"
    deeper: str | None = None
    """How deep one must look to notice it: None, digests and signatures; `NUMBERS`; `WORDS`."""

    trust: Trust | None = None
    """What the verifier knows; None: what there is to know."""

    odd: Mapping[str, str] = field(default_factory=dict)
    """What stands in place of plain files: `LINK`, `FOLDER` or `PIPE` by path."""

    name: str | None = None
    """What the pack's folder is called; None: as its contents say."""

    zipped: bytes | None = None
    """The pack as a ZIP, in place of files."""


Make = Callable[[Random, Samples], Change | None]
"""Draws a change; None where this draw gives none."""


@dataclass(frozen=True)
class Kind:
    """One kind of change."""

    name: str
    share: int
    """How many of a thousand changes are of this kind."""

    make: Make


# --- bytes, by anybody -----------------------------------------------------------------------


def _file(chance: Random, files: Mapping[str, bytes]) -> str:
    """Any file; half of the time one is as likely as it is long."""
    paths = sorted(files)
    if chance.random() < 0.5:
        return chance.choice(paths)
    return chance.choices(paths, [len(files[path]) for path in paths])[0]


def _edited(how: str, edit: Callable[[Random, bytes], bytes]) -> Make:
    def make(chance: Random, samples: Samples) -> Change | None:
        base = chance.choice(("older", "newer", "closed", "copy"))
        files = samples.packs[base]
        path = _file(chance, files)
        data = edit(chance, files[path])
        trust = NOTHING if chance.random() < 0.2 else None  # nobody needs a key to see this
        return Change(f"{how} in {path}", {**files, path: data}, places=frozenset({path}),
                      base=base, trust=trust)  # fmt: skip

    return make


def _flip(chance: Random, data: bytes) -> bytes:
    if not data:
        return data
    place = chance.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :]


def _overwrite(chance: Random, data: bytes) -> bytes:
    place, length = chance.randrange(len(data) + 1), chance.choice((1, 2, 8, 64, 1000))
    return data[:place] + chance.randbytes(length) + data[place + length :]


def _insert(chance: Random, data: bytes) -> bytes:
    place = chance.choice((0, len(data), chance.randrange(len(data) + 1)))
    new = chance.choice((b"\0", b"\n", b" ", b"{}", chance.randbytes(9)))
    return data[:place] + new + data[place:]


def _delete(chance: Random, data: bytes) -> bytes:
    place, length = chance.randrange(len(data) + 1), chance.choice((1, 1, 2, 16, 500))
    return data[:place] + data[place + length :]


def _truncate(chance: Random, data: bytes) -> bytes:
    return data[: chance.choice((0, len(data) - 1, chance.randrange(len(data) + 1)))]


def _move(chance: Random, data: bytes) -> bytes:
    """Two parts of one length change places."""
    length = chance.choice((1, 4, 32, 256))
    if len(data) < 2 * length:
        return data
    a, b = sorted(chance.sample(range(len(data) - length + 1), 2))
    if b < a + length:
        return data
    middle = data[a + length : b]
    return data[:a] + data[b : b + length] + middle + data[a : a + length] + data[b + length :]


def _lines(chance: Random, data: bytes) -> bytes:
    """A line is taken out, doubled, or changes places with another."""
    lines = data.splitlines(keepends=True)
    a, b = chance.randrange(len(lines) or 1), chance.randrange(len(lines) or 1)
    match chance.choice(("out", "twice", "places")):
        case "out":
            lines[a : a + 1] = []
        case "twice":
            lines[b:b] = lines[a : a + 1]
        case _ if lines:
            lines[a], lines[b] = lines[b], lines[a]
    return b"".join(lines)


# --- whole files, by anybody -----------------------------------------------------------------


def _removed(chance: Random, samples: Samples) -> Change:
    files = dict(samples.packs["older"])
    path = chance.choice(sorted(files))
    del files[path]
    return Change(f"{path} removed", files, places=frozenset({path}))


def _added(chance: Random, samples: Samples) -> Change | None:
    files = samples.packs["older"]
    path = chance.choice((
        f"data/extra-{chance.randrange(10**6)}", "data/observations/confirm/more.csv",
        f"data/images/{chance.randbytes(32).hex()}.png", "data/.hidden", "notes.txt",
        "attestations/notes.txt", "attestations/approvals/release.dsse.json",
        "attestations/approvals/release.pem", "fetch.txt", "manifest-md5.txt",
        "data/a b", "data/-x", "data/x\n0", "data/" + "y" * 200 + "/" + "z" * 60,
        *(p.upper() for p in files), *(p + "/x" for p in ("data/new", "more")),
    ))  # fmt: skip
    if path in files:
        return None
    shown = path.replace("\n", "\\n")
    taken = {p for p in files if p.lower() == path.lower()}
    data = chance.choice((b"", b"{}", files[chance.choice(sorted(files))]))
    return Change(f"{shown} added", {**files, path: data}, places=frozenset({shown, *taken}))


def _renamed(chance: Random, samples: Samples) -> Change | None:
    files = dict(samples.packs["older"])
    old = chance.choice(sorted(files))
    beside = old[: old.rfind("/") + 1] + "renamed"
    new = chance.choice((old + "x", beside, "data/" + old, old.upper()))
    if new in files:
        return None
    files[new] = files.pop(old)
    return Change(f"{old} renamed {new}", files, places=frozenset({old}))


def _exchanged(chance: Random, samples: Samples) -> Change:
    files = samples.packs["older"]
    a, b = chance.sample(sorted(files), 2)
    made = {**files, a: files[b], b: files[a]}
    return Change(f"{a} and {b} exchanged", made, places=frozenset({a, b}))


def _of_another(chance: Random, samples: Samples) -> Change | None:
    """Files of another version or system in place of those of this one."""
    base, other = chance.sample(sorted(samples.packs), 2)
    here, there = samples.packs[base], samples.packs[other]
    differing = sorted(p for p in here.keys() & there.keys() if here[p] != there[p])
    taken = chance.sample(differing, min(len(differing), chance.choice((1, 1, 2, 5))))
    made = {**here, **{path: there[path] for path in taken}}
    return Change(f"{', '.join(taken)} of {other} in {base}", made, places=frozenset(taken),
                  base=base)  # fmt: skip


def _odd(chance: Random, samples: Samples) -> Change:
    files = samples.packs["older"]
    path, kind = chance.choice(sorted(files)), chance.choice((LINK, FOLDER, PIPE))
    return Change(f"{path} is a {kind}", files, odd={path: kind}, places=frozenset({path}))


# --- lists redone, without a key -------------------------------------------------------------


def _relisted_bytes(chance: Random, samples: Samples) -> Change | None:
    """A file below data/ is changed and every list fits it."""
    files = samples.packs["older"]
    path = _file(chance, {p: d for p, d in files.items() if p.startswith("data/")})
    edit = chance.choice((_flip, _insert, _delete, _lines))
    made = relisted({**files, path: edit(chance, files[path])})
    return Change(f"{edit.__name__} in {path}, lists redone", made,
                  checks=frozenset({"statement"}), places=frozenset({layout.MANIFEST}))  # fmt: skip


def _relisted_files(chance: Random, samples: Samples) -> Change | None:
    """A file below data/ is added or taken away and every list fits."""
    files = dict(samples.packs["older"])
    if chance.random() < 0.5:
        path = f"data/extra-{chance.randrange(10**6)}"
        files[path] = b"more"
    else:
        path = chance.choice(sorted(p for p in files if p.startswith("data/")))
        if path in (layout.EVIDENCE, layout.ITEMS, layout.SALTS):
            return None  # no root digest could be made
        del files[path]
    return Change(f"{path} added or gone, lists redone", relisted(files),
                  checks=frozenset({"statement"}), places=frozenset({layout.MANIFEST}))  # fmt: skip


def _relisted_number(chance: Random, samples: Samples) -> Change | None:
    forged = _forged_number(chance, samples)
    if forged is None:
        return None
    said, evidence, _ = forged
    made = relisted({**samples.packs["older"], layout.EVIDENCE: evidence})
    return Change(f"{said}, lists redone", made,
                  checks=frozenset({"statement"}), places=frozenset({layout.MANIFEST}))  # fmt: skip


def _label(chance: Random, samples: Samples) -> Change | None:
    """A label of bag-info.txt is changed and every list fits."""
    files = samples.packs["older"]
    info = layout.parse_info(files[layout.BAG_INFO])
    label = chance.choice(sorted(info))
    info[label] = chance.choice((info[label] + "0", "demo-9.9.9", "2020-01-01", "1.1"))
    made = retagged({**files, layout.BAG_INFO: layout.render_info(info)})
    return Change(f"{label} of bag-info.txt changed", made,
                  checks=frozenset({"statement"}), places=frozenset({layout.BAG_INFO}))  # fmt: skip


# --- signed with another key -----------------------------------------------------------------


def _stranger(chance: Random, samples: Samples) -> Change | None:
    """Anything is changed, everything is redone and signed with a key of the forger's own."""
    files = samples.packs["older"]
    forged = _forged_number(chance, samples)
    if chance.random() < 0.7 and forged is not None:
        said, files = forged[0], {**files, layout.EVIDENCE: forged[1]}
    else:
        path = chance.choice((layout.REPORT, layout.GUIDE, "data/law/mapping.yaml"))
        said, files = f"{path} rewritten", {**files, path: files[path] + b"\n"}
    made = insider(files, samples.keys["stranger"])
    return Change(f"{said}, signed with another key", made, checks=frozenset({"issuer"}),
                  places=frozenset({layout.STATEMENT}))  # fmt: skip


# --- numbers, by the holder of the issuer's key ----------------------------------------------

Place = tuple[str | int, ...]
TEXTS = {
    "verdict": [v.value for v in Verdict],
    "status": [s.value for s in Status],
}
UNCHECKED = {"p_adjusted", "null_p95", "flips"}
"""Of a selection: what the null of a search gives, which is drawn again with --deep alone."""


def _leaves(value: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*place, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _leaves(inner, (*place, number))
    else:
        yield place, value


def _with(value: Any, place: Place, new: Any) -> Any:
    if not place:
        return new
    copy = value.copy()
    copy[place[0]] = _with(value[place[0]], place[1:], new)
    return copy


PARTS = {"results": 55, "findings": 25, "lock": 10, "plan": 4, "environment": 2,
         "confirm_openings": 1, "observations": 3}  # fmt: skip
"""What of the evidence is changed, and how often. The rest is the provider's word."""


def _forged_number(chance: Random, samples: Samples) -> tuple[str, bytes, str] | None:
    """One number, text or entry of the evidence changed; and what must be said of it."""
    evidence = json.loads(samples.packs["older"][layout.EVIDENCE])
    part = chance.choices(list(PARTS), list(PARTS.values()))[0]
    if part in ("results", "findings") and chance.random() < 0.1:
        return _forged_list(chance, evidence, part)
    leaves = [
        (place, value)
        for place, value in _leaves(evidence[part], (part,))
        if not ("selection" in place and place[-1] in UNCHECKED)
    ]
    place, value = chance.choice(leaves)
    new = _other(chance, place, value)
    if _same(value, new):
        return None
    forged = rfc8785.dumps(_with(evidence, place, new))
    return f"{'.'.join(map(str, place))}: {value!r} made {new!r}", forged, _called(evidence, place)


def _forged_list(chance: Random, evidence: Any, part: str) -> tuple[str, bytes, str]:
    """An entry of a list is left out, doubled or moved."""
    rows = list(evidence[part])
    a, b = chance.sample(range(len(rows)), 2)
    called = _called(evidence, (part, a))
    match chance.choice(("out", "twice")):
        case "out":
            del rows[a]
        case _:
            rows.insert(b, rows[a])
            called = part
    return f"{part}[{a}] left out or doubled", rfc8785.dumps({**evidence, part: rows}), called


def _called(evidence: Any, place: Place) -> str:
    """What the verifier calls the place."""
    first, *rest = place
    if first == "results" and rest:
        return str(evidence["results"][rest[0]]["id"])
    if first == "findings" and rest:
        cell = evidence["findings"][rest[0]]["cell"]
        return f"{cell['concept']}/{cell['language']}"
    return str(first)


def _other(chance: Random, place: Place, value: Any) -> Any:
    """Another value of the same sort; a number beyond the tolerance of a comparison."""
    name = str(place[-1])
    if isinstance(value, bool):
        return not value
    if isinstance(value, int) and not isinstance(value, bool):
        return value + chance.choice((-1, 1, 2, 10))
    if isinstance(value, float):
        return chance.choice((
            value * (1 + chance.choice((-1, 1)) * 10.0 ** -chance.randrange(5)),
            value + chance.choice((-0.05, 0.05)), 0.5, 1 - value,
        ))  # fmt: skip
    if name in TEXTS:
        return chance.choice(TEXTS[name])
    if re.fullmatch(r"sha256:[0-9a-f]{64}", value):
        return f"sha256:{chance.randbytes(32).hex()}"
    return value + "x"


def _same(value: Any, new: Any) -> bool:
    """Whether two values agree as numbers of the evidence do."""
    if isinstance(value, float):
        return math.isclose(value, new, rel_tol=2e-6, abs_tol=2e-12)
    return bool(value == new)


def _insider_number(chance: Random, samples: Samples) -> Change | None:
    forged = _forged_number(chance, samples)
    if forged is None:
        return None
    said, evidence, called = forged
    made = insider({**samples.packs["older"], layout.EVIDENCE: evidence}, samples.issuer)
    return Change(
        f"{said}, signed by the issuer", made,
        checks=frozenset({"numbers", "evidence", "trail"}),
        places=frozenset({layout.EVIDENCE, layout.TRAIL}),
        says=_said(samples, evidence, called), deeper=NUMBERS,
    )  # fmt: skip


def _said(samples: Samples, evidence: bytes, called: str) -> str:
    """Evidence that is none any more is named as such, and its numbers are not looked at."""
    from compliance.packs.reading import parse_evidence

    try:
        parse_evidence(evidence)
    except ValueError:
        return ""
    return called


def _table(chance: Random, samples: Samples) -> tuple[str, pd.DataFrame]:
    files = samples.packs["older"]
    tables = [f"{n}/{f}" for n, fs in (("fit", FIT_FILES), ("confirm", CONFIRM_FILES)) for f in fs]
    path = chance.choice(sorted(tables))
    found = {path: files[layout.OBSERVATIONS + path]}
    return path, read_table(found, path)


def _insider_observation(chance: Random, samples: Samples) -> Change | None:
    """A number of a table is changed, its digest in the evidence with it; the trail has another."""
    path, table = _table(chance, samples)
    columns = [c for c in table.columns if table[c].dtype.kind in "fi"]
    if not len(table) or not columns:
        return None
    row, column = chance.randrange(len(table)), chance.choice(columns)
    value = table[column].iloc[row]
    table = table.copy()
    table.loc[table.index[row], column] = value + type(value)(1)
    data = table_bytes(table, path)
    evidence = _restated(samples.packs["older"], path, data)
    return Change(
        f"{path}: {column} of row {row} raised, signed by the issuer",
        insider({**samples.packs["older"], **evidence}, samples.issuer),
        checks=frozenset({"numbers", "trail", "evidence"}), places=frozenset({layout.EVIDENCE}),
        says=f"observations.{path}", deeper=NUMBERS,
    )  # fmt: skip


def _restated(files: Mapping[str, bytes], path: str, data: bytes) -> Files:
    """A table and the evidence that names its digest."""
    from compliance.records.base import digest_bytes

    evidence = json.loads(files[layout.EVIDENCE])
    evidence["observations"][path] = digest_bytes(data)
    return {layout.OBSERVATIONS + path: data, layout.EVIDENCE: rfc8785.dumps(evidence)}


def _insider_alarm(chance: Random, samples: Samples) -> Change | None:
    """An alarm of the probe is made or silenced in its table, the trail rewritten to fit it."""
    files, path = samples.packs["older"], "confirm/scores.csv"
    table = read_table({path: files[layout.OBSERVATIONS + path]}, path).copy()
    rows = np.flatnonzero((table["scorer"] == "probe").to_numpy())
    row = table.index[chance.choice(rows.tolist())]
    table.loc[row, "score"] = 0.0 if table.loc[row, "score"] > 0 else 1e4
    made = {**files, **_restated(files, path, table_bytes(table, path))}
    digest = json.loads(made[layout.EVIDENCE])["observations"][path]
    entries = entries_of(files)
    for entry in entries:
        if path in entry["facts"].get("observations", {}):
            entry["facts"]["observations"][path] = digest
    return Change(
        f"the probe's score of {table.loc[row, 'item']} changed, trail rewritten, signed by the "
        "issuer",
        insider(chained(made, entries), samples.issuer),
        checks=frozenset({"numbers"}), places=frozenset({layout.EVIDENCE}), deeper=NUMBERS,
    )  # fmt: skip


def _insider_item(chance: Random, samples: Samples) -> Change | None:
    """What an item says of itself is changed, its salted digest and the root with it."""
    files = samples.packs["older"]
    lines = files[layout.ITEMS].splitlines()
    number = chance.randrange(len(lines))
    line = json.loads(lines[number])
    item = line["item"]
    name = chance.choice(("text", "label", "group", "language", "source", "concept"))
    if name not in item:
        return None
    others = {"label": ["positive", "hard-negative", "negative"], "language": ["en", "el", "de"]}
    before, item[name] = item[name], chance.choice(others.get(name, [item[name] + "x"]))
    if item[name] == before:
        return None
    says = "suites" if name == "text" else f"items.{item['id']}.{name}"
    lines[number] = rfc8785.dumps(line)
    made = {**files, layout.ITEMS: b"".join(line + b"\n" for line in lines)}
    return Change(
        f"{name} of item {item['id']} changed, signed by the issuer",
        insider(made, samples.issuer), deeper=NUMBERS, says=says,
        checks=frozenset({"numbers", "items"}),
        places=frozenset({layout.EVIDENCE, layout.ITEMS}),
    )  # fmt: skip


def _insider_item_gone(chance: Random, samples: Samples) -> Change:
    files = samples.packs["older"]
    lines = files[layout.ITEMS].splitlines(keepends=True)
    gone = json.loads(lines.pop(chance.randrange(len(lines))))["item"]["id"]
    return Change(
        f"item {gone} taken out, signed by the issuer",
        insider({**files, layout.ITEMS: b"".join(lines)}, samples.issuer), deeper=NUMBERS,
        checks=frozenset({"numbers"}), places=frozenset({layout.EVIDENCE}), says=f"items.{gone}",
    )  # fmt: skip


def _insider_law(chance: Random, samples: Samples) -> Change | None:
    path = chance.choice(("data/law/provisions.yaml", "data/law/mapping.yaml"))
    data = chance.choice((_flip, _delete, _lines))(chance, samples.packs["older"][path])
    return Change(
        f"{path} rewritten, signed by the issuer",
        insider({**samples.packs["older"], path: data}, samples.issuer), deeper=NUMBERS,
        checks=frozenset({"numbers", "law"}), places=frozenset({layout.EVIDENCE, path}),
        says="law",
    )  # fmt: skip


def _insider_words(chance: Random, samples: Samples) -> Change | None:
    """A sentence or number of a report, or an export, rewritten."""
    files = samples.packs["older"]
    path = chance.choice([
        p for p in sorted(files)
        if p.startswith(("data/report", "data/exports/", "data/ro-crate"))
    ])  # fmt: skip
    if path.endswith(".json"):
        record = json.loads(files[path])
        place, value = chance.choice([leaf for leaf in _leaves(record) if leaf[1] is not None])
        new = _other(chance, place, value)
        if _same(value, new):
            return None
        data, said = rfc8785.dumps(_with(record, place, new)), ".".join(map(str, place))
    else:
        data, said = chance.choice((_flip, _delete, _lines))(chance, files[path]), "bytes"
        if data == files[path]:  # two equal lines changed places
            return None
    return Change(
        f"{said} of {path} rewritten, signed by the issuer",
        insider({**files, path: data}, samples.issuer), deeper=WORDS,
        checks=frozenset({"report", "page", "exports"}), places=frozenset({path}),
    )  # fmt: skip


def _insider_copy(chance: Random, samples: Samples) -> Change | None:
    """Something under the root digest of a copy is changed, and the copy signed again."""
    files = samples.packs["copy"]
    lines = files[layout.ITEMS].splitlines()
    number = chance.randrange(len(lines))
    line = json.loads(lines[number])
    if "withheld" not in line:
        return None
    name = chance.choice(sorted(line["withheld"]))
    line["withheld"][name] = f"sha256:{chance.randbytes(32).hex()}"
    lines[number] = rfc8785.dumps(line)
    items = b"".join(line + b"\n" for line in lines)
    made = insider({**files, layout.ITEMS: items}, samples.issuer)
    return Change(f"withheld {name} of line {number + 1} is another, signed by the issuer", made,
                  base="copy", checks=frozenset({"original"}))  # fmt: skip


# --- the trail -------------------------------------------------------------------------------


def _edited_entries(chance: Random, entries: Sequence[Entry]) -> tuple[str, list[Entry]]:
    """Entries reordered, cut, doubled, made up or rewritten."""
    made = [json.loads(json.dumps(entry)) for entry in entries]
    a, b = chance.sample(range(len(made)), 2)
    match chance.choice(("places", "out", "cut", "twice", "made up", "when", "who", "what")):
        case "places":
            made[a], made[b] = made[b], made[a]
            return f"entries {a + 1} and {b + 1} exchanged", made
        case "out":
            return f"entry {a + 1} taken out", made[:a] + made[a + 1 :]
        case "cut":
            return f"cut after entry {a + 1}", made[: a + 1]
        case "twice":
            return f"entry {a + 1} again after {b + 1}", [*made[:b], made[a], *made[b:]]
        case "made up":
            entry = {**made[a], "kind": "reviewed", "facts": {"by": "nobody"}}
            return f"an entry made up before {b + 1}", [*made[:b], entry, *made[b:]]
        case "when":
            made[a]["at"] = f"2025-{chance.randrange(1, 13):02}-01T00:00:00Z"
            return f"entry {a + 1} dated back", made
        case "who":
            made[a]["actor"] = "somebody else"
            return f"entry {a + 1} by somebody else", made
    made[a]["facts"] = {"note": "nothing to see"}
    return f"facts of entry {a + 1} rewritten", made


def _trail_unchained(chance: Random, samples: Samples) -> Change | None:
    """Lines of the trail edited as text, lists redone."""
    files = samples.packs["older"]
    data = chance.choice((_lines, _flip, _truncate, _delete))(chance, files[layout.TRAIL])
    made = relisted({**files, layout.TRAIL: data})
    return Change("trail edited, lists redone", made, checks=frozenset({"trail", "checkpoint"}),
                  places=frozenset({layout.TRAIL, layout.CHECKPOINT}))  # fmt: skip


def _trail_chained(chance: Random, samples: Samples) -> Change:
    """The trail rewritten with its chain and lists, without the key: the checkpoint stays."""
    files = samples.packs["older"]
    said, entries = _edited_entries(chance, entries_of(files))
    return Change(f"trail: {said}, chain and lists redone", relisted(chained(files, entries)),
                  checks=frozenset({"checkpoint"}),
                  places=frozenset({layout.CHECKPOINT}))  # fmt: skip


def _trail_stranger(chance: Random, samples: Samples) -> Change:
    """The same, and the checkpoint signed with a key of the forger's own."""
    files = samples.packs["older"]
    said, entries = _edited_entries(chance, entries_of(files))
    made = relisted(checkpointed(chained(files, entries), samples.keys["stranger"]))
    return Change(f"trail: {said}, checkpoint of another key", made,
                  checks=frozenset({"checkpoint"}),
                  places=frozenset({layout.CHECKPOINT}))  # fmt: skip


def _trail_insider(chance: Random, samples: Samples) -> Change | None:
    """By the issuer's key: what the trail must hold is not there, or not in its order."""
    entries = entries_of(samples.packs["older"])
    at = {entry["kind"]: place for place, entry in enumerate(entries)}
    match chance.randrange(6):
        case 0:
            kind = chance.choice(("plan-frozen", "locked", "run-finished", "confirmation-opened"))
            made = [entry for entry in entries if entry["kind"] != kind]
            said = f"{kind} taken out"
        case 1:
            a, b = chance.choice((("plan-frozen", "locked"), ("locked", "confirmation-opened")))
            made = list(entries)
            made[at[a]], made[at[b]] = made[at[b]], made[at[a]]
            said = f"{a} after {b}"
        case 2:
            kind = chance.choice(("plan-frozen", "locked"))
            made = _refrozen(chance, entries, at[kind])
            if made is None:
                return None
            said = f"another record in {kind}"
        case 3:
            made = json.loads(json.dumps(entries))
            made[at["confirmation-opened"]]["facts"]["opening"] += chance.choice((1, 2, 7))
            said = "another count of openings"
        case 4:
            made = entries[: at[chance.choice(("plan-frozen", "locked", "confirmation-opened"))]]
            said = f"cut after entry {len(made)}"
        case _:
            made = json.loads(json.dumps(entries))
            tables = made[at["run-finished"]]["facts"]["observations"]
            tables[chance.choice(sorted(tables))] = f"sha256:{chance.randbytes(32).hex()}"
            said = "another digest of a table"
    if not made:
        return None
    return Change(
        f"trail: {said}, signed by the issuer",
        insider(chained(samples.packs["older"], made), samples.issuer), deeper=NUMBERS,
        checks=frozenset({"trail", "numbers"}),
        places=frozenset({layout.TRAIL, layout.EVIDENCE}),
    )  # fmt: skip


def _refrozen(chance: Random, entries: Sequence[Entry], place: int) -> list[Entry] | None:
    from compliance.records.base import digest_bytes

    made = json.loads(json.dumps(entries))
    record = made[place]["facts"]["record"]
    where, value = chance.choice(list(_leaves(record)))
    new = _other(chance, where, value)
    if _same(value, new):
        return None
    facts = {"record": _with(record, where, new)}
    facts["digest"] = digest_bytes(rfc8785.dumps(facts["record"]))
    made[place]["facts"] = facts
    return made


def _trail_stamped(chance: Random, samples: Samples) -> Change | None:
    """By the issuer's key: an entry rewritten that somebody else stamped."""
    files = samples.packs["closed"]
    entries = entries_of(files)
    stamps = [place for place, entry in enumerate(entries) if entry["kind"] == "time-stamped"]
    place = chance.randrange(stamps[-1])
    if place in stamps:
        return None
    match chance.randrange(3):
        case 0:
            entries[place]["at"] = "2025-06-01T00:00:00Z"
        case 1:
            entries[place]["actor"] = "somebody else"
        case _:
            entries[place]["facts"]["note"] = "made up"
    made = insider(chained(files, entries), samples.issuer)
    return Change(f"trail: stamped entry {place + 1} rewritten, signed by the issuer", made,
                  base="closed", checks=frozenset({"time-stamp"}),
                  places=frozenset({layout.TRAIL}))  # fmt: skip


def _parent_trail(chance: Random, samples: Samples) -> Change | None:
    """By the issuer's key: what the trail is said to go on from is something else."""
    files = samples.packs["newer"]
    entries, proof = entries_of(files), json.loads(files[layout.CONSISTENCY])
    parent, match = files, chance.randrange(3)
    if match == 0:  # of fewer lines, or more, than the proof is from
        size = chance.randrange(1, len(entries))
        parent = checkpointed(chained(files, entries[:size]), samples.issuer)
    elif match == 1:  # of other lines
        _, other = _edited_entries(chance, entries[: len(entries) // 2])
        parent = checkpointed(chained(files, other), samples.issuer)
    note = {layout.PARENT_CHECKPOINT: parent[layout.CHECKPOINT]}
    if match == 2:
        place, value = chance.choice([leaf for leaf in _leaves(proof)])
        new = chance.randbytes(32).hex() if isinstance(value, str) else value + 1
        note = {layout.CONSISTENCY: rfc8785.dumps(_with(proof, place, new))}
    if all(files[path] == data for path, data in note.items()):
        return None
    made = signed(relisted({**files, **note}), samples.issuer)
    return Change(f"{', '.join(note)} made anew, signed by the issuer", made, base="newer",
                  checks=frozenset({"parent-trail"}),
                  places=frozenset({layout.PARENT_CHECKPOINT, layout.CONSISTENCY}))  # fmt: skip


# --- signatures and old packs ----------------------------------------------------------------


def approvals(files: Mapping[str, bytes], ending: str = ".dsse.json") -> list[str]:
    """Paths of the approvals in a pack, or of their keys."""
    return sorted(p for p in files if p.startswith(layout.APPROVALS) and p.endswith(ending))


def _signature_of_another(chance: Random, samples: Samples) -> Change | None:
    """A signature, checkpoint or key of another pack, listed as if it belonged."""
    base, other = chance.sample(sorted(samples.packs), 2)
    here, there = samples.packs[base], samples.packs[other]
    paths = [
        layout.STATEMENT, layout.MANIFEST_SIGNATURE, layout.CHECKPOINT, layout.TIME_STAMP,
        *(p for p in here if p.startswith((layout.ORIGINAL, layout.ORIGINAL_FILES))),
        *approvals(here),
    ]  # fmt: skip
    path = chance.choice([p for p in paths if p in here and p in there])
    if here[path] == there[path]:
        return None
    made = {**here, path: there[path]}
    made = relisted(made) if path == layout.CHECKPOINT else retagged(made)
    return Change(f"{path} of {other} in {base}, lists redone", made, base=base,
                  places=frozenset({path}))  # fmt: skip


def _signature_of_a_role(chance: Random, samples: Samples) -> Change | None:
    """What one role signed filed as another's, alone or with its key; or a key of another."""
    files = samples.packs["older"]
    a, b = chance.sample(approvals(files), 2)
    a_key, b_key = (path.replace(".dsse.json", ".pem") for path in (a, b))
    match chance.randrange(4):
        case 0:
            made, place = {**files, b: files[a]}, {b}
        case 1:
            made, place = {**files, b: files[a], b_key: files[a_key]}, {b}
        case 2:
            made, place = {**files, b_key: files[a_key]}, {b, b_key}
        case _:
            made, place = {**files, b: files[layout.STATEMENT]}, {b}
    return Change(f"{a} filed as {b}", retagged(made), places=frozenset(place))


def _signature_made_up(chance: Random, samples: Samples) -> Change:
    """A signature that somebody else made over the right bytes."""
    files, key = samples.packs["older"], samples.keys["stranger"]
    match chance.randrange(3):
        case 0:
            path = layout.STATEMENT
            data = envelope(files, files[path], key)
        case 1:
            path, data = layout.MANIFEST_SIGNATURE, key.sign(files[layout.MANIFEST])
        case _:
            path = chance.choice(approvals(files))
            data = envelope(files, files[path], key)
    return Change(f"{path} signed with another key", retagged({**files, path: data}),
                  places=frozenset({path}))  # fmt: skip


def _replayed_label(chance: Random, samples: Samples) -> Change:
    """The older pack under the name of the newer, everything redone that needs no key."""
    files = samples.packs["older"]
    info = layout.parse_info(files[layout.BAG_INFO])
    name = chance.choice((samples.names["newer"], f"tiny-{chance.randrange(2, 99)}.0.0"))
    info["External-Identifier"] = name
    made = retagged({**files, layout.BAG_INFO: layout.render_info(info)})
    return Change(f"replayed as {name}", made, checks=frozenset({"statement"}),
                  places=frozenset({layout.BAG_INFO}), name=name)  # fmt: skip


def _replayed_folder(chance: Random, samples: Samples) -> Change:
    """The older pack in a folder, or a ZIP, that is called as the newer."""
    name = chance.choice((samples.names["newer"], f"tiny-{chance.randrange(2, 99)}.0.0"))
    return Change(f"replayed in a folder called {name}", samples.packs["older"], name=name,
                  checks=frozenset({"bag", "statement"}))  # fmt: skip


def _replayed_version(chance: Random, samples: Samples) -> Change:
    """The older pack signed again by the issuer's key as a later version."""
    files = samples.packs["older"]
    version = f"{chance.randrange(1, 9)}.{chance.randrange(2, 9)}.0"
    info = layout.parse_info(files[layout.BAG_INFO])
    parent = layout.parse_info(samples.packs["newer"][layout.BAG_INFO])["Root-Digest"]
    info |= {"External-Identifier": f"tiny-{version}", "Parent-Root-Digest": parent}
    made = {**files, layout.BAG_INFO: layout.render_info(info)}
    said = {"pack_id": f"tiny-{version}", "version": version, "parent_digest": parent}
    return Change(f"signed again as {version}", insider(made, samples.issuer, **said),
                  checks=frozenset({"report"}), places=frozenset({"data/report.json"}),
                  name=f"tiny-{version}", deeper=WORDS)  # fmt: skip


def _old_checkpoint(chance: Random, samples: Samples) -> Change:
    """A checkpoint of the issuer's over fewer lines of this trail, everything else redone."""
    files = samples.packs[base := chance.choice(("older", "newer"))]
    entries = entries_of(files)
    short = chained(files, entries[: chance.randrange(1, len(entries))])
    note = checkpointed(short, samples.issuer)[layout.CHECKPOINT]
    made = signed(relisted({**files, layout.CHECKPOINT: note}), samples.issuer)
    return Change(
        "an older checkpoint, signed by the issuer", made, base=base,
        checks=frozenset({"checkpoint"}), places=frozenset({layout.CHECKPOINT}),
    )  # fmt: skip


# --- ZIP -------------------------------------------------------------------------------------


def unzipped(data: bytes) -> dict[str, tuple[int, bytes]] | None:
    """Kind and bytes of each entry as Python's library reads them; None where it refuses."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            if len(set(names)) != len(names):
                return None
            return {
                entry.filename: (stat.S_IFMT(entry.external_attr >> 16), archive.read(entry))
                for entry in archive.infolist()
            }
    except Exception:  # noqa: BLE001 - whatever it stumbles over, it is no equal archive
        return None


def _zip_bytes(chance: Random, samples: Samples) -> Change | None:
    """Bytes of the archive; one that unpacks to the very same files is drawn again."""
    edit = chance.choice((_flip, _flip, _overwrite, _insert, _delete, _truncate, _move))
    data = edit(chance, samples.zipped)
    if unzipped(data) == unzipped(samples.zipped):
        return None
    return Change(f"{edit.__name__} in the ZIP", samples.packs["older"], zipped=data)


def _zip_entries(chance: Random, samples: Samples) -> Change:
    """An archive that is well made and holds what it must not."""
    files = samples.packs["older"]
    top, path = samples.names["older"], chance.choice(sorted(files))
    entries = [(f"{top}/{name}", data) for name, data in sorted(files.items())]
    odd = zipfile.ZipInfo(f"{top}/{path}")
    match chance.randrange(8):
        case 0:
            odd.filename, place = f"{top}/../{path}", None
        case 1:
            odd.filename, place = f"/{path}", None
        case 2:
            odd.filename, place = f"{top}/{path}", path
        case 3:
            odd.filename, place = f"{top}/{path.upper()}x", None
            entries.append((f"{top}/{path}X", b""))
        case 4:
            odd.filename, place = f"{top}/data/link", "data/link"
            odd.external_attr = (stat.S_IFLNK | 0o777) << 16
        case 5:
            odd.filename, place = f"other/{path}", None
        case 6:
            odd.filename, place = f"{top}/data/bomb", "data/bomb"
            odd.compress_type = zipfile.ZIP_DEFLATED
        case _:
            odd.filename, place = f"{top}/{path}/below", None
    data = bytes(3 << 20) if place == "data/bomb" else b"/etc/passwd"
    return Change(f"{odd.filename} in the ZIP", files, zipped=_archive([*entries, (odd, data)]),
                  checks=frozenset({"container"}),
                  places=frozenset({place}) if place else ANY)  # fmt: skip


def archive_of(top: str, files: Mapping[str, bytes]) -> bytes:
    """A ZIP of these files below one folder."""
    return _archive([(f"{top}/{name}", data) for name, data in sorted(files.items())])


def _archive(entries: Sequence[tuple[str | zipfile.ZipInfo, bytes]]) -> bytes:
    import warnings

    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w") as archive:
        warnings.simplefilter("ignore")  # a name that is there twice is what we want
        for name, data in entries:
            archive.writestr(name, data)
    return file.getvalue()


def _zip_files(chance: Random, samples: Samples) -> Change | None:
    """A changed pack in a ZIP: what is wrong with the files is found there too."""
    make = chance.choice((_edited("bytes", _flip), _removed, _relisted_number, _trail_chained))
    change = make(chance, samples)
    if change is None or change.base != "older":
        return None
    zipped = archive_of(samples.names["older"], change.files)
    return replace(change, zipped=zipped, said=f"{change.said}, in a ZIP")


KINDS = (
    Kind("one bit flipped", 180, _edited("a bit flipped", _flip)),
    Kind("bytes overwritten", 50, _edited("bytes overwritten", _overwrite)),
    Kind("bytes put in", 50, _edited("bytes put in", _insert)),
    Kind("bytes taken out", 50, _edited("bytes taken out", _delete)),
    Kind("cut short", 30, _edited("cut short", _truncate)),
    Kind("parts exchanged", 30, _edited("parts exchanged", _move)),
    Kind("lines moved", 30, _edited("lines moved", _lines)),
    Kind("file removed", 25, _removed),
    Kind("file added", 25, _added),
    Kind("file renamed", 20, _renamed),
    Kind("files exchanged", 20, _exchanged),
    Kind("file of another pack", 30, _of_another),
    Kind("link, folder or pipe", 15, _odd),
    Kind("bytes, lists redone", 50, _relisted_bytes),
    Kind("files, lists redone", 20, _relisted_files),
    Kind("number, lists redone", 50, _relisted_number),
    Kind("label of the bag", 15, _label),
    Kind("number, other key", 40, _stranger),
    Kind("number, issuer's key", 100, _insider_number),
    Kind("observation, issuer's key", 20, _insider_observation),
    Kind("alarm and trail, issuer's key", 10, _insider_alarm),
    Kind("item, issuer's key", 15, _insider_item),
    Kind("item gone, issuer's key", 5, _insider_item_gone),
    Kind("law, issuer's key", 5, _insider_law),
    Kind("words, issuer's key", 15, _insider_words),
    Kind("copy, issuer's key", 5, _insider_copy),
    Kind("trail, lists redone", 20, _trail_unchained),
    Kind("trail, chain redone", 30, _trail_chained),
    Kind("trail, other key", 15, _trail_stranger),
    Kind("trail, issuer's key", 20, _trail_insider),
    Kind("stamped trail, issuer's key", 10, _trail_stamped),
    Kind("parent's trail, issuer's key", 10, _parent_trail),
    Kind("signature of another pack", 20, _signature_of_another),
    Kind("signature of another role", 10, _signature_of_a_role),
    Kind("signature of another person", 10, _signature_made_up),
    Kind("old pack, new label", 5, _replayed_label),
    Kind("old pack, new folder", 5, _replayed_folder),
    Kind("old pack, signed again", 5, _replayed_version),
    Kind("old checkpoint", 10, _old_checkpoint),
    Kind("bytes of a ZIP", 30, _zip_bytes),
    Kind("entries of a ZIP", 15, _zip_entries),
    Kind("changed pack in a ZIP", 10, _zip_files),
)
"""Shares are of a thousand, about."""


# --- what a pack cannot show by itself -------------------------------------------------------


@dataclass(frozen=True)
class Hidden(Kind):
    """A change that a pack cannot show by itself, and what shows it."""

    by: str
    """What notices it."""

    trust: Callable[[Samples], Trust]
    """What the verifier must be given, beside the issuer's key."""

    shown: Callable[[Verification, Samples], bool]
    """Whether what the verifier then says shows it, though no check fails."""


def _alone(samples: Samples) -> Trust:
    return Trust(issuer=samples.trust.issuer)


def _with_checkpoint(samples: Samples) -> Trust:
    """The checkpoint of the trail as it was published."""
    kept = samples.packs["older"][layout.CHECKPOINT]
    return replace(_alone(samples), checkpoint=kept)


def _with_roles(samples: Samples) -> Trust:
    return samples.trust


def _approval_gone(chance: Random, samples: Samples) -> Change:
    files = dict(samples.packs["older"])
    path = chance.choice(approvals(files))
    del files[path], files[path.replace(".dsse.json", ".pem")]
    return Change(f"{path} taken away", retagged(files), trust=_alone(samples))


def _trail_rewritten(chance: Random, samples: Samples) -> Change | None:
    """By the issuer's key, where the evidence rests on none of it."""
    files = samples.packs["older"]
    entries = json.loads(json.dumps(entries_of(files)))
    place = chance.randrange(len(entries))
    match chance.randrange(3):
        case 0:
            entries[place]["at"] = f"2025-{chance.randrange(1, 13):02}-01T00:00:00Z"
            entries[:place] = [{**e, "at": entries[place]["at"]} for e in entries[:place]]
            said = f"entries up to {place + 1} dated back"
        case 1:
            entries[place]["actor"] = "somebody else"
            said = f"entry {place + 1} by somebody else"
        case _:
            entry = {**entries[place], "kind": "deviation", "facts": {"reason": "made up"}}
            entries.insert(place, entry)
            said = f"an entry made up before {place + 1}"
    made = insider(chained(files, entries), samples.issuer)
    return Change(f"trail: {said}, signed by the issuer", made, trust=_alone(samples),
                  deeper=NUMBERS)  # fmt: skip


def _measured_anew(chance: Random, samples: Samples) -> Change:
    return Change("another audit under the same name", samples.packs["another"],
                  trust=_alone(samples), deeper=NUMBERS)  # fmt: skip


def _declared_anew(chance: Random, samples: Samples) -> Change:
    """What the provider declares is other words now, signed by the issuer."""
    files = samples.packs["older"]
    evidence = json.loads(files[layout.EVIDENCE])
    evidence["system"]["declared"]["intended_purpose"]["text"] = f"Other {chance.random()}."
    made = insider({**files, layout.EVIDENCE: rfc8785.dumps(evidence)}, samples.issuer)
    return Change("declared in other words", made, trust=_alone(samples))


def _by_threshold(found: Verification, samples: Samples) -> bool:
    return any(c.name == "threshold" and c.status is not Outcome.PASSED for c in found.checks)


def _by_root(found: Verification, samples: Samples) -> bool:
    return found.root_digest != root_of(samples.packs["older"])


def _by_failure(found: Verification, samples: Samples) -> bool:
    return bool(found.failed)


WITNESSED = (
    Hidden("an approval taken away", 1, _approval_gone,
           "the persons' keys, and how many signatures the audit demands", _with_roles,
           _by_threshold),
    Hidden("the trail written anew by the issuer", 1, _trail_rewritten,
           "a checkpoint that somebody else kept", _with_checkpoint, _by_failure),
    Hidden("everything measured anew by the issuer", 1, _measured_anew,
           "a checkpoint that somebody else kept", _with_checkpoint, _by_failure),
    Hidden("other words declared by the issuer", 1, _declared_anew,
           "the root digest that somebody else wrote down", _alone, _by_root),
)  # fmt: skip
"""None of them can be told from a pack that was made so in the first place."""
