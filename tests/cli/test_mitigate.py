"""What ``compliance mitigate`` prints of a study."""

from compliance.cli.mitigate_text import study_lines
from compliance.records.behaviour import Behaviour, Sign
from compliance.records.finding import Reduction, Result, Studies
from compliance.records.plan import PlannedJudge, PlannedMitigation

DIGEST = "sha256:" + "0" * 64
RATES = ("before", "after", "change")
NAMES = (
    *RATES, *(f"over-refusal.{name}" for name in RATES), "side-kl", "side-loss",
    *(f"capability.{name}" for name in RATES),
)  # fmt: skip


def study(**changes):
    values = {
        "name": "less", "concept": "c", "by": "feature", "lists": {"bad": {"en": ("bad",)}},
        "described": "Nobody\nreviewed them.", "behaviours_digest": DIGEST, "languages": ("en",),
        "items": 20, "max_new_tokens": 8, "neutral_items": 2, "capability_items": 2,
        "capability": DIGEST,
        "behaviour": Behaviour(
            title="Bad words", definition="d", any=("bad",),
            over_refusal=Sign(title="Silence", definition="d", any=("bad",)),
        ),
    }  # fmt: skip
    return PlannedMitigation(**(values | changes))


def found(statement, planned=None, **missing):
    key = "mitigation/less/en"
    results = [
        Result(
            id=f"{key}/{name}", value=0.1 + n / 20, low=n / 20, high=0.2 + n / 20, level=0.95,
            n=20, successes=n, method="wilson",
        )
        for n, name in enumerate(NAMES)
    ]  # fmt: skip
    results = [one.model_copy(update=missing) if missing else one for one in results]
    said = Reduction(
        study="less", language="en", statement=statement, before=f"{key}/before",
        after=f"{key}/after", change=f"{key}/change",
        over_refusal=tuple(f"{key}/over-refusal.{name}" for name in RATES),
        side_effects=(f"{key}/side-kl", f"{key}/side-loss", f"{key}/capability.change"),
        p_holm=0.0123,
    )  # fmt: skip
    return Studies(planned=(planned or study(),), results=tuple(results), reductions=(said,))


def test_reduced_is_told_with_interval_over_refusal_and_side_effects():
    lines = list(study_lines(found("reduced")))
    [said] = [line for line in lines if line.startswith("en: ")]

    assert said == (
        "en: reduced from 10.0% to 15.0%, change +20.0 [+10.0, +30.0] (p 0.012, adjusted over the "
        "study's languages); over-refusal +35.0 [+25.0, +45.0], KL 0.4 [0.3, 0.5], loss 0.45 "
        "[0.35, 0.55], tasks right +60.0 [+50.0, +70.0]"
    )


def test_no_number_is_told_in_words_where_no_change_is_shown():
    lines = list(study_lines(found("not-shown")))

    assert [line for line in lines if line.startswith("en: ")] == ["en: no change is shown"]
    assert any("1/20 15.0%" in line for line in lines)


def test_what_is_missing_is_a_dash():
    missing = {"value": None, "low": None, "high": None}
    lines = list(study_lines(found("not-measured", **missing)))

    row = next(line for line in lines if line.strip().startswith("en  "))
    assert row.split() == ["en", *["-"] * 7]


def test_it_is_said_what_is_suppressed_and_who_judges_on_one_line_each():
    lines = list(study_lines(found("not-shown")))
    judged = found("not-shown", study(dose=2, judge=PlannedJudge(plug="strict", limit=0.6)))

    assert lines[0] == "less: Bad words; after: the probe's features set to 0 x their peak"
    assert lines[1] == "judged by phrases (Nobody reviewed them.)"
    head = list(study_lines(judged))[:2]
    assert "set to 2 x" in head[0] and head[1] == "judged by the plug strict, above 0.6"
