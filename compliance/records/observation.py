"""The tables a run writes: the only thing a run writes, and all that recomputation needs.

``fit`` covers the discover and calibrate splits, ``confirm`` the confirm split. All tables are
ordered by their first columns, so that equal observations are equal bytes.

fit/items.csv, confirm/items.csv      one row an item: ITEM_COLUMNS
fit/scores.csv, confirm/scores.csv    one row an item, concept and scorer: SCORE_COLUMNS
fit/search.parquet                    discover split in the reference language, items that have the
                                      region: the pooled score of every latent that fired, below
                                      zero too where the SAE has such latents: SEARCH_COLUMNS
fit/residuals.parquet                 mean residual over the region: RESIDUAL_COLUMNS
confirm/fidelity.parquet              per benign item, sums of PROTOCOL section 7: FIDELITY_COLUMNS
"""

ITEM_COLUMNS = (
    "item", "suite", "group", "split", "concept", "label", "language", "modality", "rendering",
    "format", "stratum", "origin", "reviewed", "tokens", "beyond_context", "excluded_sinks",
)  # fmt: skip
"""``concept`` is empty for benign items; ``tokens`` counts the whole input as the model saw it;
``beyond_context`` is 1 where that is more than the SAE's training context."""

SCORE_COLUMNS = ("item", "concept", "scorer", "score")
"""``scorer``: ``probe``, ``tokens`` (count in the region), ``dense``. No row: the item has no
such region (a prompt has no assistant turn)."""

SEARCH_COLUMNS = ("concept", "item", "sae", "latent", "score")
RESIDUAL_COLUMNS = ("concept", "item", "hook_name", "vector")
FIDELITY_COLUMNS = ("item", "sae", "tokens", "error", "squares", "l0", "sums")
"""Over the item's read tokens: count, sum ||x - x_hat||^2, sum ||x||^2, sum of L0, sum x [d_in]."""

FIT_FILES = ("items.csv", "scores.csv", "search.parquet", "residuals.parquet")
CONFIRM_FILES = ("items.csv", "scores.csv", "fidelity.parquet")
