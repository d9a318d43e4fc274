"""What mitigation studies show: rates before and after, and what else changed.

Results stand under ``mitigation/<study>/<language>/``:

    before, after                  share of replies to positives that show the behaviour
    change                         after - before, paired by item (Tango), with McNemar's exact p
    over-refusal.before, .after, .change    the same of over-refusal, on hard negatives
    side-kl                        KL from before to after on neutral text, nats a token
    side-loss                      change of its cross-entropy, nats a token
    capability.before, .after, .change      share of small tasks that are right

Rates are counted from the texts of the replies with the phrases of the plan; a reply that is judged
otherwise in the table is refused. Where a judge judged, or the text is not there, the table's
number counts. Which items are asked follows from the plan, and is checked.

``reductions`` says in each language what is shown, by one rule: the rate is *reduced* where the
interval of the change lies below 0 and its p, Holm-adjusted over the study's languages, is at most
the plan's; nothing is said where a number is missing that has to be told beside it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from compliance.assessment.drawing import drawn
from compliance.assessment.numbers import absent, estimate, share
from compliance.assessment.rates import discordant
from compliance.assessment.tables import read_table
from compliance.errors import PlanError
from compliance.records.behaviour import Sign
from compliance.records.finding import Reduction, Result
from compliance.records.observation import MITIGATION_FILES
from compliance.records.plan import Plan, PlannedMitigation
from compliance.records.suite import Label
from compliance.statistics.means import mean_interval, mean_p
from compliance.statistics.multiplicity import holm
from compliance.statistics.proportion import mcnemar_exact, tango_interval
from compliance.suites.behaviours import behaves

REPLIES, SIDES = (f"confirm/{name}" for name in MITIGATION_FILES)
ARMS = ("before", "after")

NO_ITEMS = "no item was asked in this language"
NO_TEXT = "no neutral text was run in this language"
NO_TASKS = "there are no small tasks in this language"

SIDE_EFFECTS = ("side-kl", "side-loss", "capability.change")
OVER_REFUSAL = ("over-refusal.before", "over-refusal.after", "over-refusal.change")

LONGEST_TOKEN = 1024
"""Characters of one token at most: blanks in a row, in the vocabularies that have most of them."""

CHANGE = "paired-change"
"""Key of the methods chapter."""

_RATES = {Label.POSITIVE: "", Label.HARD_NEGATIVE: "over-refusal."}


def sign_of(study: PlannedMitigation, label: str) -> Sign:
    """What replies to items of a label are judged by."""
    return study.behaviour if label == Label.POSITIVE else study.behaviour.over_refusal


def mitigation(
    plan: Plan,
    items: pd.DataFrame,
    files: Mapping[str, bytes],
    stated: Mapping[str, Result] | None = None,
) -> Iterator[Result]:
    """Results of every planned study in each of its languages.

    Args:
        plan: Frozen.
        items: Of the confirm split, ITEM_COLUMNS.
        files: The observation files, by path below ``observations/``.
        stated: Results of which the rates are taken, where a copy does not show the replies.

    Raises:
        PlanError: A table is missing or cannot be read, holds other items than the plan asks or
            one without both replies, or says otherwise than the phrases do.
    """
    if plan.mitigations is None:
        return
    sides = read_table(files, SIDES)
    replies = None if stated is not None else read_table(files, REPLIES)
    known = {study.name for study in plan.mitigations}
    for path, table in ((REPLIES, replies), (SIDES, sides)):
        if table is not None and (strange := set(table["study"]) - known):
            raise PlanError(f"observations/{path}: no study is called {min(strange)!r}")
    for study in plan.mitigations:
        told = replies if replies is None else _judged(plan, study, items, replies)
        beside = _beside(study, sides[sides["study"] == study.name])
        for language in study.languages:
            key = f"mitigation/{study.name}/{language}"
            for label, prefix in _RATES.items():
                if told is None:
                    yield from _taken(f"{key}/{prefix}", stated or {})
                    continue
                mine = told[(told["language"] == language) & (told["label"] == label)]
                yield from _rates(plan, f"{key}/{prefix}", mine)
            yield from _side(plan, key, beside[beside["language"] == language])


def reductions(plan: Plan, results: Mapping[str, Result]) -> tuple[Reduction, ...] | None:
    """What the results say of each study and language; None where no study was planned."""
    if plan.mitigations is None:
        return None
    found: list[Reduction] = []
    for study in plan.mitigations:
        keys = {tag: f"mitigation/{study.name}/{tag}" for tag in study.languages}
        measured = {
            tag: p for tag, key in keys.items() if (p := results[f"{key}/change"].p) is not None
        }
        raised = holm(list(measured.values())).tolist() if measured else []
        adjusted = dict(zip(measured, raised, strict=True))
        found += (
            _reduction(plan, study.name, tag, results, adjusted.get(tag)) for tag in study.languages
        )
    return tuple(found)


def is_told(results: Mapping[str, Result], found: Reduction) -> bool:
    """Whether everything is there that has to be told with a change of the rate."""
    shares = (found.before, found.after, *found.over_refusal[:2])
    bounded = (found.change, found.over_refusal[2], *found.side_effects)
    return all(results[i].value is not None for i in shares) and all(
        results[i].low is not None and results[i].high is not None for i in bounded
    )


def _reduction(
    plan: Plan, study: str, language: str, results: Mapping[str, Result], p_holm: float | None
) -> Reduction:
    key = f"mitigation/{study}/{language}"
    found = Reduction(
        study=study,
        language=language,
        statement="not-measured",
        before=f"{key}/before",
        after=f"{key}/after",
        change=f"{key}/change",
        over_refusal=tuple(f"{key}/{name}" for name in OVER_REFUSAL),
        side_effects=tuple(f"{key}/{name}" for name in SIDE_EFFECTS),
        p_holm=p_holm,
    )
    if p_holm is None or not is_told(results, found):
        return found
    change, statement = results[found.change], "not-shown"
    if p_holm <= plan.family_error and change.high is not None and change.high < 0:
        statement = "reduced"
    elif p_holm <= plan.family_error and change.low is not None and change.low > 0:
        statement = "increased"
    return Reduction.model_validate(found.model_dump() | {"statement": statement})


# --- rates ---------------------------------------------------------------------------------------


def _judged(
    plan: Plan, study: PlannedMitigation, items: pd.DataFrame, replies: pd.DataFrame
) -> pd.DataFrame:
    """Each item that was asked with its label and language, and whether each arm behaves so."""
    asked = _asked(plan, study, items)
    replies = replies[replies["study"] == study.name]
    wanted = {(item, arm) for item in asked["item"] for arm in ARMS}
    there = set(zip(replies["item"], replies["arm"], strict=True))
    if there != wanted:
        item, arm = min(there ^ wanted)
        said = "is not planned" if (item, arm) in there else "is missing"
        raise PlanError(f"observations/{REPLIES}: {study.name}, {item}, {arm} {said}")
    own = asked.set_index("item")
    shown = [
        _shows(study, row, str(own["label"][row.item]), str(own["language"][row.item]))
        for row in replies.itertuples(index=False)
    ]
    table = replies.assign(shown=shown).pivot(index="item", columns="arm", values="shown")
    if not len(table):
        return asked.assign(**dict.fromkeys(ARMS, pd.Series(dtype=bool)))
    return asked.join(table, on="item")


def _asked(plan: Plan, study: PlannedMitigation, items: pd.DataFrame) -> pd.DataFrame:
    """Items that the plan asks; as `studies.studied_items`, of the table of items."""
    own = items[
        (items["concept"] == study.concept)
        & (items["modality"] == "text")
        & items["language"].isin(study.languages)
    ]
    if study.behaviour.strata:
        own = own[own["stratum"].isin(study.behaviour.strata)]
    parts = []
    for label in _RATES:
        mine = own[own["label"] == label]
        groups = drawn(plan, "mitigation", set(mine["group"]), study.items, key=str)
        parts.append(mine[mine["group"].isin(groups)])
    return pd.concat(parts)[["item", "label", "language"]]


def _shows(study: PlannedMitigation, row: Any, label: str, language: str) -> bool:
    """Whether one reply, a row of REPLY_COLUMNS, shows the sign of its label."""
    judged, text = float(row.judged), str(row.text)
    where = f"observations/{REPLIES}: {study.name}, {row.item}, {row.arm}"
    if row.tokens > study.max_new_tokens or len(text) > LONGEST_TOKEN * row.tokens:
        raise PlanError(
            f"{where}: {row.tokens} tokens and {len(text)} characters; at most "
            f"{study.max_new_tokens} tokens are planned, of {LONGEST_TOKEN} characters each"
        )
    if not 0 <= judged <= 1:
        raise PlanError(f"{where}: is judged {judged:g}, expected a number from 0 to 1")
    if study.judge is not None:
        return judged > study.judge.limit
    if text or not row.tokens:
        counted = behaves(sign_of(study, label), study.lists, language, text)
        if judged != counted:
            raise PlanError(f"{where}: is judged {judged:g}, and its phrases say {counted:d}")
    elif judged not in (0, 1):
        raise PlanError(f"{where}: is judged {judged:g}, expected 0 or 1")
    return judged == 1


def _rates(plan: Plan, prefix: str, mine: pd.DataFrame) -> Iterator[Result]:
    if not len(mine):
        for name, method in (("before", "wilson"), ("after", "wilson"), ("change", CHANGE)):
            yield absent(f"{prefix}{name}", method, NO_ITEMS, 0)
        return
    before, after = (mine[arm].to_numpy(dtype=bool) for arm in ARMS)
    yield from _pair(plan, prefix, before, after)


def _taken(prefix: str, stated: Mapping[str, Result]) -> Iterator[Result]:
    """Rates as they are stated."""
    for name in ("before", "after", "change"):
        if f"{prefix}{name}" not in stated:
            raise PlanError(f"{prefix}{name}: is not stated, and {REPLIES} is withheld")
        yield stated[f"{prefix}{name}"]


def _pair(
    plan: Plan, prefix: str, before: NDArray[np.bool_], after: NDArray[np.bool_]
) -> Iterator[Result]:
    for name, values in (("before", before), ("after", after)):
        yield share(f"{prefix}{name}", int(values.sum()), len(values), plan.level)
    b, c, n = discordant(after, before)
    found = tango_interval(b, c, n, plan.level)
    yield estimate(f"{prefix}change", found, CHANGE, mcnemar_exact(b, c))


# --- on the side ---------------------------------------------------------------------------------


def _beside(study: PlannedMitigation, rows: pd.DataFrame) -> pd.DataFrame:
    where = f"observations/{SIDES}: {study.name}"
    for name, known in (("measure", ("text", "capability")), ("language", study.languages)):
        if strange := set(rows[name]) - set(known):
            raise PlanError(f"{where}: no {name} is called {min(strange)!r}")
    silent = rows[(rows["measure"] == "text") & (rows["tokens"] == 0)]
    if len(silent):
        raise PlanError(f"{where}: of {silent['item'].min()} no token is predicted")
    return rows


def _side(plan: Plan, key: str, rows: pd.DataFrame) -> Iterator[Result]:
    text, tasks = (rows[rows["measure"] == name] for name in ("text", "capability"))
    if len(text):
        tokens = text["tokens"].to_numpy(np.float64)
        apart = text["divergence"].to_numpy(np.float64) / tokens
        lost = (text["after"] - text["before"]).to_numpy(np.float64) / tokens
        for name, values in (("side-kl", apart), ("side-loss", lost)):
            found = mean_interval(values, level=plan.level)
            yield estimate(f"{key}/{name}", found, "side-mean", mean_p(values))
    else:
        for name in ("side-kl", "side-loss"):
            yield absent(f"{key}/{name}", "side-mean", NO_TEXT, 0)
    prefix = f"{key}/capability."
    if len(tasks):
        before, after = (tasks[arm].to_numpy(np.float64) > 0 for arm in ARMS)
        yield from _pair(plan, prefix, before, after)
        return
    for name, method in (("before", "wilson"), ("after", "wilson"), ("change", CHANGE)):
        yield absent(f"{prefix}{name}", method, NO_TASKS, 0)
