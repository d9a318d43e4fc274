"""What cannot be measured is refused before anything is, and the search sees only what was read."""

import dataclasses

import pandas as pd
import pytest

from compliance.assessment.locking import select_features
from compliance.assessment.planning import make_plan
from compliance.assessment.tables import FitObservations
from compliance.errors import PlanError
from compliance.records.audit import AuditConfig
from compliance.records.plan import Splits
from compliance.records.suite import Datasheet, Item
from compliance.suites.load import Suite, load_suite
from compliance.suites.split import DISCOVER, split_groups
from tests.assessment import synthetic
from tests.tiny_audit import LANGUAGES, write_suite


@pytest.fixture
def suite(tmp_path) -> Suite:
    write_suite(tmp_path / "suite")
    return load_suite("suite", tmp_path)


def planned(*suites: Suite, **changes: object):
    values = {
        "subject": {"model": "./model", "saes": [{"path": "./sae"}]},
        "suites": ["./suite"],
        "probes": [{"concept": "danger"}, {"concept": "flattery"}],
        "languages": list(LANGUAGES),
        "alpha": 0.1,
        "bootstrap_draws": 200,
    }
    facts = synthetic.make_plan()
    config = AuditConfig.model_validate(values | changes)
    return make_plan(config, model=facts.model, saes=facts.saes, suites=suites, software="test")


def changed(suite: Suite, *, name: str, prefix: str, **sheet: object) -> Suite:
    """The suite again, under other ids, with a datasheet that differs in ``danger``."""
    values = suite.datasheet.model_dump(mode="json")
    values["concepts"]["danger"] |= sheet
    items = tuple(
        item.model_copy(update={"id": prefix + item.id, "group": prefix + item.group})
        for item in suite.items
    )
    datasheet = Datasheet.model_validate(values | {"name": name})
    return dataclasses.replace(suite, datasheet=datasheet, items=items)


def without_answer(item: Item) -> Item:
    """A dialogue that ends before the assistant's turn."""
    return item.model_copy(update={"messages": item.messages[:1]})


# -- what a search needs


def test_a_discovered_concept_needs_both_labels_on_discover(suite):
    few = {"groups_per_concept": 2, "benign_groups": 60}  # one to calibrate, one to confirm
    given = [{"concept": "danger", "features": [3]}, {"concept": "flattery", "features": [4]}]

    with pytest.raises(
        PlanError, match="danger in en: 0 positive and 0 hard-neg.* on discover"
    ) as e:
        planned(suite, subset=few)

    assert "add groups" in e.value.hint and "give the probe's features" in e.value.hint
    assert planned(suite, subset=few, probes=given).probes


def test_items_without_the_region_do_not_count_for_the_search(suite):
    searched = set(_discover_groups(suite))
    items = tuple(
        without_answer(i)
        if i.concept == "flattery" and i.group in searched and i.label == "positive"
        else i
        for i in suite.items
    )

    with pytest.raises(
        PlanError, match="flattery in en: 0 positive and 2 hard-negative items with"
    ):
        planned(dataclasses.replace(suite, items=items))


def test_only_the_reference_language_is_searched(suite):
    groups = set(_discover_groups(suite))
    items = tuple(i for i in suite.items if i.group not in groups or i.language == "en")

    assert planned(dataclasses.replace(suite, items=items)).cells


def _discover_groups(suite: Suite) -> list[str]:
    return [g for g, split in split_groups([suite], Splits(), None).items() if split == DISCOVER]


def test_the_search_leaves_out_items_that_lack_the_region():
    """Else each would count as an item on which every latent is silent."""
    plan = synthetic.make_plan()
    _, files = synthetic.make_files(plan, synthetic.World(effect={"en": 5.0, "el": 5.0}, groups=10))
    fit = FitObservations.from_files(files)
    dropped = ["g0000-positive-en", "g0001-positive-en", "g0002-hard-negative-en"]
    assert set(dropped) <= set(fit.search["item"])
    search = fit.search[~fit.search["item"].isin(dropped)]
    unread = fit.scores["item"].isin(dropped) & (fit.scores["scorer"] == "tokens")
    other = fit.scores[unread].assign(concept="other")  # a region of another concept is no help
    scores = pd.concat([fit.scores[~unread], other])

    (found,) = select_features(plan, search, fit.items, scores)
    kept = fit.items[~fit.items["item"].isin(dropped)]
    (expected,) = select_features(plan, search, kept, fit.scores)

    assert (found.selection.positives, found.selection.hard_negatives) == (38, 39)
    assert found == expected
    (padded,) = select_features(plan, search, fit.items, fit.scores)
    assert padded.selection.auroc < found.selection.auroc


def test_a_search_with_one_label_left_is_refused():
    plan = synthetic.make_plan()
    _, files = synthetic.make_files(plan, synthetic.World(effect={"en": 5.0, "el": 5.0}, groups=10))
    fit = FitObservations.from_files(files)
    scores = fit.scores[~fit.scores["item"].str.contains("positive")]
    search = fit.search[~fit.search["item"].str.contains("positive")]

    with pytest.raises(PlanError, match="danger: the search has 0 positive and 40 hard-negative"):
        select_features(plan, search, fit.items, scores)


# -- two suites


def test_two_suites_of_one_name_are_refused(suite):
    with pytest.raises(PlanError, match="two suites are named 'tiny'"):
        planned(suite, changed(suite, name="tiny", prefix="b-"))


@pytest.mark.parametrize(
    "sheet", [{"region": "last"}, {"definition": "Another meaning."}], ids=["region", "definition"]
)
def test_a_concept_that_two_suites_define_differently_is_refused(suite, sheet):
    (field,) = sheet

    with pytest.raises(PlanError, match=f"'danger': its {field} is .* in suite tiny and .* other"):
        planned(suite, changed(suite, name="other", prefix="b-", **sheet))


def test_a_concept_that_two_suites_define_alike_is_planned(suite):
    assert len(planned(suite, changed(suite, name="other", prefix="b-")).suites) == 2


# -- p values


def test_resamples_that_cannot_show_anything_are_refused_before_the_run(suite):
    """1/201 is above 0.05/11: with eleven cells Holm's first step could never be taken."""
    more = ["de", "fr", "es", "it", "pt", "ru", "ja", "ko", "hi"]

    with pytest.raises(PlanError, match="found 200, and the 11 cells of danger need 219") as caught:
        planned(suite, languages=[*LANGUAGES, *more])

    assert "219" in caught.value.hint
    assert planned(suite, languages=[*LANGUAGES, *more], bootstrap_draws=219)
    assert planned(suite, languages=[*LANGUAGES, *more[:-1]])
