import pytest

from compliance.records.finding import Result
from compliance.reports.messages import load_messages
from compliance.reports.numbers import Numbers, write, write_interval, write_limit, write_p


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (0.914, "share", "91.4 %"),
        (1.0, "share", "100.0 %"),
        (0.9999, "share", "> 99.9 %"),
        (0.0001, "share", "< 0.1 %"),
        (0.0, "share", "0.0 %"),
        (0.9321, "auroc", "0.932"),
        (-0.0481, "auroc-difference", "−0.048"),
        (0.369, "auroc-difference", "+0.369"),
        (-0.0001, "auroc-difference", "0.000"),
        (-0.031, "signed-points", "−3.1 points"),
        (1500.0, "count", "1,500"),
        (2.4817, "score", "2.482"),
        (-0.00012345, "score", "−0.0001234"),
        (64.21, "mean", "64.2"),
        (1.431e-5, "score", "1.431 × 10⁻⁵"),
    ],
)
def test_a_value_is_written_in_the_way_of_its_kind(value, kind, text):
    assert write(value, kind).replace("\N{NO-BREAK SPACE}", " ") == text


def test_an_interval_names_its_unit_once():
    assert write_interval(0.86, 0.952, "share") == "86.0 to 95.2\N{NO-BREAK SPACE}%"


def test_p_values_and_limits():
    assert write_p(0.00001) == "<\N{NO-BREAK SPACE}0.001"
    assert write_p(0.0321) == "0.032"
    assert write_limit(0.05, "share") == "5\N{NO-BREAK SPACE}%"
    assert write_limit(0.15, "points") == "15\N{NO-BREAK SPACE}points"


def numbers(*results):
    return Numbers(results, load_messages(), level=0.95)


def test_a_missing_result_keeps_its_place_and_says_why():
    number = numbers().of("a/en/text/plain/sensitivity")

    assert number.text is None
    assert "no such result" in number.reason
    assert number.label == "Sensitivity"


def test_a_result_without_a_value_gives_its_own_reason():
    result = Result(id="a/en/text/plain/cut-off", method="split-conformal", reason="60 of 99 items")

    assert numbers(result).of(result.id).reason == "60 of 99 items"


def test_an_unknown_name_is_its_own_label():
    result = Result(id="a/en/text/plain/zeta@2", value=0.25, method="m")

    number = numbers(result).of(result.id)

    assert (number.label, number.text) == ("zeta@2", "0.25")


def test_a_prevalence_is_part_of_the_label():
    assert "0.1\N{NO-BREAK SPACE}%" in numbers().of("a/en/text/plain/ppv@0.001").label


@pytest.mark.parametrize(
    ("name", "kind", "label"),
    [
        ("minus-dense-means", "auroc-difference", "lead over difference of means"),
        ("auroc-hard.sparse-5", "auroc", "five features of this language together"),
        ("misses.lost-in-error", "share", "Misses: lost in the autoencoder"),
        ("shift.typos.change", "signed-points", "under typing errors"),
        ("left-out.source.a.b~2", "auroc", "without source “a.b~2”"),
        ("fpr-benign.code", "share", "benign items: code"),
    ],
)
def test_a_name_with_parts_is_told_in_words(name, kind, label):
    number_kind, number_label = numbers().describe(name)

    assert number_kind == kind and label in number_label


def test_another_level_is_named_beside_the_interval():
    result = Result(id="x/sensitivity", value=0.5, low=0.4, high=0.6, level=0.9, method="wilson")

    assert numbers(result).of(result.id).interval.endswith("(90\N{NO-BREAK SPACE}%)")
