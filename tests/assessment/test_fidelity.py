"""Fidelity against the same numbers computed from the tokens themselves."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import compliance.assessment.fidelity as module
from benchmarks.worlds import WIDTH, World, make_files, make_plan
from compliance.assessment.comparing import differences
from compliance.assessment.fidelity import fidelity, merged
from compliance.assessment.tables import ConfirmObservations, FitObservations
from compliance.errors import PlanError
from compliance.records.base import to_json
from compliance.records.finding import Result
from compliance.records.observation import FIDELITY_COLUMNS, FIRING_COLUMNS, LOSS_COLUMNS

PLAN = make_plan(bootstrap_draws=200)
KEY = "fidelity/en/text/sae0"


@pytest.fixture(scope="module")
def tables() -> tuple[ConfirmObservations, pd.DataFrame]:
    _, files = make_files(PLAN, World(effect={"en": 5.0, "el": 5.0}, groups=12, benign=60))
    return ConfirmObservations.from_files(files), FitObservations.from_files(files).means


def row(item: str, x: np.ndarray, rebuilt: np.ndarray, l0: list[int], role: str = "user") -> tuple:
    """What a run writes about one item's tokens."""
    mean = x.mean(axis=0)
    lengths, other = np.linalg.norm(x, axis=1), np.linalg.norm(rebuilt, axis=1)
    return (
        item, 0, role, len(x), float(((x - rebuilt) ** 2).sum()), float(((x - mean) ** 2).sum()),
        mean, float(((x * rebuilt).sum(axis=1) / lengths / other).sum()),
        float((other / lengths).sum()), np.array(l0),
    )  # fmt: skip


def of_tokens(
    tables: tuple[ConfirmObservations, pd.DataFrame], offset: float = 0.0, roles: bool = False
) -> tuple[dict[str, Result], np.ndarray, np.ndarray, np.ndarray]:
    """Results of Greek-free neutral items made of known tokens, and these tokens."""
    confirm, means = tables
    benign = confirm.items[(confirm.items["label"] == "negative")
                           & (confirm.items["language"] == "en")]  # fmt: skip
    stream = np.random.RandomState(3)
    rows, tokens, rebuilt, l0 = [], [], [], []
    for number, name in enumerate(benign["item"]):
        x = offset + stream.standard_normal((2 + number % 4, WIDTH))
        y = x + 0.3 * stream.standard_normal(x.shape)
        counts = list(stream.randint(1, 40, size=len(x)))
        rows.append(row(name, x, y, counts, "assistant" if roles and number % 2 else "user"))
        tokens.append(x)
        rebuilt.append(y)
        l0 += counts
    table = pd.DataFrame(rows, columns=list(FIDELITY_COLUMNS))
    found = list(fidelity(PLAN, replace(confirm, fidelity=table), means))
    return (
        {r.id: r for r in found}, np.concatenate(tokens), np.concatenate(rebuilt), np.array(l0)
    )  # fmt: skip


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_explained_variance_is_about_the_mean_and_not_about_zero(tables, offset):
    found, x, y, _ = of_tokens(tables, offset)

    expected = 1 - ((x - y) ** 2).sum() / ((x - x.mean(axis=0)) ** 2).sum()

    ev = found[f"{KEY}/neutral.read/ev"]
    assert ev.value == pytest.approx(expected, rel=1e-9)
    assert ev.low < ev.value < ev.high
    assert ev.method == "ev-stratum-mean"


def test_the_global_mean_is_the_frozen_one_of_all_languages(tables):
    confirm, means = tables
    means = means.assign(
        mean=[np.full(WIDTH, 1.0 + place) for place in range(len(means))],
        tokens=[100 * (1 + place) for place in range(len(means))],
    )
    found, x, y, _ = of_tokens((confirm, means))
    frozen = (100 * 1.0 + 200 * 2.0) / 300

    expected = 1 - ((x - y) ** 2).sum() / ((x - frozen) ** 2).sum()

    assert found[f"{KEY}/neutral.read/ev-global"].value == pytest.approx(expected)


def test_without_a_frozen_mean_the_global_number_says_so(tables):
    confirm, means = tables

    found, *_ = of_tokens((confirm, means.iloc[:0]))

    number = found[f"{KEY}/neutral.read/ev-global"]
    assert (number.value, number.reason) == (None, "no mean was recorded")


def test_l0_cosine_and_norms_are_means_over_tokens(tables):
    found, x, y, l0 = of_tokens(tables)
    lengths, other = np.linalg.norm(x, axis=1), np.linalg.norm(y, axis=1)

    names = ("l0", "l0-median", "l0-p95", "cosine", "norm-ratio", "tokens")
    values = {name: found[f"{KEY}/neutral.read/{name}"].value for name in names}

    assert values == {
        "l0": pytest.approx(l0.mean()),
        "l0-median": np.quantile(l0, 0.5, method="inverted_cdf"),
        "l0-p95": np.quantile(l0, 0.95, method="inverted_cdf"),
        "cosine": pytest.approx(((x * y).sum(axis=1) / lengths / other).mean()),
        "norm-ratio": pytest.approx((other / lengths).mean()),
        "tokens": len(x),
    }


def test_roles_are_apart_and_read_is_both(tables):
    found, x, *_ = of_tokens(tables, roles=True)

    tokens = {role: found[f"{KEY}/neutral.{role}/tokens"].value
              for role in ("read", "user", "assistant")}  # fmt: skip

    assert tokens["read"] == tokens["user"] + tokens["assistant"] == len(x)
    assert tokens["user"] > 0 and tokens["assistant"] > 0


def test_a_gap_has_the_interval_of_two_languages_drawn_apart(tables):
    confirm, means = tables
    found = {r.id: r for r in fidelity(PLAN, confirm, means)}
    here, there = (found[f"fidelity/{one}/text/sae0/neutral.read/ev"] for one in ("el", "en"))

    gap = found["fidelity/el/text/sae0/neutral.read/ev-gap"]

    assert gap.value == pytest.approx(there.value - here.value)
    assert gap.low < gap.value < gap.high
    apart = np.hypot(here.high - here.low, there.high - there.low)
    assert gap.high - gap.low == pytest.approx(apart, rel=0.4)


def test_parts_merge_to_the_whole_in_any_cut():
    stream = np.random.RandomState(0)
    x = 1e5 + stream.standard_normal((50, 3))
    for cuts in ([10], [1, 2, 3], [25, 49]):
        parts = np.split(x, cuts)
        spread, mean = merged(
            [len(p) for p in parts],
            [float(((p - p.mean(axis=0)) ** 2).sum()) for p in parts],
            np.stack([p.mean(axis=0) for p in parts]),
        )

        assert spread == pytest.approx(((x - x.mean(axis=0)) ** 2).sum(), rel=1e-9)
        assert mean == pytest.approx(x.mean(axis=0), rel=1e-12)


def test_the_interval_covers_resamples_of_whole_groups(tables):
    """A group's two items are drawn together: the interval equals one made by hand."""
    from compliance.statistics.resampling import draw_counts, seed_of

    confirm, means = tables
    items = confirm.items[(confirm.items["language"] == "en")
                          & (confirm.items["label"] != "negative")]  # fmt: skip
    stream = np.random.RandomState(5)
    tokens = {name: stream.standard_normal((3, WIDTH)) for name in items["item"]}
    rebuilt = {name: x + 0.5 * stream.standard_normal(x.shape) for name, x in tokens.items()}
    table = pd.DataFrame(
        [row(name, tokens[name], rebuilt[name], [1, 1, 1]) for name in items["item"]],
        columns=list(FIDELITY_COLUMNS),
    )
    groups = [list(part["item"]) for _, part in items.groupby("group")]
    drawn = draw_counts(len(groups), draws=PLAN.bootstrap_draws, random=np.random.RandomState(
        seed_of(PLAN.seed, f"{KEY}/items.read/ev")))  # fmt: skip
    by_hand = []
    for counts in drawn:
        names = [
            n for group, k in zip(groups, counts, strict=True) for _ in range(k) for n in group
        ]
        x, y = (np.concatenate([part[n] for n in names]) for part in (tokens, rebuilt))
        by_hand.append(1 - ((x - y) ** 2).sum() / ((x - x.mean(axis=0)) ** 2).sum())

    found = {r.id: r for r in fidelity(PLAN, replace(confirm, fidelity=table), means)}

    ev = found[f"{KEY}/items.read/ev"]
    assert (ev.low, ev.high) == pytest.approx(tuple(np.quantile(by_hand, (0.025, 0.975))))
    assert ev.n == len(groups)


@pytest.mark.parametrize("limit, value", [("AT_ONCE", 100), ("MOST_PRODUCTS", 1)])
def test_many_groups_give_the_same_numbers_in_blocks(tables, monkeypatch, limit, value):
    confirm, means = tables
    whole = {r.id: r for r in fidelity(PLAN, confirm, means)}

    monkeypatch.setattr(module, limit, value)
    parts = {r.id: r for r in fidelity(PLAN, confirm, means)}

    assert parts.keys() == whole.keys()
    for name, result in whole.items():
        numbers = [to_json(r) for r in (result, parts[name])]
        assert not list(differences(name, *numbers))


def test_activations_that_do_not_vary_have_no_explained_variance(tables):
    confirm, means = tables
    still = confirm.fidelity.assign(spread=0.0, mean=[np.ones(WIDTH)] * len(confirm.fidelity))

    found = {r.id: r for r in fidelity(PLAN, replace(confirm, fidelity=still), means)}

    ev = found[f"{KEY}/neutral.read/ev"]
    assert (ev.value, ev.reason) == (None, "no variation at all")


def test_latents_are_alive_dead_or_dense(tables):
    confirm, means = tables
    tokens = 5 * int(((confirm.items["label"] == "negative")
                      & (confirm.items["language"] == "en")).sum())  # fmt: skip
    rows = [("en", "read", "neutral", 0, 1, 1), ("en", "read", "neutral", 0, 2, tokens // 10),
            ("en", "read", "neutral", 0, 3, tokens // 10 + 1)]  # fmt: skip
    firing = pd.DataFrame(rows, columns=list(FIRING_COLUMNS))

    found = {r.id: r for r in fidelity(PLAN, replace(confirm, firing=firing), means)}

    values = {name: found[f"{KEY}/neutral.read/{name}"].value
              for name in ("alive", "dead", "dense-latents")}  # fmt: skip
    assert values == {"alive": 3, "dead": 128 - 3, "dense-latents": 1}
    silent = found["fidelity/el/text/sae0/neutral.read/alive"]
    assert (silent.value, silent.reason) == (None, "no firing was recorded")


def test_losses_are_per_token_and_recovered_against_zeros(tables):
    confirm, means = tables
    names = sorted(confirm.items[(confirm.items["label"] == "negative")
                                 & (confirm.items["language"] == "en")]["item"])[:2]  # fmt: skip
    rows = [(names[0], 0, 10, 20.0, 24.0, 60.0, 3.0), (names[1], 0, 30, 40.0, 46.0, 140.0, 5.0)]
    losses = pd.DataFrame(rows, columns=list(LOSS_COLUMNS))

    found = {r.id: r for r in fidelity(PLAN, replace(confirm, losses=losses), means)}

    values = {name: found[f"{KEY}/neutral.read/{name}"].value
              for name in ("loss", "loss-increase", "loss-recovered", "divergence")}  # fmt: skip
    assert values == {
        "loss": pytest.approx(60 / 40), "loss-increase": pytest.approx(10 / 40),
        "loss-recovered": pytest.approx((200 - 70) / (200 - 60)),
        "divergence": pytest.approx(8 / 40),
    }  # fmt: skip
    assert not any(name.endswith("el/text/sae0/neutral.read/loss") for name in found)


def test_zeros_that_do_not_hurt_leave_nothing_to_recover(tables):
    confirm, means = tables

    found = {r.id: r for r in fidelity(
        PLAN, replace(confirm, losses=confirm.losses.assign(ablated=0.0)), means)}  # fmt: skip

    recovered = found[f"{KEY}/neutral.read/loss-recovered"]
    assert (recovered.value, "do not raise" in recovered.reason) == (None, True)


@pytest.mark.parametrize("change", [{"sae": 7}, {"latent": 10_000}])
def test_an_sae_or_latent_that_is_not_planned_is_refused(tables, change):
    confirm, means = tables

    with pytest.raises(PlanError, match="not planned"):
        list(fidelity(PLAN, replace(confirm, firing=confirm.firing.assign(**change)), means))


def test_tokens_of_an_item_that_is_not_listed_are_refused(tables):
    confirm, means = tables

    with pytest.raises(PlanError, match=r"not in confirm/items\.csv"):
        list(fidelity(PLAN, replace(confirm, items=confirm.items.iloc[1:]), means))
