"""What a suite's numbers of groups and benign items can show, before anything is run."""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache

from compliance.records.audit import Claims
from compliance.records.plan import Splits, region_in
from compliance.records.suite import Label, Variant
from compliance.records.suite_report import Power
from compliance.statistics.power import (
    Design,
    Effect,
    attainable,
    minimum_detectable_auroc,
    minimum_detectable_greater,
    predicted_power,
)
from compliance.statistics.resampling import seed_of
from compliance.suites.load import Suite
from compliance.suites.split import CALIBRATE, CONFIRM, split_groups
from compliance.suites.wording import has_region

ALPHA = 0.01
"""Of the cut-off, as an audit has it by default."""

FAMILY_ERROR = 0.05
GOOD = Effect.of_rates(sensitivity=0.9, fpr=ALPHA, hard_fpr=0.05, discordance=0.1)
"""The probe that "supported" is predicted for: PROTOCOL section 11."""

DRAWS = 1000
CLAIMS = Claims()


def cell_powers(suite: Suite) -> dict[tuple[str, Variant], Power]:
    """What each cell could show, by concept and variant; those in text first.

    The family is a concept's cells in this suite; the reference is English, or the first language
    of a suite without it.
    """
    languages = suite.datasheet.languages
    reference = CLAIMS.reference_language
    if reference not in languages:
        reference = languages[0]
    counts = _counts(suite)
    variants = [Variant(one, *form) for form in _forms(suite) for one in languages]
    found = {}
    for concept in suite.datasheet.concepts:
        family = [one for one in variants if counts[concept, one, Label.POSITIVE, CONFIRM]]
        forms = sum(one.language == reference for one in family)
        even = forms and len(family) % forms == 0  # a form may lack a language
        for variant in variants:  # one without items is shown, with nothing in it
            found[concept, variant] = cell_power(
                positives=counts[concept, variant, Label.POSITIVE, CONFIRM],
                hard=counts[concept, variant, Label.HARD_NEGATIVE, CONFIRM],
                calibrate=counts[concept, variant, Label.NEGATIVE, CALIBRATE],
                benign=counts[concept, variant, Label.NEGATIVE, CONFIRM],
                cells=len(family),
                references=forms if even else 1,
                is_reference=variant.language == reference,
            )
    return found


def _forms(suite: Suite) -> list[tuple[str, str]]:
    """Modalities and renderings that a concept has items in."""
    found = {(i.modality, i.rendering) for i in suite.items if i.concept is not None}
    return sorted(found, key=lambda form: (form[0] != "text", form))


@lru_cache(maxsize=256)  # cells of one size are computed once
def cell_power(
    *,
    positives: int,
    hard: int,
    calibrate: int,
    benign: int,
    cells: int,
    is_reference: bool,
    references: int = 1,
) -> Power:
    """What one cell can show; counts are of the confirm split but for ``calibrate``'s benign.

    ``cells`` are those of the family, ``references`` as many as it has forms.
    """
    level = FAMILY_ERROR / max(1, cells)
    nothing = Power(confirm_groups=positives, benign_confirm=benign, sensitivity=None, auroc=None,
                    attainable=False, supported=0.0)  # fmt: skip
    if not min(positives, hard, calibrate, benign):
        return nothing
    best = attainable(
        n_pos=positives, n_benign=benign, n_hard=hard,
        n_pairs=None if is_reference else positives, alpha=level,
        min_sensitivity=CLAIMS.min_sensitivity, max_fpr=CLAIMS.max_false_positive_rate,
        max_hard_fpr=CLAIMS.max_hard_false_positive_rate, margin=CLAIMS.non_inferiority_margin,
    )  # fmt: skip
    design = Design(
        groups=positives, hard_negatives=hard, benign_calibrate=calibrate, benign_confirm=benign,
        cells=cells, references=references, alpha=ALPHA, family_error=FAMILY_ERROR,
        min_sensitivity=CLAIMS.min_sensitivity, max_fpr=CLAIMS.max_false_positive_rate,
        max_hard_fpr=CLAIMS.max_hard_false_positive_rate, margin=CLAIMS.non_inferiority_margin,
    )  # fmt: skip
    power = predicted_power(design, GOOD, draws=DRAWS, seed=seed_of(0, "suite-check power"))
    predicted = power.reference if is_reference or power.other is None else power.other
    can_be_cut = calibrate >= 1 / ALPHA - 1
    return nothing.model_copy(
        update={
            "sensitivity": minimum_detectable_greater(
                positives, CLAIMS.min_sensitivity, alpha=level
            ),
            "auroc": minimum_detectable_auroc(positives, hard, alpha=level),
            "attainable": best.attainable and can_be_cut,
            "supported": predicted.supported.value,
        }
    )


def _counts(suite: Suite) -> dict[tuple[str, Variant, Label, str], int]:
    """Items by concept, variant, label and split; benign ones for each concept that reads them."""
    splits = split_groups([suite], Splits(), None)
    counts: dict[tuple[str, Variant, Label, str], int] = defaultdict(int)
    for item in suite.items:
        for concept, sheet in suite.datasheet.concepts.items():
            reads = has_region(item, region_in(sheet.region, item.modality))
            if item.concept == concept or (item.concept is None and reads):
                counts[concept, item.variant, item.label, splits[item.group]] += 1
    return counts
