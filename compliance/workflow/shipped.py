"""What this version of the software says of itself."""

from compliance.records.validation import Validation
from compliance.resources import data_file


def known_answers() -> Validation:
    """How often the method erred where the answer was known, as the benchmarks recorded it."""
    path = data_file("evidence/validation/known-answers.json")
    return Validation.model_validate_json(path.read_bytes())
