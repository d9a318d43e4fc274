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

FACTS = ["item", "concept", "label", "language", "modality", "rendering"]
"""Columns of ``items.csv``; ``concept`` is empty for benign items."""


@dataclass(frozen=True)
class Observed:
    """Tables of a run, read back from its files, and the items they are about."""

    items: Sequence[Item]
    """Confirm items of the plan; words and pictures of ``restricted`` ones are not shown. Each may
    be read from a file where it is asked for."""

    scores: pd.DataFrame
    """``confirm/scores.csv``, at least the rows of the probe."""

    tokens: pd.DataFrame
    """``confirm/tokens.parquet``; its lists may be those of Arrow."""

    cofiring: pd.DataFrame
    """``confirm/cofiring.parquet``."""

    features: pd.DataFrame
    """``confirm/features.csv``."""

    firing: pd.DataFrame
    """``confirm/firing.parquet``."""

    rows: pd.DataFrame | None = None
    """The items in their order, with FACTS. None: they are asked themselves."""

    run: int = 0
    """Items of all splits."""

    withheld: int = 0
    """Those of them whose words and pictures are not shown."""

    withheld_files: tuple[str, ...] = ()
    """Observation tables that are not shown."""

    gallery: Gallery | None = None
    """What it saw of pictures; None where no cell has any."""

    @property
    def facts(self) -> pd.DataFrame:
        """What tells which cell an item is in, text: FACTS of each, in the order of the items."""
        if self.rows is not None:
            return self.rows[FACTS].astype("str")
        found = [(i.id, i.concept or "", str(i.label), *i.variant) for i in self.items]
        return pd.DataFrame(found, columns=FACTS)
