"""Results of a cell against the same numbers counted by hand, and the page that lists them."""

import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.worlds import TEXT_CONTROLS, World, make_files, make_plan
from compliance.assessment.cells import CellData, read_cells
from compliance.assessment.detectable import detectable
from compliance.assessment.measures import Measures
from compliance.assessment.precision import PATH as COMPARED
from compliance.assessment.precision import precision
from compliance.assessment.ranking import appendix, areas, leads, random_latents
from compliance.assessment.rates import activity, gap
from compliance.assessment.robustness import left_out, repeats, shifts
from compliance.assessment.sweep import with_settings
from compliance.assessment.tables import ConfirmObservations, FitObservations, table_bytes
from compliance.assessment.verdicts import MEASURED_BY, error_bound, judge
from compliance.records.audit import TextShift
from compliance.records.finding import Result
from compliance.records.observation import CONTROL_SCORERS
from compliance.records.plan import Lock, Setting
from compliance.statistics.delong import delong_auroc, delong_difference
from compliance.statistics.proportion import tango_interval
from tests.assessment.picture_world import make_picture_files, make_picture_plan, picture_world

PLAN = make_plan(bootstrap_draws=200, settings=(Setting(name="pooling-mean", pooling="mean"),))
WORLD = World(
    effect={"en": 3.0, "el": 2.5}, groups=40, benign=240, random_latents=1.0,
    formats=("prompt", "dialogue"),
)  # fmt: skip
KEY = "danger/el/text/plain"


@pytest.fixture(scope="module")
def seen() -> tuple[Lock, ConfirmObservations, FitObservations]:
    lock, files = make_files(PLAN, WORLD)
    return lock, ConfirmObservations.from_files(files), FitObservations.from_files(files)


@pytest.fixture(scope="module")
def cells(seen) -> dict[str, CellData]:
    lock, confirm, _ = seen
    return read_cells(PLAN, lock, confirm)


def by_name(results, key: str = KEY) -> dict[str, Result]:
    return {r.id.removeprefix(f"{key}/"): r for r in results}


def unpaired(confirm: ConfirmObservations) -> ConfirmObservations:
    """The same items, each hard negative a group of its own."""
    items = confirm.items
    hard = items["label"] == "hard-negative"
    groups = items["group"].where(~hard, "h" + items["group"])
    return replace(confirm, items=items.assign(group=groups))


def test_every_scorer_has_its_auroc_and_every_control_its_difference(cells):
    found = by_name([*areas(PLAN, cells[KEY]), *leads(PLAN, cells[KEY], TEXT_CONTROLS)])

    assert set(found) == {
        "auroc-hard", "auroc-benign",
        *(f"auroc-hard.{s}" for s in TEXT_CONTROLS),
        *(f"auroc-benign.{s}" for s in ("tokens", "random-sae", "dense", "reconstruction")),
        *(f"minus-{s}" for s in TEXT_CONTROLS),
    }  # fmt: skip
    for scorer in TEXT_CONTROLS:
        lead = found["auroc-hard"].value - found[f"auroc-hard.{scorer}"].value
        assert found[f"minus-{scorer}"].value == pytest.approx(lead)
    assert found["auroc-hard"].method == "auroc-bootstrap"
    assert found["auroc-benign"].method == "auroc-delong"


def test_a_token_count_is_turned_as_locked(cells):
    data = cells[KEY]
    up = by_name(areas(PLAN, replace(data, orientation=1)))["auroc-hard.tokens"].value
    down = by_name(areas(PLAN, replace(data, orientation=-1)))["auroc-hard.tokens"].value

    assert up == pytest.approx(roc_auc_score(
        [1] * len(data.positive) + [0] * len(data.hard),
        [*data.positive["tokens"], *data.hard["tokens"]]))  # fmt: skip
    assert down == pytest.approx(1 - up)


def test_a_token_count_without_a_locked_direction_is_no_control(cells):
    found = by_name(leads(PLAN, replace(cells[KEY], orientation=None), ["tokens"]))

    assert found["minus-tokens"].value is None
    assert found["minus-tokens"].reason == "no orientation was locked"


def test_without_pairs_delong_takes_the_place_of_resampling(seen):
    lock, confirm, _ = seen
    data = read_cells(PLAN, lock, unpaired(confirm))[KEY]

    found = by_name([*areas(PLAN, data), *leads(PLAN, data, ["ngrams"])])

    expected = delong_auroc(data.positive["probe"], data.hard["probe"])
    area = found["auroc-hard"]
    assert (area.method, area.value, area.low) == ("auroc-delong", expected.value, expected.low)
    other = delong_difference(data.positive["probe"], data.hard["probe"],
                              data.positive["ngrams"], data.hard["ngrams"])  # fmt: skip
    assert found["minus-ngrams"].method == "auroc-difference-delong"
    assert found["minus-ngrams"].p == other.p_greater


def test_one_group_that_holds_both_is_resampled_as_one(seen):
    lock, confirm, _ = seen
    apart = unpaired(confirm)
    one = apart.items["group"] == "h" + apart.items["group"].iloc[-1].removeprefix("h")
    groups = apart.items["group"].where(~one, apart.items["group"].str.removeprefix("h"))
    together = replace(apart, items=apart.items.assign(group=groups))

    found = by_name(areas(PLAN, read_cells(PLAN, lock, together)[KEY]))

    assert found["auroc-hard"].method == "auroc-bootstrap"


def test_random_latents_are_ranked_with_the_probe(seen, cells):
    lock, confirm, _ = seen
    data = cells[KEY]
    table = confirm.latents.pivot(index="item", columns="latent", values="score")
    table = table.reindex(confirm.items["item"]).fillna(0.0)
    labels = [1] * len(data.positive) + [0] * len(data.hard)
    names = [*data.positive["item"], *data.hard["item"]]
    by_hand = [roc_auc_score(labels, table.loc[names, f.latent]) if f.latent in table else 0.5
               for f in lock.random_latents[0].features]  # fmt: skip
    own = roc_auc_score(labels, [*data.positive["probe"], *data.hard["probe"]])
    weak = replace(data, positive=data.positive.assign(probe=data.positive["probe"] - 1.8))
    weak_own = roc_auc_score(labels, [*weak.positive["probe"], *weak.hard["probe"]])

    found, other = (by_name(random_latents(PLAN, d)) for d in (data, weak))

    assert np.sort(data.random_areas) == pytest.approx(np.sort(by_hand))
    for results, area in ((found, own), (other, weak_own)):
        as_good = sum(a >= area - 1e-12 for a in by_hand)
        result = results["random-latents"]
        assert (result.successes, result.n) == (as_good, 99)
        assert result.p == (1 + as_good) / 100
    assert 0 < other["random-latents"].successes < 99
    assert found["random-latents-p95"].value == pytest.approx(np.quantile(by_hand, 0.95))


def test_the_gap_pairs_groups_across_languages(cells):
    here, there = cells[KEY], cells["danger/en/text/plain"]
    hits = [
        dict(zip(d.positive["group"], d.positive["probe"] > d.limit("probe"), strict=True))
        for d in (here, there)
    ]
    b = sum(hits[0][g] and not hits[1][g] for g in hits[0])
    c = sum(hits[1][g] and not hits[0][g] for g in hits[0])
    fewer = replace(there, positive=there.positive.iloc[5:])

    found = by_name(gap(PLAN, here, there))["gap"]

    expected = tango_interval(b, c, 40, 0.95)
    assert (found.value, found.low, found.n) == (expected.value, expected.low, 40)
    assert found.value == pytest.approx(
        np.mean(list(hits[0].values())) - np.mean(list(hits[1].values()))
    )
    assert by_name(gap(PLAN, here, fewer))["gap"].n == 35
    assert not list(gap(PLAN, there, None))


def test_clusters_are_left_out_where_two_or_more_occur(cells):
    data = cells[KEY]
    prompts = data.positive["format"] == "prompt"

    found = by_name(left_out(PLAN, data))

    assert set(found) == {"left-out.format.prompt", "left-out.format.dialogue"}
    labels = [1] * int((~prompts).sum()) + [0] * int((data.hard["format"] != "prompt").sum())
    rest = [*data.positive[~prompts]["probe"],
            *data.hard[data.hard["format"] != "prompt"]["probe"]]  # fmt: skip
    assert found["left-out.format.prompt"].value == pytest.approx(roc_auc_score(labels, rest))


def test_a_source_of_its_own_for_each_item_is_no_cluster(cells):
    data = cells[KEY]
    numbered = replace(data, positive=data.positive.assign(source=data.positive["item"]),
                       hard=data.hard.assign(source=data.hard["item"]))  # fmt: skip
    batches = replace(data, positive=data.positive.assign(
        source=np.where(np.arange(len(data.positive)) % 2, "Batch 1/a", "batch 1 a")))  # fmt: skip

    assert not any("source" in name for name in by_name(left_out(PLAN, numbered)))
    names = {n for n in by_name(left_out(PLAN, batches)) if "source" in n}
    assert names == {"left-out.source.batch-1-a", "left-out.source.batch-1-a~2"}


def test_shifts_are_judged_at_the_locked_cut_off(seen, cells):
    _, confirm, _ = seen
    data = cells[KEY]
    typos = confirm.shifts[confirm.shifts["shift"] == "typos"].set_index("item")["score"]
    positive = data.positive[data.positive["item"].isin(typos.index)]
    after = typos.loc[positive["item"]].to_numpy() > data.limit("probe")
    before = positive["probe"].to_numpy() > data.limit("probe")

    found = by_name(shifts(PLAN, data, confirm.shifts))

    assert set(found) == {f"shift.{s}.{n}" for s in get_args(TextShift)
                          for n in ("sensitivity", "auroc-hard", "change")}  # fmt: skip
    assert found["shift.typos.sensitivity"].successes == after.sum()
    expected = tango_interval(int((after & ~before).sum()), int((before & ~after).sum()), 20, 0.95)
    assert found["shift.typos.change"].value == expected.value
    assert found["shift.typos.change"].low == expected.low
    hard = data.hard[data.hard["item"].isin(typos.index)]
    assert found["shift.typos.auroc-hard"].value == pytest.approx(roc_auc_score(
        [1] * 20 + [0] * 20, [*typos.loc[positive["item"]], *typos.loc[hard["item"]]]))  # fmt: skip


def test_items_run_alone_are_compared_with_their_batch(seen, cells):
    _, confirm, _ = seen
    data = cells["danger/en/text/plain"]
    limit = data.limit("probe")
    names = sorted(data.positive["item"])[:3]
    table = pd.DataFrame({
        "item": names, "concept": "danger", "batched": [limit, 5.0, 0.0],
        "alone": [limit + 0.25, 5.0, 0.0],
    })  # fmt: skip

    found = by_name(repeats(PLAN, data, table), "danger/en/text/plain")

    assert found["repeat-difference"].value == pytest.approx(0.25)
    assert (found["repeat-flips"].value, found["repeat-flips"].n) == (1, 3)
    assert not list(repeats(PLAN, cells[KEY], table))


def test_detectable_effects_are_at_the_strictest_level_of_the_family(cells):
    from compliance.statistics.power import minimum_detectable_gap, minimum_detectable_less

    found = by_name(detectable(PLAN, cells[KEY], cells["danger/en/text/plain"]))

    assert found["mde-fpr-benign"].value == minimum_detectable_less(120, 0.05, alpha=0.025)
    assert found["mde-fpr-hard"].value == minimum_detectable_less(40, 0.2, alpha=0.025)
    assert found["mde-gap"].value == minimum_detectable_gap(
        40, 0.15, sensitivity=0.9, discordance=0.1, alpha=0.025
    )
    assert 0.5 < found["mde-auroc"].value < 0.8
    assert found["mde-sensitivity"].n == 40


def test_power_is_predicted_for_the_cell_s_own_sizes(cells):
    from compliance.statistics.power import Design, Effect, predicted_power
    from compliance.statistics.resampling import seed_of

    power = predicted_power(
        Design(groups=40, hard_negatives=40, benign_calibrate=120, benign_confirm=120, cells=2),
        Effect.of_rates(sensitivity=0.9, fpr=0.01, hard_fpr=0.05, discordance=0.1),
        draws=2000, seed=seed_of(PLAN.seed, "predicted-power"),
    )  # fmt: skip

    found = [
        by_name(detectable(PLAN, cells[f"danger/{lang}/text/plain"], None),
                f"danger/{lang}/text/plain")["predicted-power"].value
        for lang in ("en", "el")
    ]  # fmt: skip

    assert found == [power.reference.supported.value, power.other.supported.value]


def test_summaries_of_the_appendix(cells):
    data = cells[KEY]
    labels = [1] * len(data.positive) + [0] * len(data.hard)
    values = [*data.positive["probe"], *data.hard["probe"]]

    found = by_name([*appendix(data), *activity(PLAN, data)])

    assert found["auprc"].value == pytest.approx(average_precision_score(labels, values))
    assert 0.5 < found["auroc-partial"].value <= 1
    assert found["active-hard"].successes == int((data.hard["probe"] > 0).sum())
    assert found["active-benign"].n == 120


# The page that lists all results

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "results.md"
PATTERNS = {
    "<control>": "|".join(map(re.escape, CONTROL_SCORERS)),
    "<calibrated>": "random-sae|dense|reconstruction",
    "<format>": "prompt|dialogue|code",
    "<prevalence>": r"[\d.]+",
    "<class>": "below-threshold|not-linear|lost-in-error|absorbed|unexplained",
    "<shift>": "[a-z-]+",
    "<kind>": "format|stratum|source|suite",
    "<value>": r"[\w.~-]+",
}


def documented(heading: str) -> list[tuple[re.Pattern, set[str]]]:
    """Name and methods of each row of a section's table."""
    text = PAGE.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = []
    for line in text.splitlines():
        if line.startswith("| `"):
            name, methods = (cell.strip() for cell in line.strip("|").split(" |")[:2])
            pattern = re.escape(name.strip("`"))
            for mark, expression in PATTERNS.items():
                pattern = pattern.replace(re.escape(mark), f"(?:{expression})")
            rows.append((re.compile(pattern), set(re.findall(r"`([^`]+)`", methods))))
    return rows


@pytest.fixture(scope="module")
def everything(seen) -> list[Result]:
    """All results of a paired and of an unpaired audit of texts, and of one with pictures."""
    lock, confirm, fit = seen
    plan = make_picture_plan(bootstrap_draws=200)
    other, files = make_picture_files(
        plan, WORLD, picture_world({"en": 3.0, "el": 3.0}, benign=240)
    )
    pictures = ConfirmObservations.from_files(files), FitObservations.from_files(files).means
    audits = (
        Measures(PLAN, lock, confirm, fit.means),
        Measures(PLAN, lock, unpaired(confirm), fit.means),
        Measures(plan, other, *pictures),
    )
    found = []
    for measures in audits:
        results = {r.id: r for r in measures.results()}
        _, kept = with_settings(measures, results, judge(measures.plan, results, {}))
        found += [*results.values(), *kept, error_bound(measures.plan)]
    return [*found, *precision(PLAN, audits[0].cells, in_bfloat16(audits[0]))]


def in_bfloat16(measures: Measures) -> dict[str, bytes]:
    """The table of a run that was not in the reference mode, with one item of each cell."""
    rows = [
        {"item": name, "concept": data.cell.concept, "batched": score, "reference": score + 0.1,
         "firings": 10, "flipped": 1, "activation": 0.01}
        for data in measures.cells.values()
        for name, score in data.positive[["item", "probe"]].head(1).itertuples(index=False)
    ]  # fmt: skip
    return {COMPARED: table_bytes(pd.DataFrame(rows), COMPARED)}


def test_every_result_is_documented_with_its_method_and_no_other(everything):
    tables = {heading: documented(heading)
              for heading in ("Results of a cell", "Fidelity", "Results of the audit")}  # fmt: skip
    used = {heading: [set() for _ in rows] for heading, rows in tables.items()}

    for result in everything:
        start, name = result.id.split("/")[0], result.id.split("/")[-1]
        heading = {"fidelity": "Fidelity", "audit": "Results of the audit"}.get(
            start, "Results of a cell"
        )
        rows = tables[heading]
        matching = [i for i, (pattern, _) in enumerate(rows) if pattern.fullmatch(name)]
        assert len(matching) == 1, result.id
        used[heading][matching[0]].add(result.method)

    for heading, rows in tables.items():
        for (pattern, methods), found in zip(rows, used[heading], strict=True):
            assert found == methods, pattern.pattern


def test_every_method_is_explained_and_no_other(everything):
    text = PAGE.read_text(encoding="utf-8").split("\n## Methods\n")[1].split("\n## ")[0]

    used = {r.method for r in everything}.union(*(m for _, m in documented("Interventions")))
    assert set(re.findall(r"^\| `([^`]+)` \|", text, re.M)) == used


def test_conditions_of_pictures_are_those_of_a_plan_with_pictures():
    text = (
        PAGE.read_text(encoding="utf-8").split("\n## Conditions of pictures\n")[1].split("\n## ")[0]
    )
    rows = [[c.strip() for c in line.strip("|").split(" |")]
            for line in text.splitlines() if line.startswith("| `")]  # fmt: skip
    rules = [rule for rule in make_picture_plan().rules if rule.needs]

    assert rows == [
        [f"`{r.condition}`", r.kind, f"`{MEASURED_BY[r.condition]}`", "above 0",
         f"`{r.needs}`"]
        for r in rules
    ]  # fmt: skip
