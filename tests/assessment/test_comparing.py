"""Where two values differ is said, and of long texts the place."""

from compliance.assessment.comparing import BEFORE, LONGEST, differences

LONG = "The probe was active on most of the items that it should have found. " * 3


def said(stored, computed):
    return [str(found) for found in differences("report", stored, computed)]


def test_a_long_text_is_shown_around_the_place_where_it_differs():
    (problem,) = said({"lead": [LONG + "All is fine."]}, {"lead": [LONG + "Nothing is fine."]})

    assert problem.startswith("report.lead[0]: the pack says ...")
    assert "found. All is fine." in problem and "found. Nothing is fine." in problem
    assert len(problem) < 3 * LONGEST


def test_a_text_that_differs_at_its_start_is_shown_from_there():
    (problem,) = said("A" + LONG, "B" + LONG)

    assert "the pack says 'AThe probe" in problem and "observations give 'BThe probe" in problem
    assert problem.count("...") == 2


def test_short_texts_are_shown_whole():
    assert said("a" * (LONGEST - BEFORE), "b") == [
        f"report: the pack says '{'a' * (LONGEST - BEFORE)}', the observations give 'b'"
    ]
