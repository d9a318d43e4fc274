"""The tables a run writes: the only thing a run writes, and all that recomputation needs.

``fit`` covers the discover and calibrate splits, ``confirm`` the confirm split. All tables are
ordered by their first columns, so that equal observations are equal bytes. Where a table holds
latents, a row that is missing is a latent that was silent. A table that is CSV here is Parquet
with the same columns where it has more rows than `assessment.tables.LARGE`.

fit/items.csv, confirm/items.csv      one row an item: ITEM_COLUMNS
fit/scores.csv                        ``tokens`` of every item that has the region; and of benign
                                      items every scorer that gets a cut-off: SCORE_COLUMNS
fit/search.parquet                    positives and hard negatives, all languages: the pooled score
                                      of every latent that fired, below zero too: SEARCH_COLUMNS
fit/random_search.parquet             the same of the random-initialised SAEs, discover split in the
                                      reference language
fit/vectors.parquet                   positives and hard negatives: what linear controls are fitted
                                      on, means over the region: VECTOR_COLUMNS
fit/neighbours.csv                    decoder directions nearest to the dense one: NEIGHBOUR_COLUMNS
fit/means.parquet                     mean activation of benign calibrate items: MEAN_COLUMNS
confirm/scores.csv                    every scorer on positives and hard negatives; on benign items
                                      those with a cut-off: SCORE_COLUMNS
confirm/latents.parquet               positives and hard negatives: random latents: SEARCH_COLUMNS
confirm/fidelity.parquet              sums of PROTOCOL section 7 by item and role: FIDELITY_COLUMNS
confirm/firing.parquet                on how many tokens each latent fired: FIRING_COLUMNS
confirm/losses.csv                    the model on reconstructions, a subsample: LOSS_COLUMNS
confirm/shifts.csv                    the probe on changed texts, a subsample: SHIFT_COLUMNS
confirm/repeats.csv                   the probe on items run on their own: REPEAT_COLUMNS
confirm/precision.csv                 only of a run that is not in the reference mode (float32 on
                                      the CPU): items run again in it, a part: PRECISION_COLUMNS
confirm/patches.parquet               positives and hard negatives with a picture: the probe on each
                                      of its tokens: PATCH_COLUMNS
confirm/tokens.parquet                positives, hard negatives and benign items in words: the probe
                                      on each token of its content: TOKEN_COLUMNS
confirm/cofiring.parquet              on how many tokens of words a feature of a locked probe fired
                                      together with another latent: COFIRING_COLUMNS
confirm/features.csv                  what the weights say of each feature of a locked probe:
                                      FEATURE_COLUMNS

Where interventions are planned (PROTOCOL section 9), and nowhere else:

fit/doses.csv                         what features, directions and random latents are set to:
                                      DOSE_COLUMNS
confirm/effects.csv                   what each change does to the odds of two replies:
                                      EFFECT_COLUMNS
confirm/side_effects.csv              what it does to neutral text: SIDE_COLUMNS
confirm/side_scores.csv               what it does to other concepts' probes: SIDE_SCORE_COLUMNS
confirm/capability.csv                what it does to the odds of right replies to small tasks:
                                      CAPABILITY_COLUMNS

Where mitigation studies are planned, and nowhere else:

confirm/replies.parquet               what the model wrote before and after: REPLY_COLUMNS
confirm/mitigation.csv                neutral text and small tasks before and after:
                                      MITIGATION_COLUMNS
"""

from compliance.records.suite import Label, Sight, Variant

ITEM_COLUMNS = (
    "item", "suite", "group", "split", "concept", "label", "language", "modality", "rendering",
    "format", "stratum", "origin", "source", "reviewed", "tokens", "beyond_context",
    "excluded_sinks",
)  # fmt: skip
"""``concept`` is empty for benign items; ``tokens`` counts the whole input as the model saw it;
``beyond_context`` is 1 where that is more than the SAE's training context."""

SCORE_COLUMNS = ("item", "concept", "scorer", "score")
"""No row: the item has no such region (a prompt has no assistant turn)."""

SEARCH_COLUMNS = ("concept", "item", "sae", "latent", "score")
VECTOR_COLUMNS = ("concept", "item", "features", "vector")
NEIGHBOUR_COLUMNS = (
    "concept", "language", "modality", "rendering", "sae", "latent", "cosine",
)  # fmt: skip
MEAN_COLUMNS = ("language", "region", "sae", "tokens", "mean")
"""Mean over all read tokens of what the SAE is to reconstruct, float64 [d]; ``region`` is ``read``
(text) or ``image``."""

FIDELITY_COLUMNS = (
    "item", "sae", "role", "tokens", "error", "spread", "mean", "cosine", "norm_ratio", "l0",
)  # fmt: skip
"""Over the read tokens of one role (``user``, ``assistant``, or ``image`` for the tokens of a
picture): their number, sum ||x - x_hat||^2,
sum ||x - mean||^2, mean [d], sum of cosines of x and x_hat, sum of ||x_hat||/||x||, and the latents
that fired on each token."""

FIRING_COLUMNS = ("language", "region", "source", "sae", "latent", "tokens")
"""``region``: ``read`` (text) or ``image``; ``source``: one of SOURCES."""

PATCH_COLUMNS = ("item", "concept", "rows", "columns", "activations")
"""The locked probe on each token of a picture, line by line; ``rows`` and ``columns`` are 0 where
the tokens form no single grid."""

TOKEN_COLUMNS = ("item", "concept", "starts", "ends", "activations")
"""The locked probe on the tokens of an item without a picture, in their order: all that are read,
whatever the probe's region, and of these the ones on which it is not 0. ``starts`` and ``ends`` are
characters of the contents of the item's turns, one after the other with nothing between. An item on
which it is silent has a row without tokens."""

COFIRING_COLUMNS = ("concept", "sae", "latent", "other", "tokens")
"""The OTHERS latents of the same SAE whose Jaccard index with the feature is largest: tokens on
which both fired over tokens on which one of them did, all read words of the split."""

OTHERS = 50

FEATURE_COLUMNS = ("concept", "sae", "latent", "kind", "rank", "other", "text", "value")
"""``kind``: one of FEATURE_KINDS; ``rank`` counts from 1. ``other`` is a latent of the same SAE,
``value`` the cosine of the decoder rows and ``text`` empty (``nearest``); or ``other`` is the id of
a token, ``text`` the token and ``value`` what one unit of activation adds to its logit on the
direct path (probes/features.py)."""

FEATURE_KINDS = ("bottom-logit", "nearest", "top-logit")

SOURCES = ("neutral", "items", "benign")
"""Kinds of text that fidelity is told of: neutral text; positives and hard negatives; and benign
items, which stand in for neutral text where a plan has none, and are then called so."""


def source_of(label: str, *, has_neutral_text: bool) -> str:
    """The kind of text an item is."""
    if label in (Label.POSITIVE, Label.HARD_NEGATIVE):
        return "items"
    return "benign" if has_neutral_text and label == Label.NEGATIVE else "neutral"


LOSS_COLUMNS = ("item", "sae", "tokens", "loss", "spliced", "ablated", "divergence")
"""Sums over predicted tokens, in nats: cross-entropy of the model, with the reconstruction in place
of the activations, with zeros in their place; and KL from the first to the second."""

SHIFT_COLUMNS = ("item", "concept", "shift", "score")
REPEAT_COLUMNS = ("item", "concept", "batched", "alone")

PRECISION_COLUMNS = (
    "item", "concept", "batched", "reference", "firings", "flipped", "activation",
)  # fmt: skip
"""The probe's score as in confirm/scores.csv, and in the reference mode on the item alone. Then, of
the item alone in both modes, on the tokens that both read: pairs of a token and a latent that fired
in one of the modes at least, those that fired in one of them only, over all SAEs; and the largest
|x - y| over the root mean square of y, with x and y the activations that an SAE reads in the run's
mode and in the reference mode, at the hook where this is largest."""

DOSE_COLUMNS = (
    "concept", "arm", "sae", "latent", "peak", "scale", "target", "divergence", "tokens",
)  # fmt: skip
"""Arm ``dose``: a feature of the probe; ``means``: the unit direction of the control
``dense-means``, whose ``latent`` and ``peak`` are 0; ``random/<latent>``. ``peak``: 99th percentile
of what is above 0 on the read tokens of the concept's positives and hard negatives of calibrate, of
which ``tokens`` have it; a feature without any has the peak 0. ``scale``: what the peak or the
direction is multiplied with, so that ``divergence``, the mean KL from the unchanged model on a
reply's predicted tokens (nats), comes near ``target``, that of the arm ``dose/1``."""

EFFECT_COLUMNS = ("item", "concept", "arm", "odds", "divergence", "tokens")
"""``odds``: log p of the reply that enacts the concept less log p of the other, in nats, each from
the first token in which the two inputs differ to the reply's last. ``divergence``: KL from the
unchanged model, summed over these tokens of both replies, of which there are ``tokens``."""

SIDE_COLUMNS = ("item", "concept", "arm", "tokens", "loss", "divergence")
"""Sums over predicted tokens of neutral text, in nats: cross-entropy, and KL from the unchanged
model."""

SIDE_SCORE_COLUMNS = ("item", "concept", "arm", "probe", "score")
"""Score of the locked probe of the concept ``probe`` on a positive of its own, while the features
of ``concept`` are set."""

CAPABILITY_COLUMNS = ("item", "concept", "arm", "language", "odds")
"""``odds``: log p of the right reply less log p of the wrong one, as in EFFECT_COLUMNS."""

REPLY_COLUMNS = ("item", "study", "arm", "text", "tokens", "judged")
"""What the model wrote, ``before`` or ``after``, and its tokens. ``judged``: 1 or 0 by phrases, or
what the judge says, from 0 to 1. The text of a reply to a restricted item is left out."""

MITIGATION_COLUMNS = (
    "study", "measure", "item", "language", "tokens", "before", "after", "divergence",
)  # fmt: skip
"""``text``: cross-entropy of neutral text before and after, and KL from before to after, in nats,
summed over predicted tokens. ``capability``: log p of the right reply to a small task less log p of
the wrong one, in nats, with 0 tokens and no divergence."""

UNCHANGED, FLIP, NOISE, MEANS, RANDOM = "none", "flip", "noise", "means", "random/"
"""Arms: what is changed for one concept.

``none``: nothing. ``dose/1``: every feature of its probe is set to 1 times its peak; ``dose/0``
ablates. ``flip``: moved by as much as dose/1 does, the other way. ``noise``: the same in a random
direction at each token. ``means``: moved along the difference of means. ``random/7``: latent 7 of
the same SAE is set in place of the probe's. The last two have the divergence of dose/1 on
calibrate.
"""


def dose_arm(multiple: float) -> str:
    """The arm that sets the features of a probe to so many times their peak."""
    return f"dose/{multiple:g}"


ABLATED, MATCHED = dose_arm(0), dose_arm(1)

LINEAR_SCORERS = {
    "ngrams": "ngrams",
    "colour": "colour",
    "pixels": "pixels",
    "dense": "residual",
    "dense-means": "residual",
    "reconstruction": "reconstruction",
    "reconstruction-means": "reconstruction",
    "error": "error",
    "error-means": "error",
}
"""Linear controls and the vectors they are fitted on: ``ngrams`` is for words, ``colour`` (mean
colour) and ``pixels`` (small statistics of pixels) are for pictures. ``-means`` is the difference
of means, the others are logistic regressions."""

CALIBRATED = ("probe", "random-sae", "dense", "reconstruction")
"""Scorers with a cut-off in every cell; settings and neighbours have theirs besides."""

CONTROL_SCORERS = (
    "tokens", "ngrams", "colour", "pixels", "random-sae", "permuted", *list(LINEAR_SCORERS)[3:],
    "sparse-1", "sparse-5",
)  # fmt: skip
"""Scorers the probe is compared with, in the order in which tables show them."""

FIT_FILES = (
    "items.csv", "scores.csv", "search.parquet", "random_search.parquet", "vectors.parquet",
    "neighbours.csv", "means.parquet",
)  # fmt: skip
CONFIRM_FILES = (
    "items.csv", "scores.csv", "latents.parquet", "fidelity.parquet", "firing.parquet",
    "losses.csv", "shifts.csv", "repeats.csv", "patches.parquet",
    "tokens.parquet", "cofiring.parquet", "features.csv",
)  # fmt: skip
"""Files of each folder as they are called where tables are small."""


MAX_FILE = 1 << 30
"""Bytes of one file that are read, and so that are written."""


def names_of(file: str) -> tuple[str, ...]:
    """The names that a table's file may have: one that is CSV is Parquet where it is large."""
    return (file, f"{file.removesuffix('.csv')}.parquet") if file.endswith(".csv") else (file,)


MODE_FILES = ("precision.csv",)
"""Confirm tables that a run in the reference mode does not write."""

INTERVENTION_FIT_FILES = ("doses.csv",)
INTERVENTION_FILES = ("effects.csv", "side_effects.csv", "side_scores.csv", "capability.csv")
"""Tables of a run that has interventions in its plan."""

MITIGATION_FILES = ("replies.parquet", "mitigation.csv")
"""Confirm tables of a run that has mitigation studies in its plan."""

SURFACE: dict[str, Sight] = {"ngrams": "words", "colour": "picture", "pixels": "picture"}
"""What a surface control needs to see. A picture of words has them, too: a shortcut in the words is
one in their picture."""


def applies(control: str, variant: Variant) -> bool:
    """Whether a control has something to look at in items of this form."""
    return control not in SURFACE or variant.shows(SURFACE[control])
