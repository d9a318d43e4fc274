"""What a run saw, as far as a report shows it beside the results.

Results are numbers of whole cells. Charts, examples and feature cards show single items and tokens,
which stand in the observation tables; a report takes them from there and computes nothing anew
that has a result's name.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from compliance.records.suite import Item
from compliance.reports.gallery import Gallery


@dataclass(frozen=True)
class Observed:
    """Tables of a run, read back from its files, and the items they are about."""

    items: Sequence[Item]
    """Confirm items of the plan; words and pictures of ``restricted`` ones are not shown."""

    scores: pd.DataFrame
    """``confirm/scores.csv``."""

    calibration: pd.DataFrame
    """``fit/scores.csv`` of benign calibrate items."""

    tokens: pd.DataFrame
    """``confirm/tokens.parquet``."""

    cofiring: pd.DataFrame
    """``confirm/cofiring.parquet``."""

    features: pd.DataFrame
    """``confirm/features.csv``."""

    firing: pd.DataFrame
    """``confirm/firing.parquet``."""

    run: int = 0
    """Items of all splits."""

    withheld: int = 0
    """Those of them whose words and pictures are not shown."""

    withheld_files: tuple[str, ...] = ()
    """Observation tables that are not shown."""

    gallery: Gallery | None = None
    """What it saw of pictures; None where no cell has any."""
