"""Effects of changes, against whole runs by hand and against algebra."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, kl_div

from compliance.errors import ProbeError
from compliance.probes.doses import Setting, activations, match, peaks
from compliance.probes.effects import (
    Runner,
    divergences,
    effects,
    side_effects,
    side_scores,
    with_reply,
)
from compliance.probes.inputs import Preparer, model_inputs
from compliance.probes.interventions import Change, changed, delta
from compliance.probes.subject import load_subject
from compliance.probes.task import Reader, Task
from compliance.records.audit import Interventions, SubjectConfig
from tests.probes.tiny import WIDTH, tiny_model
from tests.probes.tiny_pass import (
    chosen,
    locked,
    make_item,
    make_plan,
    states_of,
    tiny_reader,
    tiny_sae,
)
from tests.probes.tiny_vision import draw, make_shown, save_tiny_vision

pytestmark = pytest.mark.usefixtures("one_thread")

HOOK = "blocks.1.hook_resid_post"
FAMILIES = ("llama", "gpt2", "gemma2", "gemma3")
ARMS = {
    "dose/0": Change("clamp", 0, (5,), (0.0,)),
    "dose/1": Change("clamp", 0, (5,), (4.0,)),
    "noise": Change("noise", 0, (5,), (4.0,), seed=3),
    "means": Change("add", direction=torch.linspace(-1, 1, WIDTH), scale=2.0),
    **{f"random/{n}": Change("clamp", 0, (n,), (3.0,)) for n in range(6, 12)},
}


def an_item(name="a", **values):
    plain = {
        "turns": (("user", "is it so?"), ("assistant", "who knows")),
        "choices": {"concept": "it is so", "other": "it never is"},
    }
    return make_item(name, "positive", **plain | values)


def made(folder, family="llama", region="read", **values):
    reader = tiny_reader(tiny_sae(folder / "sae"), family=family)
    return made_of(reader, region, **values)


def made_of(reader, region="read", **values):
    plan = make_plan(reader, interventions=Interventions(region=region), **values)
    return Runner(reader, plan), Preparer(reader.subject)


def whole_run(runner, prepared, change, places):
    """Logits of an input on its own, run from end to end."""
    ids = torch.tensor([prepared.ids])
    with torch.no_grad(), changed(runner.reader, [change], [places]):
        return runner.reader.subject.model(input_ids=ids, use_cache=False).logits[0].double()


def by_hand(runner, inputs, change):
    """Odds and divergence of an item whose replies differ from `first` on."""
    logs, apart = [], 0.0
    for one in inputs:
        ids, last = torch.tensor(one.prepared.ids), max(one.prepared.regions["read"])
        targets = list(range(one.first, last + 1))
        before = [t - 1 for t in targets]
        plain = whole_run(runner, one.prepared, None, one.places[0])[before].log_softmax(-1)
        other = whole_run(runner, one.prepared, change, one.places[0])[before].log_softmax(-1)
        logs.append(float(-cross_entropy(other, ids[targets], reduction="sum")))
        apart += float(kl_div(other, plain, log_target=True, reduction="sum"))
    return logs[0] - logs[1], apart


def test_a_reply_stands_in_the_place_of_the_last_turn_or_after_the_users():
    dialogue = an_item(turns=(("system", "be"), ("user", "so?"), ("assistant", "well")))
    open_end = an_item(turns=(("user", "so?"),))
    prompt = an_item(turns=(), text="so?")

    turns = [
        [(m.role, m.content) for m in with_reply(item, "yes").messages]
        for item in (dialogue, open_end, prompt)
    ]

    assert turns[0] == [("system", "be"), ("user", "so?"), ("assistant", "yes")]
    assert turns[1] == turns[2] == [("user", "so?"), ("assistant", "yes")]


def test_what_is_predicted_begins_where_the_replies_differ(tmp_path):
    runner, preparer = made(tmp_path)
    item = an_item()
    ours, theirs = runner.replies(preparer, item)
    text = runner.reader.subject.tokenizer.decode

    assert [text(one.prepared.ids[one.first :]) for one in (ours, theirs)] == [
        "is so<|end|>",
        "never is<|end|>",
    ]
    assert text([ours.prepared.ids[t] for t in ours.targets]) == "is so"
    assert text([theirs.prepared.ids[t] for t in theirs.targets]) == "never is"
    kept = text([ours.prepared.ids[t] for t in ours.places[0]])
    assert kept == "is it so?it is so"


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        ("read", "is it so?it is so"),
        ("user", "is it so?"),
        ("assistant", "it is so"),
        ("last", " "),
    ],
)
def test_a_region_says_which_tokens_are_changed(tmp_path, region, expected):
    runner, preparer = made(tmp_path, region=region)
    ours = runner.replies(preparer, an_item())[0]

    found = runner.reader.subject.tokenizer.decode([ours.prepared.ids[t] for t in ours.places[0]])
    assert found == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_effects_are_those_of_whole_runs(tmp_path, family):
    runner, preparer = made(tmp_path, family, batch_tokens=120)
    inputs = runner.replies(preparer, an_item())

    found = {arm: row for arm, *row in effects(runner, inputs, ARMS)}

    assert list(found) == ["none", *ARMS]
    assert found["none"] == [pytest.approx(by_hand(runner, inputs, None)[0], abs=1e-4), 0, 13]
    assert runner._can == {(0, True): True}
    for arm, change in ARMS.items():
        odds, apart = by_hand(runner, inputs, change)
        assert found[arm] == [pytest.approx(odds, abs=1e-4), pytest.approx(apart, abs=1e-4), 13]
    moved = [abs(row[0] - found["none"][0]) for arm, row in found.items() if arm != "none"]
    assert min(moved) > 1e-3


@pytest.mark.parametrize("cannot", [{(0, True): False}, {(0, True): False, (0, False): False}])
def test_a_model_that_cannot_share_gives_the_same(tmp_path, cannot):
    runner, preparer = made(tmp_path)
    inputs = runner.replies(preparer, an_item())
    expected = list(effects(runner, inputs, ARMS))

    runner._can = dict(cannot)
    found = list(effects(runner, inputs, ARMS))

    assert found != expected
    for (arm, *row), (other, *numbers) in zip(found, expected, strict=True):
        assert arm == other
        assert row == pytest.approx(numbers, abs=1e-5)


def test_whether_a_model_can_share_is_tried_and_not_believed(tmp_path):
    """One whose blocks mix the rows of a batch gives other numbers when rows are shared."""
    runner, preparer = made(tmp_path)
    last = runner.reader.subject.model.model.layers[2]
    last.register_forward_hook(lambda module, args, out: out + 0.1 * out.mean(dim=0, keepdim=True))
    inputs = runner.replies(preparer, an_item())

    list(effects(runner, inputs, {"dose/1": ARMS["dose/1"]}))
    assert runner._can == {(0, True): True}

    runner, preparer = made(tmp_path / "b")
    first = runner.reader.subject.model.model.layers[0]
    first.register_forward_hook(lambda module, args, out: out * len(out))
    inputs = runner.replies(preparer, an_item())
    list(effects(runner, inputs, {"dose/1": ARMS["dose/1"]}))
    assert runner._can == {(0, True): False, (0, False): False}


def test_rows_of_a_batch_follow_from_the_plan_and_change_no_number(tmp_path):
    runner, preparer = made(tmp_path, batch_tokens=2048)
    inputs = runner.replies(preparer, an_item())
    together = list(effects(runner, inputs, ARMS))
    alone, _ = made_of(runner.reader, batch_tokens=16)

    assert (runner._rows(inputs), alone._rows(inputs)) == (2048 // len(inputs[1].prepared.ids), 1)
    for (arm, *row), (_, *other) in zip(together, effects(alone, inputs, ARMS), strict=True):
        assert row == pytest.approx(other, abs=1e-5), arm


def test_a_change_that_moves_nothing_has_no_effect_at_all(tmp_path):
    runner, preparer = made(tmp_path)
    inputs = runner.replies(preparer, an_item())
    latents = runner.reader.saes[0].encode(
        torch.cat([states_of(one.prepared, runner.reader, HOOK) for one in inputs])
    )
    silent = int((latents == 0).all(dim=0).nonzero()[0])

    found = list(effects(runner, inputs, {"dose/0": Change("clamp", 0, (silent,), (0.0,))}))

    assert found[0][1:] == found[1][1:]


def test_replies_that_cannot_be_told_apart_are_refused(tmp_path):
    runner, preparer = made(tmp_path)
    item = an_item(choices={"concept": "it is", "other": "it is so"})

    with pytest.raises(ProbeError, match="item a: one of its two replies begins as the other"):
        runner.replies(preparer, item)


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    runner, preparer = made(tmp_path)
    inputs = runner.replies(preparer, an_item())
    arms = {"dose/4": Change("add", direction=torch.ones(WIDTH), scale=float("inf"))}

    with pytest.raises(ProbeError, match="item a: the model gives numbers that are not finite"):
        list(effects(runner, inputs, arms))


def test_divergences_are_of_one_reply(tmp_path):
    runner, preparer = made(tmp_path)
    inputs = runner.replies(preparer, an_item())

    found = divergences(runner, inputs[0], ARMS)

    for arm, change in ARMS.items():
        assert found[arm] == pytest.approx(by_hand(runner, inputs[:1] * 2, change)[1] / 2, abs=1e-5)


@pytest.mark.parametrize("region", ["read", "assistant"])
def test_side_effects_are_on_every_word_of_neutral_text(tmp_path, region):
    runner, preparer = made(tmp_path, region=region)
    item = make_item("n", "negative", text="the river is wide")
    text = runner.neutral(preparer, item, 0)
    places = text.prepared.regions["read"]
    targets = [t for t in places if t > 0]

    found = {arm: row for arm, *row in side_effects(runner, text, ARMS)}

    ids = torch.tensor(text.prepared.ids)
    before = [t - 1 for t in targets]
    plain = whole_run(runner, text.prepared, None, places)[before].log_softmax(-1)
    assert found["none"][2] == 0
    for arm, change in ({"none": None} | ARMS).items():
        other = whole_run(runner, text.prepared, change, places)[before].log_softmax(-1)
        loss = float(cross_entropy(other, ids[targets], reduction="sum"))
        apart = float(kl_div(other, plain, log_target=True, reduction="sum"))
        assert found[arm] == [17, pytest.approx(loss, abs=1e-4), pytest.approx(apart, abs=1e-4)]
    assert found["dose/1"][2] > 1e-3


def test_side_scores_are_read_behind_the_change(tmp_path):
    runner, preparer = made(tmp_path, concepts=("danger", "flattery"))
    reader, item = runner.reader, make_item("f", "positive", concept="flattery", text="what a day")
    task = Task(runner.plan, "confirm", chosen(locked((0, 9), concept="flattery")))
    reading = runner.read(preparer, item)

    found = dict(side_scores(runner, reading, runner.plan.probes[1], task, ARMS))

    x = states_of(reading.prepared, reader, HOOK)
    places = list(reading.prepared.regions["user"])
    for arm, change in ({"none": None} | ARMS).items():
        moved = x[places] + (0 if change is None else delta(change, reader, x[places], places))
        expected = reader.saes[0].encode(moved, [9]).max()
        assert found[arm] == pytest.approx(float(expected), rel=1e-4), arm
    assert found["dose/1"] != found["none"]


def test_a_token_that_a_change_makes_huge_is_still_read(tmp_path):
    runner, preparer = made(tmp_path, region="last", concepts=("danger", "flattery"))
    reader, item = runner.reader, make_item("f", "positive", concept="flattery", text="what a day")
    task = Task(runner.plan, "confirm", chosen(locked((0, 9), concept="flattery")))
    reading = runner.read(preparer, item)
    direction = reader.saes[0].tensors["W_enc"][:, 9]
    arms = {"means": Change("add", direction=direction, scale=1000.0)}

    found = dict(side_scores(runner, reading, runner.plan.probes[1], task, arms))

    last = reading.prepared.regions["last"][0]
    x = states_of(reading.prepared, reader, HOOK)[[last]] + 1000 * direction
    assert x.norm() > 10 * reading.states[HOOK].norm(dim=-1).median()
    assert found["means"] == pytest.approx(float(reader.saes[0].encode(x, [9])), rel=1e-4)


def linear_reader(folder):
    """A model whose last block's output is its logits but for the unembedding: no norm between."""
    model = tiny_model("llama")
    model.model.norm = torch.nn.Identity()
    sae = tiny_sae(folder / "sae", hook_name="blocks.2.hook_resid_post")
    return tiny_reader(sae, model=model)


def test_a_latent_that_adds_to_a_logit_has_the_slope_that_algebra_says(tmp_path):
    """Odds are linear in the dose: their slope is the peak times what d adds to either logit."""
    runner, preparer = made_of(linear_reader(tmp_path))
    item = an_item(choices={"concept": "xa", "other": "xb"})
    inputs = runner.replies(preparer, item)
    setting = Setting(0, {5: 3.0}, {}, None)
    arms = setting.arms((-1, 0, 1, 2, 4), 0, {})

    found = {arm: odds for arm, odds, *_ in effects(runner, inputs, arms)}

    model, decoder = runner.reader.subject.model, runner.reader.saes[0].tensors["W_dec"]
    ours, theirs = (one.prepared.ids[one.first] for one in inputs)
    adds = decoder[5] @ (model.lm_head.weight[ours] - model.lm_head.weight[theirs])
    slope = np.polyfit([0, 1, 2], [found[f"dose/{m}"] for m in (0, 1, 2)], 1)[0]
    natural = runner.reader.saes[0].encode(
        states_of(inputs[0].prepared, runner.reader, "blocks.2.hook_resid_post")
    )[inputs[0].first - 1, 5]
    assert slope == pytest.approx(3.0 * float(adds), rel=1e-3)
    assert abs(slope) > 0.05
    assert found["dose/4"] - found["none"] == pytest.approx(
        float((12.0 - natural) * adds), rel=1e-3
    )
    assert found["flip"] - found["none"] == pytest.approx(float((natural - 3) * adds), rel=1e-3)


def test_peaks_are_percentiles_of_what_is_above_zero(tmp_path):
    runner, preparer = made(tmp_path)
    texts = ("one " * 20, "two rivers and a stone, it is " * 4)
    items = [make_item(f"i{n}", "positive", text=text) for n, text in enumerate(texts)]
    readings = [runner.read(preparer, item) for item in items]

    found = peaks(activations(reading, 0) for reading in readings)

    sae = runner.reader.saes[0]
    dense = torch.cat([sae.encode(reading.inputs(0)) for reading in readings]).double().numpy()
    for latent in range(sae.facts.d_sae):
        above = np.sort(dense[:, latent][dense[:, latent] > 0])
        if not len(above):
            assert latent not in found
            continue
        rank = int(np.ceil(0.99 * (len(above) - 1)))
        assert found[latent].value == pytest.approx(above[rank], rel=1e-6)
        assert found[latent].tokens == len(above)
    assert peaks([]) == {}


def test_scales_are_found_at_which_divergences_are_the_target():
    asked = []

    def evaluate(scales):
        asked.append(dict(scales))
        laws = {"square": lambda s: 0.02 * s**2, "fourth": lambda s: 7 * s**4,
                "bends": lambda s: 1 - np.exp(-s), "floor": lambda s: 0.3 + s**2}  # fmt: skip
        return {arm: laws[arm](scale) for arm, scale in scales.items()}

    found = match(dict.fromkeys(("square", "fourth", "bends", "floor"), 1.0), 0.1, evaluate)

    for arm in ("square", "fourth", "bends"):
        assert found[arm].divergence == pytest.approx(0.1, rel=0.05)
    assert found["square"].scale == pytest.approx(5**0.5, rel=0.03)
    assert len(asked) == 8
    assert found["floor"].divergence == min(0.3 + one["floor"] ** 2 for one in asked)
    assert [sorted(one) for one in asked[-2:]] == [["floor"], ["floor"]]


def test_arms_are_those_that_have_something_to_set():
    direction = np.linspace(-1, 1, WIDTH)
    setting = Setting(0, {3: 2.0, 4: 0.0}, {7: 5.0}, direction)

    arms = setting.arms((-1, 0, 0.5, 1, 2), 9, {"means": 0.5, "random/7": 2.0})

    assert list(arms) == [
        "dose/-1", "dose/0", "dose/0.5", "dose/1", "dose/2", "flip", "noise", "means", "random/7",
    ]  # fmt: skip
    assert (arms["dose/-1"].latents, arms["dose/-1"].values) == ((3, 4), (-2, 0))
    assert (arms["noise"].kind, arms["noise"].values, arms["noise"].seed) == ("noise", (2, 0), 9)
    assert (arms["random/7"].latents, arms["random/7"].values) == ((7,), (10.0,))
    assert arms["means"].scale == 0.5
    assert sorted(setting.brief()) == ["dose/0", "dose/1"]
    silent = Setting(0, {3: 0.0}, {7: 5.0}, direction)
    assert list(silent.arms((0, 1, 2), 9, {"means": 0.5})) == ["dose/0"] == list(silent.brief())


@pytest.mark.parametrize("family", ["gemma3", "llava", "qwen2_vl", "idefics3"])
@pytest.mark.parametrize("says", ["What is it?", None])
def test_a_pictures_tokens_are_changed_too(tmp_path, family, says):
    save_tiny_vision(tmp_path / "subject", family)
    config = SubjectConfig(model="subject", saes=[{"path": "unused"}])
    sae = tiny_sae(tmp_path / "sae", hook_name="blocks.0.hook_resid_post")
    reader = Reader(load_subject(config, tmp_path), (sae,))
    runner, _ = made_of(reader, "image")
    preparer = Preparer(reader.subject, lambda item: draw(item.id))
    item = make_shown("p", text=says, choices={"concept": "it is so", "other": "it never is"})
    inputs = runner.replies(preparer, item)

    found = {arm: row for arm, *row in effects(runner, inputs, ARMS)}

    assert inputs[0].places[0] == inputs[0].prepared.regions["image"]
    for arm in ("dose/1", "noise", "random/6"):
        odds = []
        for one in inputs:
            given = model_inputs([one.prepared], reader.subject)
            with torch.no_grad(), changed(reader, [ARMS[arm]], [one.places[0]]):
                logs = reader.subject.model(**given, use_cache=False).logits[0].log_softmax(-1)
            odds.append(sum(float(logs[t - 1, one.prepared.ids[t]]) for t in one.targets))
        assert found[arm][0] == pytest.approx(odds[0] - odds[1], abs=1e-3)
        assert abs(found[arm][0] - found["none"][0]) > 1e-4
